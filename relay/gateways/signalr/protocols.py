"""Writes hub messages, in each of the two protocols."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from relay.gateways.signalr.messages import (
    SEPARATOR,
    HubMessage,
    length_of,
    packed_of,
    read_json,
    read_packed,
)
from relay.model.codec import Frame

_json: Final = msgspec.json.Encoder().encode
_packed: Final = msgspec.msgpack.Encoder().encode

_TARGETS: Final = 256
"""Client methods of which the beginning of a call is remembered."""

ACCEPTED: Final = b"{}" + SEPARATOR
"""The answer to a handshake, which is JSON in both protocols."""


def refused(text: str) -> bytes:
    """Return the answer to a handshake that is refused."""
    return _json({"error": text}) + SEPARATOR


class HubProtocol(Protocol):
    """Reads and writes the messages of one protocol; arguments and results are JSON texts."""

    @property
    def name(self) -> str:
        """The name by which a client chooses it."""
        ...

    @property
    def is_text(self) -> bool:
        """Whether its frames are text."""
        ...

    @property
    def ping(self) -> Frame:
        """A ping."""
        ...

    def read(self, data: bytes) -> Sequence[HubMessage]:
        """Read the messages of a frame; raises `BadHubMessage`."""
        ...

    def invocation(self, target: str, arguments: Sequence[bytes]) -> bytes:
        """Write the call of a client method, which wants no answer."""
        ...

    def completion(self, invocation: str, result: bytes | None = None, *, error: str = "") -> bytes:
        """Write the answer to an invocation: its result, None for none, or an error."""
        ...

    def close(self, error: str, *, reconnect: bool) -> bytes:
        """Write the last message of a connection; an `error` of "" is none."""
        ...

    def position(self, kind: int, sequence: int) -> bytes:
        """Write an ack or a sequence message."""
        ...


@lru_cache(maxsize=_TARGETS)
def _json_call(target: str) -> bytes:
    return b'{"type":1,"target":%b,"arguments":[' % _json(target)


class JsonProtocol:
    """Records of JSON."""

    name = "json"
    is_text = True
    ping = Frame(b'{"type":6}' + SEPARATOR)

    def read(self, data: bytes) -> Sequence[HubMessage]:
        """Read the messages of a frame."""
        return read_json(data)

    def invocation(self, target: str, arguments: Sequence[bytes]) -> bytes:
        """Write a call."""
        return b"%b%b]}\x1e" % (_json_call(target), b",".join(arguments))

    def completion(self, invocation: str, result: bytes | None = None, *, error: str = "") -> bytes:
        """Write an answer."""
        rest = b',"error":%b' % _json(error) if error else b""
        if result is not None:
            rest = b',"result":%b' % result
        return b'{"type":3,"invocationId":%b%b}\x1e' % (_json(invocation), rest)

    def close(self, error: str, *, reconnect: bool) -> bytes:
        """Write the last message."""
        fields: dict[str, Any] = {"type": 7} | ({"error": error} if error else {})
        return _json(fields | ({"allowReconnect": True} if reconnect else {})) + SEPARATOR

    def position(self, kind: int, sequence: int) -> bytes:
        """Write an ack or a sequence message."""
        return b'{"type":%d,"sequenceId":%d}\x1e' % (kind, sequence)


class PackedProtocol:
    """Arrays in MessagePack, each behind its length."""

    name = "messagepack"
    is_text = False
    ping = Frame(b"\x02\x91\x06", is_text=False)

    def read(self, data: bytes) -> Sequence[HubMessage]:
        """Read the messages of a frame."""
        return read_packed(data)

    def invocation(self, target: str, arguments: Sequence[bytes]) -> bytes:
        """Write a call: type, headers, no id, target, arguments, stream ids."""
        values = [packed_of(argument) for argument in arguments]
        return _framed(b"\x96\x01\x80\xc0", _packed(target), _array_head(len(values)), *values, b"\x90")

    def completion(self, invocation: str, result: bytes | None = None, *, error: str = "") -> bytes:
        """Write an answer: type, headers, id, kind, and the error or the result."""
        if error:
            return _framed(b"\x95\x03\x80", _packed(invocation), b"\x01", _packed(error))
        if result is None:
            return _framed(b"\x94\x03\x80", _packed(invocation), b"\x02")
        return _framed(b"\x95\x03\x80", _packed(invocation), b"\x03", packed_of(result))

    def close(self, error: str, *, reconnect: bool) -> bytes:
        """Write the last message: type, error, whether to reconnect."""
        return _framed(_packed([7, error or None, reconnect]))

    def position(self, kind: int, sequence: int) -> bytes:
        """Write an ack or a sequence message."""
        return _framed(_packed([kind, sequence]))


def _array_head(length: int) -> bytes:
    """Write the head of an array of so many elements (MessagePack, "array format family")."""
    if length < 1 << 4:
        return bytes([0x90 | length])
    if length < 1 << 16:
        return b"\xdc" + length.to_bytes(2, "big")
    return b"\xdd" + length.to_bytes(4, "big")


def _framed(*parts: bytes) -> bytes:
    message = b"".join(parts)
    return length_of(len(message)) + message


JSON_PROTOCOL: Final = JsonProtocol()
PACKED_PROTOCOL: Final = PackedProtocol()
PROTOCOLS: Final[Sequence[HubProtocol]] = (JSON_PROTOCOL, PACKED_PROTOCOL)
