"""The error codes of SignalR that no other gateway uses."""

from typing import ClassVar, Final

from relay.model.errors import ERRORS, BadFrame, ErrorTable, Refused

SIGNALR_ERRORS: Final[ErrorTable] = {
    "unknown_method": (404, "the hub has no such method; the setting signalr-methods lists those of applications"),
    "streams_unsupported": (400, "the relay serves no streams: invoke a method, and send each item as a message"),
    "bad_protocol": (400, "the first message chooses a protocol: json or messagepack, of a version up to 2"),
    "connection_in_use": (409, "the connection of this token is open; negotiate another one"),
}
"""Error code → (HTTP status, meaning)."""


class SignalRRefused(Refused):
    """The gateway refuses a request."""

    meanings: ClassVar[ErrorTable] = {**ERRORS, **SIGNALR_ERRORS}


class InvocationRefused(BadFrame):
    """The gateway refuses an invocation."""

    meanings: ClassVar[ErrorTable] = SignalRRefused.meanings
