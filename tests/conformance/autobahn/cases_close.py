"""Group 7: closing a connection, and the contents of close frames."""

from typing import Final

from tests.conformance.autobahn.case import NORMAL, Case, Ending, Event
from tests.conformance.autobahn.wire import CONTINUATION, PING, TEXT, Frame, closing

_HELLO, _NORMAL = Frame(TEXT, b"Hello World!"), closing(1000)
_QUARTER_MEGABYTE = (b"BAsd7&jh23" * 2**15)[: 2**18]
_NOT_UTF8 = "\u03ba\u1f79\u03c3\u03bc\u03b5".encode() + b"\xed\xa0\x80edited"

_WITHOUT_CODE: Final = Ending("client", frozenset({None}), clean=True)
_REFUSED: Final = Ending("client", frozenset({1002}))
_REFUSED_TEXT: Final = Ending("client", frozenset({1002, 1007}))


def _undefined(number: str, code: int) -> Case:
    ending = Ending("client", frozenset({1000, 1002, code}))
    return Case(number, f"code {code}: undefined", (closing(code),), ending=ending, informational=True)


_ORDER: Final = [
    Case("7.1.1", "a message, then a close", (_HELLO,), (Event("text", b"Hello World!"),)),
    Case("7.1.2", "two closes", (_NORMAL, closing())),
    Case("7.1.3", "a ping after the close", (_NORMAL, Frame(PING))),
    Case("7.1.4", "text after the close", (_NORMAL, _HELLO)),
    Case(
        "7.1.5",
        "a close between the fragments of a message",
        (Frame(TEXT, b"fragment1", fin=False), _NORMAL, Frame(CONTINUATION, b"fragment2")),
    ),
    Case(
        "7.1.6",
        "256 KB, text, a close, a ping: how much is echoed is left open",
        (Frame(TEXT, _QUARTER_MEGABYTE), _HELLO, _NORMAL, Frame(PING)),
        informational=True,
    ),
]

_PAYLOADS: Final = [
    Case("7.3.1", "nothing", (closing(),), ending=_WITHOUT_CODE),
    Case("7.3.2", "one byte", (closing(reason=b"a"),), ending=_REFUSED),
    Case("7.3.3", "a code", (_NORMAL,)),
    Case("7.3.4", "a code and a reason", (closing(1000, b"Hello World!"),)),
    Case("7.3.5", "a reason of 123 bytes", (closing(1000, b"*" * 123),)),
    Case("7.3.6", "a reason of 124 bytes: too long", (closing(1000, b"*" * 124),), ending=_REFUSED),
    Case("7.5.1", "a reason that is not UTF-8", (closing(1000, _NOT_UTF8),), ending=_REFUSED_TEXT),
]

_GOOD = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
_BAD = (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999)

CASES: Final = [
    *_ORDER,
    *_PAYLOADS,
    *(
        Case(
            f"7.7.{at}",
            f"good code {code}",
            (closing(code),),
            ending=Ending("client", NORMAL.codes | {code}, clean=True),
        )
        for at, code in enumerate(_GOOD, 1)
    ),
    *(Case(f"7.9.{at}", f"bad code {code}", (closing(code),), ending=_REFUSED) for at, code in enumerate(_BAD, 1)),
    _undefined("7.13.1", 5000),
    _undefined("7.13.2", 65535),
]
