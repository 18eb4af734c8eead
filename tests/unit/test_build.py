"""Which build of the relay runs."""

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import relay
from relay.build import BUILD, described, is_compiled

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


BROKEN_CLOCK = """
import logging
from relay.app import create_app
from relay.config import Settings
from relay.limits import TokenBucket
create_app(Settings())
try:
    TokenBucket(1, 1, lambda: 1 / 0)
except ZeroDivisionError:
    logging.exception("broken")
"""


def test_a_traceback_shows_the_lines_of_both_builds(tmp_path: Path) -> None:
    """Compiled modules are installed with their source, which is not in the folder where a worker starts."""
    command = [sys.executable, "-c", BROKEN_CLOCK]
    text = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stderr
    assert 'relay/limits.py", line ' in text
    assert "self._updated = clock()" in text


def test_the_version_says_why_a_wheel_was_not_compiled(tmp_path: Path) -> None:
    note = tmp_path / "note"
    assert described(note) == BUILD
    note.write_text("there is no C compiler (cc)")
    assert described(note) == f"{BUILD}: there is no C compiler (cc)"
