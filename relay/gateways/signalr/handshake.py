"""Reads the first message of a client, which chooses the protocol of the connection."""

from typing import Final

import msgspec
from msgspec import Struct

from relay.gateways.signalr.errors import SignalRRefused
from relay.gateways.signalr.messages import SEPARATOR, BadHubMessage
from relay.gateways.signalr.protocols import PROTOCOLS, HubProtocol

MAX_HANDSHAKE: Final = 4096
"""Bytes of the first message."""

_NEWEST: Final = 2
"""The newest version; the protocols have not changed since version 0, which signalrcore in Python asks for."""


class _Handshake(Struct):
    protocol: str
    version: int


_decoder = msgspec.json.Decoder(_Handshake)


def read_handshake(data: bytes) -> tuple[HubProtocol, bytes]:
    """Return the protocol that a client chooses, and the bytes behind its handshake.

    Raises `BadHubMessage`, or `Refused` (`bad_protocol`) for a protocol or a version that the relay does not have.
    """
    end = data.find(SEPARATOR, 0, MAX_HANDSHAKE)
    if end < 0:
        raise BadHubMessage(
            f"a connection begins with a handshake of at most {MAX_HANDSHAKE} bytes, which the byte 1E ends"
        )
    try:
        handshake = _decoder.decode(data[:end])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadHubMessage("a handshake is an object of JSON with a protocol and a version") from None
    for protocol in PROTOCOLS:
        if protocol.name == handshake.protocol and 0 <= handshake.version <= _NEWEST:
            return protocol, data[end + 1 :]
    raise SignalRRefused("bad_protocol")
