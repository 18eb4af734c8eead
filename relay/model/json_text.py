r"""Checks and repairs of JSON text, done before any parser reads it.

**Nesting.** Every parser bounds how deep arrays and objects may nest, but each has another bound: Python 3.11 reads
fewer than 1,000 levels, 3.13 more than 9,000. A message that a worker on one lets through breaks clients on the other.
So the relay counts levels itself. `MAX_NESTING` is far above the depth that messages need, and far below the depth that
Python and browsers read.

**Lone surrogates.** Strings in JavaScript may hold one half of a UTF-16 pair, which UTF-8 cannot carry.
`JSON.stringify` writes such a half as an escape (`\ud83d`), for example from a text that was cut inside an emoji. Most
JSON parsers refuse these escapes (RFC 8259, section 8.2, leaves it open). The relay replaces each by U+FFFD, as a
browser does with text that it sends over a WebSocket (Web IDL, `USVString`).
"""

import re
from collections.abc import Callable
from itertools import accumulate, islice
from operator import add
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

_BRACKETS: Final = b"[]{}"
_NOT_MARKS: Final = bytes(sorted(set(range(256)) - set(_BRACKETS + b'"')))
_AS_BITS: Final = bytes.maketrans(_BRACKETS, b"1010")
_CHUNK: Final = 8192
_SLICE: Final = 16_384


def _levels_of_eight(bits: int) -> tuple[int, int]:
    """Return by how many levels eight brackets lead in, and to which level at most; each bit is one, 1 opens."""
    levels = [*accumulate(1 if bit == "1" else -1 for bit in f"{bits:08b}")]
    return levels[-1], max(0, *levels)


_STEPS: Final = bytes(_levels_of_eight(bits)[0] % 256 for bits in range(256))
_PEAKS: Final = bytes(_levels_of_eight(bits)[1] for bits in range(256))

_MAX_RUNS: Final = 1000

_HEX: Final = rb"[0-9a-fA-F]{2}"
_HIGH: Final = rb"\\u[dD][89abAB]%b" % _HEX
_LOW: Final = rb"\\u[dD][c-fC-F]%b" % _HEX
_LONE: Final = rb"\\u[dD](?:[89abAB]%b(?!%b)|[c-fC-F]%b(?<!%b%b))" % (_HEX, _LOW, _HEX, _HIGH, _LOW)
_RUN: Final = re.compile(rb"%b(?:%b)*+" % (_LONE, _LONE))
"""A run of escapes of lone surrogates, in a text without escaped backslashes; `re` looks for its literal beginning."""


def nests_deeper(text: bytes, limit: int = MAX_NESTING) -> bool:
    """Return whether JSON text has more than `limit` levels of arrays and objects.

    Of text that is not JSON, only the part before the first error counts: no parser reads on.
    """
    # Every message comes this way. A level takes two bytes, so that the length alone decides up to 512 bytes. Longer
    # texts rarely have so many brackets.
    return len(text) > 2 * limit and _has_more_brackets(text, limit) and levels_exceed(text, limit)


def _has_more_brackets(text: bytes, count: int) -> bool:
    """Return whether text has more opening brackets than `count`."""
    found = 0
    for start in range(0, len(text), _SLICE):
        part = text[start : start + _SLICE]
        # `replace` finds few brackets by memchr, three times as fast as `bytes.count`. Many end the loop early.
        found += 2 * len(part) - len(part.replace(b"{", b"")) - len(part.replace(b"[", b""))
        if found > count:
            return True
    return False


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
    # Of as many bytes, so that runs are where they are in the text.
    for run in islice(_RUN.finditer(json.replace(rb"\\", b"__")), _MAX_RUNS):
        parts += json[end : run.start()], rb"\ufffd" * (len(run[0]) // 6)
        end = run.end()
    return b"".join([*parts, json[end:]])


def read_leniently(read: Callable[[bytes], _T], text: bytes) -> _T:
    """Return `read(text)`; if that raises `bad_json`, try once more without lone surrogates."""
    try:
        return read(text)
    except BadFrame as error:
        if error.code != "bad_json" or b"\\u" not in text:
            raise
        repaired = without_lone_surrogates(text)
        if repaired == text:
            raise
    return read(repaired)


def levels_exceed(text: bytes, limit: int) -> bool:
    """As `nests_deeper`, for text of which the number of brackets does not decide.

    Counts levels exactly, in linear time and without recursion: some 15 ns for each byte of the worst texts.

    In JSON, backslashes stand in strings alone. Without escaped backslashes and escaped quotes, each quote that is left
    begins or ends a string, so that every second piece between quotes lies outside of strings. Two quotes next to each
    other change nothing for the rest of the text.
    """
    marks = text.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NOT_MARKS).replace(b'""', b"")
    brackets = b"".join(marks.split(b'"')[::2])
    level = 0
    for start in range(0, len(brackets), _CHUNK):
        bits = brackets[start : start + _CHUNK].translate(_AS_BITS)
        bits += b"0" * (-len(bits) % 8)
        eights = int(bits, 2).to_bytes(len(bits) // 8, "big")
        levels = [*accumulate(memoryview(eights.translate(_STEPS)).cast("b"), initial=level)]
        if max(map(add, levels, eights.translate(_PEAKS))) > limit:
            return True
        level = levels[-1]
    return False
