"""The error codes of Engine.IO and Socket.IO that no other gateway uses."""

from typing import ClassVar, Final

from relay.model.errors import ERRORS, BadFrame, ErrorTable, Refused

SOCKETIO_ERRORS: Final[ErrorTable] = {
    "bad_transport": (400, "Engine.IO: transport is polling or websocket"),
    "bad_version": (400, "Engine.IO: EIO is 4, 3 or 2"),
    "bad_handshake": (400, "Engine.IO: a session begins with a GET request"),
    "bad_event": (
        400,
        "the event's name has more than 255 characters, SimpleWebRTC has no such event, or the arguments are wrong: "
        "join and presence take one name, relay:refresh one token",
    ),
    "reserved_event": (400, "the relay, or every JavaScript object, uses this name; choose another for the event"),
    "event_not_allowed": (403, "clients may not emit this event; the setting socketio-events lists those"),
    "not_back": (
        503,
        "the relay still looks for the room in which this page was, and as many of its events wait as may; this one "
        "was not sent: emit it again when the page is back",
    ),
    "no_client_script": (404, "the relay does not serve this script; load your own, or set socketio-client-url"),
    "bad_namespace": (
        404,
        "the namespaces are /, /rooms/NAME, /simplewebrtc, and those of channels that are open; use events for all "
        "else",
    ),
}
"""Error code → (HTTP status, meaning)."""


class SocketIORefused(Refused):
    """The gateway refuses a request."""

    meanings: ClassVar[ErrorTable] = {**ERRORS, **SOCKETIO_ERRORS}


class BadEvent(BadFrame):
    """The gateway refuses an event."""

    meanings: ClassVar[ErrorTable] = SocketIORefused.meanings
