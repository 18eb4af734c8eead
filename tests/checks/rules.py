"""Rules for the code in `relay/` that ruff and import-linter do not have."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from relay.gateways import GATEWAYS
from relay.gateways.base.gateway import Gateway

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


_GATEWAYS = "relay.gateways"
_SHARED = {f"{_GATEWAYS}.base", f"{_GATEWAYS}.composition"}


def folder_of(module: str) -> str:
    """The package of the gateway that a module belongs to; "" for a module of no gateway."""
    parts = module.split(".")
    folder = ".".join(parts[:3])
    return folder if len(parts) > 2 and ".".join(parts[:2]) == _GATEWAYS and folder not in _SHARED else ""


def only_a_gateway_imports_itself(modules: Modules, _: Path) -> Iterator[str]:
    """No module imports a gateway whose folder it is not in: all others use the list of declarations."""
    for module in modules.values():
        for name in sorted(module.imports):
            target = folder_of(name)
            if f"{target}.declaration" in modules and folder_of(module.name) != target:
                yield f"{module.path}:1: imports the gateway {target}"


def only_a_gateway_names_itself(modules: Modules, root: Path) -> Iterator[str]:
    """No code outside a gateway's folder names it, but for the one list of gateways; comments and docstrings may."""
    others = {path: path.read_text().splitlines() for path in other_files(root)}
    for gateway in GATEWAYS.values():
        named = names_of(gateway)
        # Two protocols at one path name each other.
        own = [gateway.name, *(other.name for other in GATEWAYS.values() if _first(other) & _first(gateway))]
        for path, lines in others.items():
            for number, text in enumerate(lines, 1):
                if named.search(text) and not _is_in(path, root, own) and not _COMMENT.match(text):
                    yield f"{path.relative_to(root)}:{number}: names the gateway {gateway.name}"
        for module in modules.values():
            if module.name == _GATEWAYS or folder_of(module.name) in [f"{_GATEWAYS}.{name}" for name in own]:
                continue
            for line, text in code_words(module.tree):
                if named.search(text):
                    yield f"{module.path}:{line}: {text!r} names the gateway {gateway.name}"


_COMMENT = re.compile(r"\s*(//|/?\*|--|<!--)")


def other_files(root: Path) -> Iterator[Path]:
    """The files of `relay/` that are code in other languages than Python."""
    for ending in ("html", "js", "ts", "css", "lua"):
        yield from sorted((root / "relay").rglob(f"*.{ending}"))


def _first(gateway: Gateway) -> set[str]:
    """The first segments of a gateway's paths."""
    return {segment for prefix in gateway.prefixes if (segment := prefix.split("/")[1]) and segment != "rooms"}


def _is_in(path: Path, root: Path, gateways: Sequence[str]) -> bool:
    return any(path.is_relative_to(root / "relay/gateways" / name) for name in gateways)


def names_of(gateway: Gateway) -> re.Pattern[str]:
    """Matches the names of a gateway: in any case at the start of a word, and capitalised within one."""
    # A path such as /.ws is named after no protocol.
    fixed = [prefix.strip("/") for prefix in gateway.prefixes if "{" not in prefix and not prefix.startswith("/.")]
    names = [gateway.name, gateway.title, *fixed]
    patterns = []
    for name in names:
        pattern = re.sub(r"[^a-z0-9]+", "[^a-z0-9]?", name.lower())
        patterns += [f"(?<![A-Za-z])(?i:{pattern})", f"{pattern[0].upper()}(?i:{pattern[1:]})"]
    return re.compile("|".join(patterns))


def code_words(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The identifiers and strings of a module, with their lines; docstrings are not among them."""
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 1)
        match node:
            case ast.Constant(value=str() as text) if id(node) not in prose:
                yield line, text
            case ast.Constant(value=bytes() as data):
                yield line, data.decode("latin-1")
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text) | ast.alias(name=text):
                yield line, text
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                yield line, text
            case ast.keyword(arg=str() as text) | ast.ImportFrom(module=str() as text):
                yield line, text


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
    only_a_gateway_imports_itself,
    only_a_gateway_names_itself,
)
