"""Which build of the relay this is: with the hot path compiled to C (see `deploy/hatch_build.py`), or pure Python."""

import linecache
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_NOTE: Final = Path(__file__).with_name("not_compiled.txt")
"""Why the installation is pure Python although it was to be compiled; there is none otherwise."""


def is_compiled(module: str) -> bool:
    """Return whether a module of this installation is compiled; imports nothing but the packages that it is in."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")


def described(note: Path = _NOTE) -> str:
    """Return the word for the build, and why it was not compiled where it was to be."""
    return f"{BUILD}: {note.read_text()}" if note.exists() else BUILD


def show_lines() -> None:
    """Have tracebacks show the lines of compiled modules, wherever the process was started.

    Frames of compiled code name their file from the package's folder on, as `relay/limits.py`.
    """
    package = Path(__file__).parent
    for module in package.rglob("*.so"):
        source = module.with_name(f"{module.name.partition('.')[0]}.py")
        # Read when a traceback needs it.
        linecache.cache[str(source.relative_to(package.parent))] = (partial(source.read_text, "utf-8"),)


BUILD: Final = "compiled" if is_compiled("relay.limits") else "pure Python"
"""The word for it, wherever the relay says which build runs."""
