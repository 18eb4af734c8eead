"""Groups 9 and 10: large messages, in large and small pieces, and many messages one after the other."""

from dataclasses import dataclass
from typing import Final

from tests.conformance.autobahn.case import Answered, Case, Event
from tests.conformance.autobahn.wire import BINARY, TEXT, Frame, fragments

_PATIENCE = 30.0
_KB, _MB = 2**10, 2**20
_TEXT, _BINARY = b"BAsd7&jh23", b"\x00\xfe\x23\xfa\xf0"


@dataclass(frozen=True, slots=True)
class Load:
    """A case that is made only when it runs: all together take a hundred megabytes."""

    number: str
    opcode: int
    fill: bytes
    length: int
    fragment: int | None = None
    chop: int | None = None
    times: int = 1

    @property
    def title(self) -> str:
        """A description of the bytes that are sent."""
        kind = "text" if self.opcode == TEXT else "binary"
        pieces = f", in fragments of {self.fragment}" if self.fragment else ""
        chops = f", {self.chop} bytes at a time" if self.chop else ""
        return f"{self.times} x {kind} of {self.length} bytes{pieces}{chops}"

    def case(self) -> Case:
        """The case, with all its bytes."""
        payload = (self.fill * (self.length // len(self.fill) + 1))[: self.length]
        kind: Final = "text" if self.opcode == TEXT else "binary"
        whole = [Frame(self.opcode, payload)]
        frames = whole if self.fragment is None else fragments(self.opcode, payload, self.fragment)
        return Case(
            self.number,
            self.title,
            (*frames, Answered()) * self.times,
            (Event(kind, payload),) * self.times,
            chop=self.chop,
            pace=0,
            patience=_PATIENCE,
        )


_SIZES = (64 * _KB, 256 * _KB, _MB, 4 * _MB, 8 * _MB, 16 * _MB)
_FRAGMENTS = (64, 256, _KB, 4 * _KB, 16 * _KB, 64 * _KB, 256 * _KB, _MB, 4 * _MB)
_CHOPS = (64, 128, 256, 512, 1024, 2048)
_SMALL = (0, 16, 64, 256, 1024, 4096)

LOADS: Final = [
    load
    for odd, opcode, fill, one in ((0, TEXT, _TEXT, b"*"), (1, BINARY, _BINARY, b"\xfe"))
    for load in (
        *(Load(f"9.{1 + odd}.{at}", opcode, fill, size) for at, size in enumerate(_SIZES, 1)),
        *(Load(f"9.{3 + odd}.{at}", opcode, one, 4 * _MB, fragment=size) for at, size in enumerate(_FRAGMENTS, 1)),
        *(Load(f"9.{5 + odd}.{at}", opcode, fill, _MB, chop=size) for at, size in enumerate(_CHOPS, 1)),
        *(Load(f"9.{7 + odd}.{at}", opcode, one, size, times=1000) for at, size in enumerate(_SMALL, 1)),
    )
]
LOADS.append(Load("10.1.1", TEXT, b"*", 64 * _KB, fragment=1300))
