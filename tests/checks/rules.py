"""Rules for the code in `relay/` that ruff and import-linter do not have."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

UNTESTED = {
    "relay/__main__.py": "calls relay.cli",
}
"""Modules with logic that need no test file of their own, with the reason."""


@dataclass(frozen=True)
class Module:
    """One Python file: its path below the root, its name for imports, and its syntax tree."""

    path: str
    name: str
    tree: ast.Module

    @cached_property
    def imports(self) -> set[str]:
        """The names of all that this module imports, wherever in it: modules, and members of modules."""
        names = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        return names

    def at(self, node: ast.stmt, text: str) -> str:
        return f"{self.path}:{node.lineno}: {text}"


Modules = Mapping[str, Module]
Rule = Callable[[Modules, Path], Iterator[str]]


def read_modules(root: Path, package: str = "relay") -> dict[str, Module]:
    """All modules of a package by name."""
    modules = {}
    for file in sorted((root / package).rglob("*.py")):
        path = file.relative_to(root)
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        modules[name] = Module(path.as_posix(), name, ast.parse(file.read_text()))
    return modules


def class_names_are_unique(modules: Modules, _: Path) -> Iterator[str]:
    """No two public classes have the same name."""
    seen: dict[str, str] = {}
    for module in modules.values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                if node.name in seen:
                    yield module.at(node, f"class {node.name} has the name of the class in {seen[node.name]}")
                seen.setdefault(node.name, module.path)


def logic_has_a_test_file(modules: Modules, root: Path) -> Iterator[str]:
    """A module with logic has a test file in the same place below `tests/unit`."""
    for module in modules.values():
        path = Path(module.path)
        names = ["init", path.parent.name] if path.stem == "__init__" else [path.stem]
        files = [Path("tests/unit", *path.parts[1:-1], f"test_{name}.py") for name in names]
        if module.path in UNTESTED or not has_logic(module.tree):
            continue
        if not any((root / file).exists() for file in files):
            yield f"{module.path}:1: has no test file {' or '.join(map(str, files))}"


def has_logic(tree: ast.Module) -> bool:
    """Whether a function does more than declare: it has a branch, a loop or a call."""
    kinds = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match, ast.Call, ast.BoolOp)
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return any(isinstance(node, kinds) for function in functions for part in function.body for node in ast.walk(part))


def no_imports_for_types_only(modules: Modules, _: Path) -> Iterator[str]:
    """No module imports `TYPE_CHECKING`: it hides an import cycle."""
    for module in modules.values():
        if "typing.TYPE_CHECKING" in module.imports:
            yield f"{module.path}:1: imports TYPE_CHECKING, which hides an import cycle"


def no_import_cycles(modules: Modules, _: Path) -> Iterator[str]:
    """No module imports itself by way of others, and imports inside functions count."""
    graph = {}
    for name, module in modules.items():
        targets = {imported if imported in modules else imported.rpartition(".")[0] for imported in module.imports}
        graph[name] = {target for target in targets if target in modules and target != name}
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            cycle: Sequence[str] = error.args[1][::-1]
            yield f"{modules[cycle[0]].path}:1: import cycle: {' → '.join(cycle)}"
            graph[cycle[0]] = graph[cycle[0]] - {cycle[1]}
        else:
            return


_ONLY_SEE = re.compile(r"See `[^`]+`(, .*| of .*| in .*)?\.?")


def docstrings_say_something(modules: Modules, _: Path) -> Iterator[str]:
    """No docstring consists of a reference alone."""
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, kinds) and _ONLY_SEE.fullmatch(ast.get_docstring(node) or ""):
                yield module.at(node, f"the docstring of {node.name} only refers to another one")


RULES: tuple[Rule, ...] = (
    class_names_are_unique,
    logic_has_a_test_file,
    no_imports_for_types_only,
    no_import_cycles,
    docstrings_say_something,
)
