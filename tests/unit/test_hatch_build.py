"""The build hook: the content of a wheel with a C compiler, without one, and with one that fails."""

import os
import runpy
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from relay.build import described

ROOT = Path(__file__).parents[2]
HOOK = ROOT / "deploy" / "hatch_build.py"
OBSTACLE = runpy.run_path(str(HOOK))["obstacle"]()
PYPROJECT = """
[project]
name = "signal-relay"
version = "1"
[tool.hatch.build.targets.wheel]
packages = ["relay"]
[tool.hatch.build.hooks.custom]
path = "hatch_build.py"
modules = ["relay/one.py"]
"""

Build = Callable[[str], set[str]]


@pytest.fixture
def compiler() -> None:
    if OBSTACLE:
        (pytest.fail if "CI" in os.environ else pytest.skip)(OBSTACLE)


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Build a wheel of one module with the hook, and return the names of the package's files."""
    monkeypatch.delenv("SIGNAL_RELAY_COMPILE", raising=False)
    (tmp_path / "relay").mkdir()
    (tmp_path / "relay" / "__init__.py").touch()
    (tmp_path / "relay" / "one.py").write_text("def one() -> int:\n    return 1\n")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    shutil.copy(HOOK, tmp_path)

    def build(version: str = "standard") -> set[str]:
        [wheel] = WheelBuilder(str(tmp_path)).build(directory=str(tmp_path / "dist"), versions=[version])
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path / "unpacked")
            names = archive.namelist()
        return {name.partition(".")[0] + Path(name).suffix for name in names if name.startswith("relay/")}

    return build


def reason(tmp_path: Path) -> str:
    return described(tmp_path / "unpacked" / "relay" / "not_compiled.txt").partition(": ")[2]


PURE, NOTE = {"relay/__init__.py", "relay/one.py"}, {"relay/not_compiled.txt"}


@pytest.mark.usefixtures("compiler")
def test_a_wheel_is_compiled_without_being_asked(build: Build, tmp_path: Path) -> None:
    assert build("standard") >= PURE | {"relay/one.so"}
    assert reason(tmp_path) == ""


def test_an_editable_installation_is_pure_python(build: Build) -> None:
    assert build("editable") == set()


def test_zero_compiles_nothing(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNAL_RELAY_COMPILE", "0")
    assert build("standard") == PURE
    assert reason(tmp_path) == ""


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-compiler -O2", "there is no C compiler (no-such-compiler)"),
        ("false", "compiling failed (CompileError); "),
    ],
)
def test_without_a_compiler_that_works_the_wheel_is_pure_python_and_says_why(
    command: str, words: str, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", command)
    assert build("standard") == PURE | NOTE
    assert reason(tmp_path).startswith(words)
    monkeypatch.setenv("SIGNAL_RELAY_COMPILE", "1")
    with pytest.raises(RuntimeError, match="SIGNAL_RELAY_COMPILE=1, but "):
        build("standard")


@pytest.mark.usefixtures("compiler")
def test_a_type_error_does_not_end_the_installation(build: Build, tmp_path: Path) -> None:
    (tmp_path / "relay" / "one.py").write_text("def one() -> int:\n    return ''\n")
    assert build("standard") == PURE | NOTE
    assert reason(tmp_path).startswith("compiling failed (SystemExit); ")
