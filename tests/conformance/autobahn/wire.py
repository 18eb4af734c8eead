"""WebSocket frames as a client writes and reads them, valid or not: RFC 6455, section 5.2."""

import struct
from dataclasses import dataclass
from typing import Final

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

_MASK: Final = b"\x5a\xc3\x0f\x96"


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, which may be invalid."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0

    def encode(self) -> bytes:
        """The masked bytes that a client sends."""
        first, length = self.fin << 7 | self.rsv << 4 | self.opcode, len(self.payload)
        if length < 126:
            head = struct.pack("!BB", first, 0x80 | length)
        elif length < 2**16:
            head = struct.pack("!BBH", first, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", first, 0x80 | 127, length)
        return head + _MASK + _masked(self.payload)


def closing(code: int | None = None, reason: bytes = b"") -> Frame:
    """A close frame; without a code, `reason` is its whole payload."""
    return Frame(CLOSE, reason if code is None else code.to_bytes(2) + reason)


def fragments(opcode: int, payload: bytes, size: int) -> list[Frame]:
    """A message in frames of `size` bytes, the last of fewer: as in the suite, of none if it must be."""
    parts = [payload[start : start + size] for start in range(0, len(payload) + 1, size)]
    last = len(parts) - 1
    return [Frame(CONTINUATION if at else opcode, part, fin=at == last) for at, part in enumerate(parts)]


def decode(buffer: bytearray) -> Frame | None:
    """Take the first frame of a server out of the buffer if it is complete."""
    if len(buffer) < 2:
        return None
    length, start = buffer[1], 2
    assert length < 128, "a server does not mask"
    if length > 125:
        start = 4 if length == 126 else 10
        if len(buffer) < start:
            return None
        length = int.from_bytes(buffer[2:start])
    if len(buffer) < start + length:
        return None
    first, payload = buffer[0], bytes(buffer[start : start + length])
    del buffer[: start + length]
    return Frame(first & 15, payload, fin=first >= 128, rsv=first >> 4 & 7)


def _masked(payload: bytes) -> bytes:
    # XOR of one large number is a hundred times as fast as a loop over megabytes.
    key = (_MASK * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(len(payload))
