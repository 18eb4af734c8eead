"""The error codes of SignalR 2.x that no other gateway uses."""

from typing import ClassVar, Final

from relay.model.errors import ERRORS, BadFrame, ErrorTable, Refused

CLASSIC_ERRORS: Final[ErrorTable] = {
    "no_such_hub": (
        400,
        "the relay has no hub of this name; the setting signalr-classic-hubs lists those beside webRtcHub3",
    ),
    "no_such_method": (400, "the hub has no method of this name with so many arguments; see signalr-classic-hubs"),
    "bad_connection_token": (
        400,
        "the connection token is not one that this relay made for this room; negotiate again",
    ),
    "unknown_transport": (
        400,
        "the relay does not serve this transport; it has webSockets, serverSentEvents and longPolling",
    ),
}
"""Error code → (HTTP status, meaning)."""

_MEANINGS: Final[ErrorTable] = {**ERRORS, **CLASSIC_ERRORS}


class ClassicRefused(Refused):
    """The gateway refuses a request."""

    meanings: ClassVar[ErrorTable] = _MEANINGS


class BadInvocation(BadFrame):
    """The call of a hub's method that the relay does not execute; `key` is its number, "" if it has none."""

    meanings: ClassVar[ErrorTable] = _MEANINGS
