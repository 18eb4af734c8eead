"""Groups 1 to 5: framing, pings and pongs, reserved bits, opcodes, fragmentation."""

from typing import Any, Final

from tests.conformance.autobahn.case import FRAMEWISE, PROTOCOL_ERROR, Answered, Case, Event, Waited
from tests.conformance.autobahn.wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame

_STAR, _FE, _ODD = b"*", b"\xfe", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
_HELLO, _RESERVED, _UNASKED = b"Hello, world!", b"reserved opcode payload", b"unsolicited pong payload"

# 1: whole messages of the lengths at which the header changes.

_LENGTHS: Final = (0, 125, 126, 127, 128, 65535, 65536, 65536)
_CHOPS: Final = (None, None, None, None, None, None, None, 997)


def _framing(section: int, opcode: int, fill: bytes) -> list[Case]:
    kind: Any = "text" if opcode == TEXT else "binary"
    return [
        Case(
            f"1.{section}.{at}",
            f"{kind} of {length} bytes" + (f", sent {chop} bytes at a time" if chop else ""),
            (Frame(opcode, fill * length),),
            (Event(kind, fill * length),),
            chop=chop,
        )
        for at, (length, chop) in enumerate(zip(_LENGTHS, _CHOPS, strict=True), 1)
    ]


# 2: a ping is answered with its payload, a pong with nothing.


def _ping(number: str, title: str, *payloads: bytes, chop: int | None = None) -> Case:
    pings = tuple(Frame(PING, payload) for payload in payloads)
    return Case(number, title, pings, tuple(Event("pong", payload) for payload in payloads), chop=chop)


_TEN = [b"payload-%d" % at for at in range(10)]

_PINGS: Final = [
    _ping("2.1", "empty ping", b""),
    _ping("2.2", "ping with text", _HELLO),
    _ping("2.3", "ping with bytes that are not UTF-8", _ODD),
    _ping("2.4", "ping of 125 bytes", _FE * 125),
    Case("2.5", "ping of 126 bytes: too long", (Frame(PING, _FE * 126),), ending=PROTOCOL_ERROR),
    _ping("2.6", "ping of 125 bytes, byte by byte", _FE * 125, chop=1),
    Case("2.7", "empty pong that answers nothing", (Frame(PONG),)),
    Case("2.8", "pong with text that answers nothing", (Frame(PONG, _UNASKED),)),
    Case(
        "2.9",
        "pong that answers nothing, then a ping",
        (Frame(PONG, _UNASKED), Frame(PING, b"ping payload")),
        (Event("pong", b"ping payload"),),
    ),
    _ping("2.10", "ten pings", *_TEN),
    _ping("2.11", "ten pings, byte by byte", *_TEN, chop=1),
]

# 3 and 4: reserved bits and opcodes may not be used; a message before them is still answered.


def _refused(number: str, title: str, *frames: Frame) -> Case:
    return Case(number, title, frames, ending=PROTOCOL_ERROR)


def _refused_after(number: str, title: str, bad: Frame, chop: int | None = None) -> Case:
    """Text, the bad frame, a ping; in chops, the bad frame waits for the answer to the text."""
    good, ping = Frame(TEXT, _HELLO), Frame(PING)
    steps = (good, bad, ping) if chop is None else (good, Answered(), bad, ping)
    return Case(number, title, steps, (Event("text", _HELLO),), (), PROTOCOL_ERROR, chop)


_RESERVED_BITS: Final = [
    _refused("3.1", "text with RSV 1", Frame(TEXT, _HELLO, rsv=1)),
    _refused_after("3.2", "text, text with RSV 2, ping", Frame(TEXT, _HELLO, rsv=2)),
    _refused_after("3.3", "text, text with RSV 3, ping; frame by frame", Frame(TEXT, _HELLO, rsv=3), FRAMEWISE),
    _refused_after("3.4", "text, text with RSV 4, ping; byte by byte", Frame(TEXT, _HELLO, rsv=4), 1),
    _refused("3.5", "binary with RSV 5", Frame(BINARY, _ODD, rsv=5)),
    _refused("3.6", "binary with RSV 6, where the suite's title says ping", Frame(BINARY, _HELLO, rsv=6)),
    _refused("3.7", "close with RSV 7", Frame(CLOSE, rsv=7)),
]

_OPCODES: Final = [
    case
    for section, first in ((1, 3), (2, 11))
    for case in (
        _refused(f"4.{section}.1", f"opcode {first}, empty", Frame(first)),
        _refused(f"4.{section}.2", f"opcode {first + 1}", Frame(first + 1, _RESERVED)),
        _refused_after(f"4.{section}.3", f"text, opcode {first + 2}, empty, ping", Frame(first + 2)),
        _refused_after(f"4.{section}.4", f"text, opcode {first + 3}, ping", Frame(first + 3, _HELLO)),
        _refused_after(f"4.{section}.5", f"text, opcode {first + 4}, ping; byte by byte", Frame(first + 4, _HELLO), 1),
    )
]

# 5: the fragments of a message follow each other; only control frames, which are never fragments, may come between.

_BY = ((None, ""), (FRAMEWISE, "; frame by frame"), (1, "; byte by byte"))
_START, _END = Frame(TEXT, b"fragment1", fin=False), Frame(CONTINUATION, b"fragment2")
_WHOLE = Event("text", b"fragment1fragment2")
_PING, _PONG = Frame(PING, b"ping payload"), Event("pong", b"ping payload")
_STRAY, _OPEN_STRAY = (Frame(CONTINUATION, b"non-continuation payload", fin=fin) for fin in (True, False))
_TEXT = Frame(TEXT, _HELLO)
_TWICE = (Frame(TEXT, b"fragment2", fin=False), Frame(CONTINUATION, b"fragment3"))
_FIVE = [b"fragment%d" % at for at in range(1, 6)]
_LONG = (
    Frame(TEXT, _FIVE[0], fin=False),
    Frame(CONTINUATION, _FIVE[1], fin=False),
    Frame(PING, b"pongme 1!"),
    Answered(),
    Waited(),
    Frame(CONTINUATION, _FIVE[2], fin=False),
    Frame(CONTINUATION, _FIVE[3], fin=False),
    Frame(PING, b"pongme 2!"),
    Frame(CONTINUATION, _FIVE[4]),
)
_PONGS = (Event("pong", b"pongme 1!"), Event("waited"), Event("pong", b"pongme 2!"))
_LONG_HEARD = (*_PONGS, Event("text", b"".join(_FIVE)))


def _chopped(first: int, title: str, steps: tuple[Frame, ...], ok: tuple[Event, ...] = ()) -> list[Case]:
    """The same frames at once, frame by frame and byte by byte; without an answer, they are to be refused."""
    more: dict[str, Any] = {} if ok else {"ending": PROTOCOL_ERROR}
    return [Case(f"5.{first + at}", title + how, steps, ok, chop=chop, **more) for at, (chop, how) in enumerate(_BY)]


_FRAGMENTATION: Final = [
    _refused("5.1", "ping in two fragments", Frame(PING, b"fragment1", fin=False), _END),
    _refused("5.2", "pong in two fragments", Frame(PONG, b"fragment1", fin=False), _END),
    *_chopped(3, "text in two fragments", (_START, _END), (_WHOLE,)),
    *_chopped(6, "text in two fragments, a ping between", (_START, _PING, _END), (_PONG, _WHOLE)),
    *_chopped(9, "continuation of nothing, then text", (_STRAY, _TEXT)),
    *_chopped(12, "continuation of nothing that goes on, then text", (_OPEN_STRAY, _TEXT)),
    Case(
        "5.15",
        "text in two fragments, a continuation of nothing that goes on, text",
        (_START, _END, Frame(CONTINUATION, b"fragment3", fin=False), Frame(TEXT, b"fragment4")),
        (_WHOLE,),
        (),
        PROTOCOL_ERROR,
    ),
    _refused(
        "5.16",
        "twice: open continuation of nothing, text",
        *(Frame(CONTINUATION, b"fragment1", fin=False), *_TWICE) * 2,
    ),
    _refused("5.17", "twice: continuation of nothing, text", *(Frame(CONTINUATION, b"fragment1"), *_TWICE) * 2),
    _refused("5.18", "two text frames as fragments of one", _START, Frame(TEXT, b"fragment2")),
    Case("5.19", "text in five fragments, two pings and a pause between", _LONG, _LONG_HEARD),
    Case("5.20", "the same, frame by frame", _LONG, _LONG_HEARD, chop=FRAMEWISE),
]

CASES: Final = [
    *_framing(1, TEXT, _STAR),
    *_framing(2, BINARY, _FE),
    *_PINGS,
    *_RESERVED_BITS,
    *_OPCODES,
    *_FRAGMENTATION,
]
