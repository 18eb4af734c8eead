r"""Checks and repairs of JSON text, done before any parser reads it.

**Nesting.** Every parser bounds how deep arrays and objects may nest, but each has another bound: Python 3.11 reads
fewer than 1,000 levels, 3.13 more than 9,000. A message that a worker on one lets through breaks clients on the other.
So the relay counts levels itself. `MAX_NESTING` is far above what messages need, and far below what Python and browsers
read.

**Lone surrogates.** Strings in JavaScript may hold one half of a UTF-16 pair, which UTF-8 cannot carry.
`JSON.stringify` writes such a half as an escape (`\ud83d`), for example from a text that was cut inside an emoji. Most
JSON parsers refuse these escapes (RFC 8259, section 8.2, leaves it open). The relay replaces each by U+FFFD, as a
browser does with text that it sends over a WebSocket (Web IDL, `USVString`).
"""

import re
from collections.abc import Callable
from itertools import accumulate
from typing import Final, TypeVar

from relay.model.errors import BadFrame

_T = TypeVar("_T")

MAX_NESTING: Final = 256
"""Levels of arrays and objects in an envelope; `{}` has one."""

FRAME_NESTING: Final = MAX_NESTING + 1
"""Levels of a frame, which may be a command around an envelope."""

SHALLOW_BYTES: Final = 2 * MAX_NESTING
"""Text of up to so many bytes cannot nest too deep, as each level takes two bytes to open and close.

The hot path compares lengths itself: for most messages a call of `nests_deeper` would cost more than its work.
"""

_NOT_BRACKETS: Final = bytes(sorted(set(range(256)) - set(b"[]{}")))
_STEPS: Final = [1 if byte in b"[{" else -1 for byte in range(256)]
"""By how many levels each bracket leads in; only looked up for brackets."""
_CHUNK: Final = 128

_MAX_RUNS: Final = 1000

_HIGH: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW: Final = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE: Final = rb"(?:%b(?!%b)|%b)" % (_HIGH, _LOW, _LOW)
_OTHER: Final = rb"(?:[^\\]++|%b%b|(?!%b)\\.)" % (_HIGH, _LOW, _LONE)
_RUN: Final = re.compile(rb"(%b*+)(%b++)" % (_OTHER, _LONE), re.DOTALL)
"""A run of escapes of lone surrogates, and all text before it."""


def nests_deeper(text: bytes, limit: int = MAX_NESTING) -> bool:
    """Return whether JSON text has more than `limit` levels of arrays and objects.

    Of text that is not JSON, only the part before the first error counts: no parser reads on.
    """
    # Every message comes this way. A level takes two bytes, so that the length alone decides up to 512 bytes. Longer
    # texts rarely have so many brackets. `replace` counts them by memchr, three times as fast as `bytes.count`.
    size = len(text)
    return (
        size > 2 * limit
        and 2 * size - len(text.replace(b"{", b"")) - len(text.replace(b"[", b"")) > limit
        and _nests_deeper(text, limit)
    )


def check_nesting(text: bytes, limit: int = MAX_NESTING) -> None:
    """Raise `BadFrame` (`bad_json`) for JSON text with more than `limit` levels of arrays and objects."""
    if nests_deeper(text, limit):
        raise too_deep()


def too_deep() -> BadFrame:
    """Return the error for text that nests too deep."""
    return BadFrame("bad_json", f"nested more than {MAX_NESTING} levels deep", about="envelope")


def without_lone_surrogates(json: bytes) -> bytes:
    """Return JSON text in which the escape of each lone surrogate is replaced by that of U+FFFD, which is as long.

    Only the first 1,000 runs of such escapes are replaced, to bound the work; no client has a use for more.
    """
    parts, end = list[bytes](), 0
    while len(parts) < 2 * _MAX_RUNS and (run := _RUN.match(json, end)):
        parts += run[1], rb"\ufffd" * (len(run[2]) // 6)
        end = run.end()
    return b"".join([*parts, json[end:]])


def read_leniently(read: Callable[[bytes], _T], text: bytes) -> _T:
    """Return `read(text)`; if that raises `bad_json`, try once more without lone surrogates."""
    try:
        return read(text)
    except BadFrame as error:
        repaired = without_lone_surrogates(text)
        if error.code != "bad_json" or repaired == text:
            raise
    return read(repaired)


def _nests_deeper(text: bytes, limit: int) -> bool:
    """Count levels exactly, in linear time and without recursion.

    In JSON, backslashes stand in strings alone. Without escaped backslashes and escaped quotes, each quote that is left
    begins or ends a string, so that every second piece between quotes lies outside of strings.
    """
    outside = text.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2]
    brackets = b"".join(outside).translate(None, _NOT_BRACKETS)
    depth = 0
    for start in range(0, len(brackets), _CHUNK):
        chunk = brackets[start : start + _CHUNK]
        opening = chunk.count(b"[") + chunk.count(b"{")
        # Only a chunk that could reach the limit has to be looked at bracket by bracket.
        if depth + opening > limit and max(accumulate(map(_STEPS.__getitem__, chunk), initial=depth)) > limit:
            return True
        depth += 2 * opening - len(chunk)
    return False
