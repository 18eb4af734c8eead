"""Which build of the relay runs."""

import importlib
import os
import tomllib
import traceback
from pathlib import Path

import pytest

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


def broken_clock() -> float:
    raise OSError("the clock is broken")


def test_a_traceback_shows_the_lines_of_both_builds() -> None:
    """Compiled modules are installed with their source."""
    with pytest.raises(OSError, match="broken") as caught:
        TokenBucket(1, 1, broken_clock)
    text = "".join(traceback.format_exception(caught.value))
    assert 'relay/limits.py", line ' in text
    assert "self._updated = clock()" in text
