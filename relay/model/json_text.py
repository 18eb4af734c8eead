"""Lone surrogates: halves of characters, which strings of JavaScript may hold, and no UTF-8 can.

`JSON.stringify` writes them as escapes, say of a text that was cut within an emoji. Most readers of JSON refuse these
(RFC 8259, section 8.2, lets them); so they become U+FFFD, as in all that a browser itself sends (Web IDL, `USVString`).
"""

import re
from collections.abc import Callable
from typing import Final, TypeVar

from relay.model.errors import BadFrame

_T = TypeVar("_T")

_MOST_RUNS: Final = 1000

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE: Final = rb"(?:%b(?!%b)|%b)" % (_HIGH, _LOW, _LOW)
_OTHER: Final = rb"(?:[^\\]++|%b%b|(?!%b)\\.)" % (_HIGH, _LOW, _LONE)
_RUN: Final = re.compile(rb"(%b*+)(%b++)" % (_OTHER, _LONE), re.DOTALL)
"""Escapes of lone surrogates, as many as follow each other, and all that stands before them."""


def without_lone_surrogates(json: bytes) -> bytes:
    """Return JSON text with the escape of U+FFFD in the place of each lone surrogate's, which is as long.

    Of a text that has them in more than 1,000 places the rest stays as it is: it would be a burden, and is nobody's.
    """
    parts, end = list[bytes](), 0
    while len(parts) < 2 * _MOST_RUNS and (run := _RUN.match(json, end)):
        parts += run[1], rb"\ufffd" * (len(run[2]) // 6)
        end = run.end()
    return b"".join([*parts, json[end:]])


def reading(read: Callable[[bytes], _T], text: bytes) -> _T:
    """Return `read(text)`; where that raises `bad_json` for lone surrogates alone, what it is without them."""
    try:
        return read(text)
    except BadFrame as error:
        whole = without_lone_surrogates(text)
        if error.code != "bad_json" or whole == text:
            raise
    return read(whole)
