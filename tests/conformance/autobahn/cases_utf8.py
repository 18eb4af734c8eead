"""Group 6: text is UTF-8, wherever it is split; anything else is refused."""

from collections.abc import Iterator
from typing import Final

from tests.conformance.autobahn.case import NOT_UTF8, Case, Event, Waited
from tests.conformance.autobahn.wire import CONTINUATION, TEXT, Frame, fragments

_GREEK = "\u03ba\u1f79\u03c3\u03bc\u03b5".encode()
_MIXED = "Hello-µ@ßöäüàá-UTF-8!!".encode()
_CUT = len("Hello-µ@ßöä".encode())
_SURROGATE = _GREEK + b"\xed\xa0\x80edited"
_TOO_HIGH = _GREEK + b"\xf4\x90\x80\x80edited"


def _echoed(number: str, title: str, *parts: bytes) -> Case:
    last = len(parts) - 1
    steps = tuple(Frame(CONTINUATION if at else TEXT, part, fin=at == last) for at, part in enumerate(parts))
    return Case(number, title, steps, (Event("text", b"".join(parts)),))


def _bytewise(text: bytes) -> tuple[Frame, ...]:
    return tuple(fragments(TEXT, text, 1))


_CUTS: Final = [
    _echoed("6.1.1", "empty", b""),
    _echoed("6.1.2", "three empty fragments", b"", b"", b""),
    _echoed("6.1.3", "one fragment between two empty ones", b"", b"middle frame payload", b""),
    _echoed("6.2.1", "one frame", _MIXED),
    _echoed("6.2.2", "two fragments, cut between characters", _MIXED[:_CUT], _MIXED[_CUT:]),
    Case("6.2.3", "fragments of one byte", _bytewise(_MIXED), (Event("text", _MIXED),)),
    Case("6.2.4", "fragments of one byte, nothing in ASCII", _bytewise(_GREEK), (Event("text", _GREEK),)),
    Case("6.3.1", "a surrogate, in one frame", (Frame(TEXT, _SURROGATE),), ending=NOT_UTF8),
    Case("6.3.2", "a surrogate, in fragments of one byte", _bytewise(_SURROGATE), ending=NOT_UTF8),
]

# 6.4: bytes that cannot become UTF-8 should be refused at once, and must be refused when the message ends.


def _fail_fast(number: str, title: str, first: int, second: int, *, one_frame: bool) -> Case:
    cuts = (_TOO_HIGH[:first], _TOO_HIGH[first:second], _TOO_HIGH[second:])
    sent: list[Frame | bytes]
    if one_frame:
        whole = Frame(TEXT, _TOO_HIGH, fin=False).encode()
        head = len(whole) - len(_TOO_HIGH)
        end = whole[head + second :] + Frame(CONTINUATION).encode()
        sent = [whole[: head + first], whole[head + first : head + second], end]
    else:
        sent = [Frame(CONTINUATION if at else TEXT, cut, fin=at == 2) for at, cut in enumerate(cuts)]
    steps = (sent[0], Waited(), sent[1], Waited(), sent[2])
    return Case(number, title, steps, (Event("waited"),), (Event("waited"), Event("waited")), NOT_UTF8)


_BAD, _WHOLE = len(_GREEK), len(_GREEK) + 4

_FAIL_FAST: Final = [
    _fail_fast("6.4.1", "good fragment, bad fragment, the rest", _BAD, _WHOLE, one_frame=False),
    _fail_fast("6.4.2", "the second fragment is only the byte that is wrong", _BAD + 1, _BAD + 2, one_frame=False),
    _fail_fast("6.4.3", "as 6.4.1, but pieces of one frame", _BAD, _WHOLE, one_frame=True),
    _fail_fast("6.4.4", "as 6.4.2, but pieces of one frame", _BAD + 1, _BAD + 2, one_frame=True),
]

# From 6.5 on: one message each, in hexadecimal; a ! marks those that must be refused.

_VALID = (*(f"hello{character}world" for character in "$\u00a2\u20ac\U00024b62"), _GREEK.decode())
_PREFIXES = " ".join(("" if end in (2, 5, 7, 9, 11) else "!") + _GREEK[:end].hex() for end in range(1, len(_GREEK) + 1))
_ALL_CONTINUATIONS = "!" + bytes(range(0x80, 0xBF)).hex()
_LONELY = " ".join(
    "!" + b"".join(bytes((start, 0x20)) for start in range(first, last)).hex()
    for first, last in ((0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD))
)
_INCOMPLETE = "!c0 !e080 !f08080 !f8808080 !fc80808080 !df !efbf !f7bfbf !fbbfbfbf !fdbfbfbfbf"
_NON_CHARACTERS = " ".join(chr(plane << 16 | low).encode().hex() for plane in range(17) for low in (0xFFFE, 0xFFFF))
_HIGH, _LOW = ("eda080", "edadbf", "edae80", "edafbf"), ("edb080", "edbfbf")

_SEQUENCES: Final = (
    ("characters of one to four bytes", " ".join(text.encode().hex() for text in _VALID)),
    ("prefixes of a text", _PREFIXES),
    ("the first of each length", "00 c280 e0a080 f0908080"),
    ("the first of five and six bytes", "!f888808080 !fc8480808080"),
    ("the last of each length", "7f dfbf efbfbf f48fbfbf"),
    ("the last of four, five and six bytes, as they once were", "!f7bfbfbf !fbbfbfbfbf !fdbfbfbfbfbf"),
    ("other boundaries", "ed9fbf ee8080 efbfbd f48fbfbf !f4908080"),
    ("continuations of nothing", f"!80 !bf !80bf !80bf80 !80bf80bf !80bf80bf80 !80bf80bf80bf {_ALL_CONTINUATIONS}"),
    ("beginnings without an end", _LONELY),
    ("the last byte is missing", _INCOMPLETE),
    ("many of these in a row", "!" + _INCOMPLETE.replace("!", "").replace(" ", "")),
    ("impossible bytes", "!fe !ff !fefeffff"),
    ("a slash, overlong", "!c0af !e080af !f08080af !f8808080af !fc80808080af"),
    ("the highest overlong ones", "!c1bf !e09fbf !f08fbfbf !f887bfbfbf !fc83bfbfbfbf"),
    ("NUL, overlong", "!c080 !e08080 !f0808080 !f880808080 !fc8080808080"),
    ("surrogates", "!eda080 !edadbf !edae80 !edafbf !edb080 !edbe80 !edbfbf"),
    ("pairs of surrogates", " ".join(f"!{high}{low}" for high in _HIGH for low in _LOW)),
    ("code points that are no characters", _NON_CHARACTERS),
    ("specials", " ".join(chr(code).encode().hex() for code in range(0xFFF9, 0x10000))),
)


def _sequences() -> Iterator[Case]:
    for section, (title, row) in enumerate(_SEQUENCES, 5):
        for at, word in enumerate(row.split(), 1):
            payload = bytes.fromhex(word.removeprefix("!"))
            number, named, steps = f"6.{section}.{at}", f"{title}: {payload.hex()}", (Frame(TEXT, payload),)
            if word.startswith("!"):
                yield Case(number, named, steps, ending=NOT_UTF8)
            else:
                yield Case(number, named, steps, (Event("text", payload),))


CASES: Final = [*_CUTS, *_FAIL_FAST, *_sequences()]
