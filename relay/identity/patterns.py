"""Patterns of names: in the text of a token, * stands for any characters; everything else stands for itself.

A pattern becomes an escaped name part by part, so that its stars stay stars. It is matched against escaped names by
whole characters: a star never ends inside a percent-encoding, so that `*20` does not match the name "a b" (`a%20b`).
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

MAX_STARS: Final = 8
"""Stars of one pattern; two in a row count once."""

_CHARACTER: Final = "(?:%[0-9A-F]{2}|[^%])"


def escape_pattern(text: str, escape: Callable[[str], str]) -> str:
    """Return the escaped name of a pattern; `escape` is `escape_room` or `escape_peer`.

    Raises `Refused` as `escape` does, for a text of which a part is in no name, or that is too long; and ValueError for
    more than `MAX_STARS` stars.
    """
    parts = re.split(r"\*+", text)
    if len(parts) == 1:
        return escape(text)
    if len(parts) > MAX_STARS + 1:
        raise ValueError(f"a pattern has at most {MAX_STARS} stars")
    # The whole text has the bounds and characters of a name: a star is one character of the alphabet.
    escape("*".join(parts))
    # A part may be . or .., which is no name of a room by itself; beside a star, it stands for a longer text.
    return "*".join([escape(f"-{part}")[1:] for part in parts])


def matches(pattern: str, name: str) -> bool:
    """Return whether an escaped name matches an escaped pattern."""
    # Most grants name one room, or all.
    if pattern in ("*", name):
        return True
    return "*" in pattern and _compiled(pattern)(name) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Callable[[str], object]:
    """Return a matcher whose time is linear in the name for each star."""
    first, *middle, last = pattern.split("*")
    # The first place of a middle part is as good as any later one, so that nothing is tried again (atomic groups).
    groups = "".join([f"(?>{_CHARACTER}*?{re.escape(part)})" for part in middle])
    return re.compile(f"{re.escape(first)}{groups}{_CHARACTER}*{re.escape(last)}", re.ASCII | re.DOTALL).fullmatch
