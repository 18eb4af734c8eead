"""Which build of the relay this is: with the hot path compiled to C (see `deploy/hatch_build.py`), or pure Python."""

from importlib.util import find_spec
from typing import Final


def is_compiled(module: str) -> bool:
    """Return whether a module of this installation is compiled; imports nothing but the packages that it is in."""
    spec = find_spec(module)
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")


BUILD: Final = "compiled" if is_compiled("relay.limits") else "pure Python"
"""The word for it, wherever the relay says which build runs."""
