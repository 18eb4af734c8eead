"""What can go wrong, and what it is called: exceptions, error codes and close codes.

    RelayError
    ├── Refused        the client asked for what it cannot have; the text says why
    │   └── BadFrame   a codec cannot read a frame
    ├── Unavailable    Redis did not take it in time; nothing was sent, a retry is safe
    ├── OutcomeUnknown Redis was asked and did not answer; it may have happened
    ├── Replaced       the sender's place in the room belongs to a newer connection
    └── NotMember      Redis does not know the sender's place in the room

Every code a client can meet, in an `error` event, an HTTP body or a close frame, is declared here and nowhere else.
"""

from dataclasses import dataclass
from typing import Final

ERRORS: Final[dict[str, tuple[int, str]]] = {
    "bad_json": (400, "the frame is not JSON that the relay can read"),
    "bad_envelope": (400, "the JSON is not an object, or a field of it has the wrong type"),
    "reserved_field": (
        400,
        "an envelope may not carry from, id or room, which the relay adds, nor type, which marks its events",
    ),
    "bad_command": (400, "a field of the command is missing or has the wrong type"),
    "unknown_command": (400, "the relay knows no command of this type"),
    "binary_frame": (400, "the protocol is JSON in text frames; binary frames are not relayed"),
    "bad_query": (400, "a query parameter has a value that is not allowed"),
    "bad_room": (400, "the room name is not allowed"),
    "bad_peer": (400, "the peer id is not allowed"),
    "unauthorized": (401, "the admin token is missing or wrong"),
    "forbidden": (403, "this is not allowed here"),
    "bad_origin": (403, "pages of this origin may not connect"),
    "not_found": (404, "there is nothing at this address"),
    "no_such_peer": (404, "a peer the envelope is addressed to is neither connected nor held"),
    "unknown_session": (400, "Engine.IO: no session of this id is here; the client begins a new one"),
    "bad_transport": (400, "Engine.IO: the transports are polling and websocket"),
    "transport_mismatch": (400, "Engine.IO: this session has another transport by now, or is changing it"),
    "bad_version": (400, "Engine.IO: EIO is 4, 3 or 2"),
    "bad_handshake": (400, "Engine.IO: a session begins with a GET"),
    "poll_overlap": (400, "Engine.IO: one poll, and one post, at a time; the session has ended"),
    "bad_packet": (400, "Engine.IO or Socket.IO: not a packet; the session has ended, or did not begin"),
    "jsonp_unsupported": (400, "Engine.IO: JSONP polling is not served; polling by XHR, and WebSocket, are"),
    "bad_event": (400, "Socket.IO: the event's name is too long, or its arguments are not those it takes"),
    "reserved_event": (
        400,
        "Socket.IO: the event's name is one that the relay itself uses, or that every object has in JavaScript",
    ),
    "event_not_allowed": (403, "Socket.IO: this event may not be emitted here"),
    "no_client_script": (404, "Socket.IO: the client's script is not served; load your own, or set socketio-client"),
    "bad_namespace": (404, "Socket.IO: the namespaces are / and /rooms/NAME"),
    "bad_method": (405, "this address knows no such method; the Allow header lists those it knows"),
    "not_joined": (409, "this connection is not in that room"),
    "replaced": (409, "a newer connection of the same client has taken over this membership"),
    "already_joined": (409, "this connection is in that room already"),
    "out_of_order": (409, "the envelope that this one comes after is not known to have been sent; nor was this one"),
    "peer_taken": (409, "the peer id is in use, and the resume key does not match"),
    "room_full": (409, "the room has as many members as it may have"),
    "too_many_rooms": (409, "this connection is in as many rooms as it may be"),
    "too_many_channels": (409, "this connection listens to as many channels as it may"),
    "too_large": (413, "the message is larger than the relay takes"),
    "bad_content_type": (415, "the body is one envelope, sent as application/json"),
    "too_fast": (429, "messages come faster than the relay takes them; this one was not sent"),
    "too_many_connections": (429, "this address has as many connections as it may have"),
    "too_many_handshakes": (429, "this address opens connections faster than it may"),
    "worker_full": (503, "this worker has as many connections as it may have"),
    "unavailable": (503, "the relay cannot reach Redis; nothing was sent"),
    "outcome_unknown": (504, "Redis did not answer in time; the message may or may not have been sent"),
    "messages_lost": (503, "the relay lost touch with Redis, and the log cannot tell what was missed in this room"),
    "internal": (500, "the relay failed; the operator's log says why"),
}
"""Error code → (HTTP status, what it means)."""


@dataclass(frozen=True, slots=True)
class CloseReason:
    """Why the relay closes a WebSocket: the close code, its name, whether to come back, and what it means.

    Codes 4000 to 4499 mean "come back", 4500 to 4999 "do not, something must change first".
    """

    code: int
    name: str
    reconnect: bool
    text: str


NORMAL = CloseReason(1000, "normal", False, "the client left")
GOING_AWAY = CloseReason(
    1001, "going_away", True, "this worker is stopping; come back now, after a random moment: another one answers"
)
PROTOCOL_ERROR = CloseReason(1002, "protocol_error", False, "the frames are not WebSocket frames (RFC 6455)")
NOT_UTF8 = CloseReason(1007, "not_utf8", False, "a text frame is not UTF-8")
TOO_LARGE = CloseReason(1009, "too_large", False, "a message beyond sixteen times the limit")
INTERNAL = CloseReason(1011, "internal", True, "the relay failed on this connection")
SLOW = CloseReason(4000, "slow", True, "the client reads too slowly; its outgoing buffer is full")
PONG_TIMEOUT = CloseReason(4001, "pong_timeout", True, "the client answered no ping")
TOO_FAST = CloseReason(4002, "too_fast", True, "the client kept sending after many too_fast errors")
UNAVAILABLE = CloseReason(4003, "unavailable", True, "Redis did not answer while the client joined")
ROOM_FULL = CloseReason(4004, "room_full", True, "the room has as many members as it may have")
REPLACED = CloseReason(4500, "replaced", False, "the same client came back over a newer connection")
PEER_TAKEN = CloseReason(4501, "peer_taken", False, "the wanted peer id is in use by somebody else")
BAD_REQUEST = CloseReason(4502, "bad_request", False, "the room, the peer id or a query parameter is not allowed")
BAD_PACKET = CloseReason(4503, "bad_packet", False, "what came is not a packet of Engine.IO or Socket.IO")

CLOSE_REASONS: Final = (
    NORMAL,
    GOING_AWAY,
    PROTOCOL_ERROR,
    NOT_UTF8,
    TOO_LARGE,
    INTERNAL,
    SLOW,
    PONG_TIMEOUT,
    TOO_FAST,
    UNAVAILABLE,
    ROOM_FULL,
    REPLACED,
    PEER_TAKEN,
    BAD_REQUEST,
    BAD_PACKET,
)

JOIN_CLOSES: Final[dict[str, CloseReason]] = {
    "peer_taken": PEER_TAKEN,
    "room_full": ROOM_FULL,
    "unavailable": UNAVAILABLE,
    "outcome_unknown": UNAVAILABLE,
}
"""How a connection is closed whose first join fails with this error code; every other code means BAD_REQUEST."""

GOODBYE_CODES: Final = frozenset({1000, 1001, 1005})
"""Close codes by which a client leaves on purpose; 1005 is what a browser's `close()` without arguments sends."""


class RelayError(Exception):
    """A failure with a code of `ERRORS`; `text` is for people, `detail` holds further JSON fields for the client."""

    code = "internal"

    def __init__(self, text: str = "", **detail: object) -> None:
        super().__init__(text)
        self.text = text or ERRORS[self.code][1]
        self.detail = detail

    @property
    def status(self) -> int:
        """The HTTP status that answers this error."""
        return ERRORS[self.code][0]

    @property
    def body(self) -> dict[str, object]:
        """The JSON body of an HTTP response with this error."""
        return {"error": {"code": self.code, "text": self.text, **self.detail}}

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


class Refused(RelayError):
    """The client asked for what it cannot have."""

    def __init__(self, code: str, text: str = "", **detail: object) -> None:
        self.code = code
        super().__init__(text, **detail)


class BadFrame(Refused):
    """A codec cannot read a frame; `about` and `key` say which command it was, as far as that is known."""

    def __init__(self, code: str, text: str = "", *, about: str = "", key: str = "") -> None:
        super().__init__(code, text)
        self.about = about
        self.key = key


class Unavailable(RelayError):
    """Redis could not be reached in time; nothing was sent, so the same call may be made again."""

    code = "unavailable"


class OutcomeUnknown(RelayError):
    """Redis was asked and did not answer in time; what was asked may have happened."""

    code = "outcome_unknown"


class Replaced(RelayError):
    """The sender's place in the room is held under a newer generation: its connection has lost it."""

    code = "replaced"


class NotMember(RelayError):
    """Redis knows nothing of the sender's place in the room: it must be announced again."""

    code = "not_joined"
