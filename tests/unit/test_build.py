"""Which build of the relay runs."""

import ast
import importlib
import os
import pkgutil
import tomllib
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

import relay
from relay.build import BUILD, is_compiled
from relay.limits import TokenBucket

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOOK = PROJECT["tool"]["hatch"]["build"]["hooks"]["custom"]
MODULES = [file.removesuffix(".py").replace("/", ".") for file in HOOK["modules"]]


@pytest.mark.parametrize("module", MODULES)
def test_all_modules_of_the_hot_path_are_of_one_build(module: str) -> None:
    """`make test-compiled` says which build it tests, so that it cannot test the other one unnoticed."""
    expected = os.environ.get("TESTED_BUILD", BUILD)
    file = importlib.import_module(module).__file__
    assert file is not None
    assert expected == BUILD
    assert file.endswith(".so" if expected == "compiled" else ".py")
    assert is_compiled(module) is (expected == "compiled")


def attributes(definition: ast.ClassDef) -> Iterator[str]:
    """The names that the body of a class gives a value, less those of class variables."""
    for statement in definition.body:
        if isinstance(statement, ast.Assign):
            yield from (ast.unparse(target) for target in statement.targets)
        elif isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation):
            yield ast.unparse(statement.target)


def subclasses(base: type) -> Iterator[type]:
    for one in type.__subclasses__(base):
        yield one
        yield from subclasses(one)


def test_no_subclass_overrides_an_attribute_that_compiled_methods_read_from_the_object_itself() -> None:
    """Compiled methods find another value in the class only where the attribute is declared a `ClassVar`."""
    for module in pkgutil.walk_packages(relay.__path__, "relay."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for file, name in zip(HOOK["modules"], MODULES, strict=True):
        for definition in ast.parse((ROOT / file).read_text()).body:
            if isinstance(definition, ast.ClassDef):
                own = set(attributes(definition)) - {"__slots__"}
                for subclass in subclasses(getattr(importlib.import_module(name), definition.name)):
                    assert not own & vars(subclass).keys(), (definition.name, subclass)


def broken_clock() -> float:
    raise OSError("the clock is broken")


def test_a_traceback_shows_the_lines_of_both_builds() -> None:
    """Compiled modules are installed with their source."""
    with pytest.raises(OSError, match="broken") as caught:
        TokenBucket(1, 1, broken_clock)
    text = "".join(traceback.format_exception(caught.value))
    assert 'relay/limits.py", line ' in text
    assert "self._updated = clock()" in text
