"""Failures and their names: exceptions, error codes and close reasons.

    RelayError
    ├── Refused        the relay refuses a request of the client; the text says why
    │   └── BadFrame   a codec cannot read a frame
    ├── Unavailable    Redis did not accept the call in time; nothing happened, a retry is safe
    ├── OutcomeUnknown Redis was called and did not answer in time; it may have happened
    ├── ClientGone     the connection was lost before the join was done
    ├── Replaced       the membership belongs to a newer connection
    └── NotMember      Redis has no presence entry of this member

Every code that a client can meet, in an `error` event, an HTTP body or a close frame, is declared here, or in the
package of the only gateway that uses it. The tables in docs/errors.md are made from these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

ErrorTable = Mapping[str, tuple[int, str]]
"""Error code → (HTTP status, meaning)."""

ERRORS: Final[ErrorTable] = {
    "bad_json": (
        400,
        "the frame or body is not valid JSON, or nests more than 256 levels deep; write it with JSON.stringify",
    ),
    "bad_envelope": (
        400,
        "an envelope is a JSON object; in it, to is a peer id or a list of them, channel a label, and key text; the "
        "error names the field",
    ),
    "reserved_field": (
        400,
        "an envelope must not have from, id or room, which the relay adds, nor type, which marks commands and events; "
        'put such fields into another one: {"message":{"type":…}}',
    ),
    "bad_command": (400, "a field of the command is missing or has the wrong type; the text names it"),
    "unknown_command": (400, 'the relay has no command of this type; wrap objects of your own: {"message":{"type":…}}'),
    "binary_frame": (400, "this protocol sends JSON in text frames; send Base64 in JSON instead of a binary frame"),
    "bad_body": (400, "a field of the body is missing or has the wrong type; the text names it"),
    "bad_info": (400, "the info of a member is a JSON object of at most 1,024 bytes, nested at most 16 levels deep"),
    "bad_query": (400, "a parameter of the address has a value that is not allowed; the text names it"),
    "bad_room": (400, "the room name is not allowed; the text says which character is wrong, or what to write"),
    "bad_peer": (400, "the peer id is not allowed; the text says which character is wrong, or what to write"),
    "unauthorized": (401, "send the admin token: Authorization: Bearer TOKEN"),
    "token_required": (401, "the relay asks for a token here (setting auth); your application's server makes one"),
    "bad_token": (401, "the token is not valid; the text says why: form, signature, key, audience or issuer"),
    "token_expired": (401, "the token has expired; get a new one from your application's server"),
    "token_not_yet_valid": (401, "the token is not valid yet; compare the clocks of the relay and its issuer"),
    "not_granted": (403, "the token does not grant this in this room; the text names the right"),
    "wrong_peer": (403, "the token is for another peer id (claim sub)"),
    "keys_unavailable": (503, "the keys that prove tokens cannot be fetched (setting auth-jwks); try again later"),
    "room_locked": (403, "the room is locked: nobody new comes in"),
    "password_required": (403, "the room has a password; send it with the join"),
    "bad_password": (403, "this is not the password of the room"),
    "no_such_room": (404, "there is no such room, and this client may not open it (setting closed-rooms)"),
    "room_exists": (409, "the room has members already, and this client only opens a new one"),
    "banned": (403, "this client was put out of the room, and may not come back yet"),
    "not_owner": (403, "only the owner of the room, or a client whose token grants it, may do this"),
    "forbidden": (403, "this is not allowed here; the text names the setting that allows it"),
    "bad_origin": (403, "pages of this origin may not connect; the setting allowed-origins lists those that may"),
    "not_found": (404, "there is nothing at this path; rooms are at /rooms/NAME, where a slash in NAME is written %2F"),
    "bad_path": (
        400,
        "a path of the room's tree has at most 16 keys: text of up to 768 bytes each, without . # $ [ ] / and control "
        "characters",
    ),
    "bad_value": (400, "a value of a room's tree is text, a number, a boolean, or an object of such"),
    "tree_full": (
        413,
        "the tree of the room has as many bytes (256 KB) or values (4,096) as it may have; remove some",
    ),
    "too_many_tree_bytes": (
        429,
        "this address has written as many bytes into trees of rooms as it may in the time tree-ttl (setting "
        "address-tree-bytes)",
    ),
    "stale_value": (409, "the value has changed since it was read; read it, and try again"),
    "no_such_peer": (
        404,
        "a peer in to is not in the room; nothing was sent. Send again without the peers that the text names",
    ),
    "unknown_session": (400, "the relay has no session with this id; open a new one"),
    "transport_mismatch": (400, "this session uses another transport now, or is changing it; open a new session"),
    "poll_overlap": (
        400,
        "a session has one GET and one POST at a time; this one is closed. Open a new one, and wait for each response",
    ),
    "bad_packet": (400, "this is no packet of the protocol; the session is closed, or was not opened"),
    "bad_callback": (400, "the callback of a JSONP request has 1 to 64 letters, digits, underscores and dots"),
    "jsonp_forbidden": (403, "JSONP is off where allowed-origins is restricted: its requests do not name their origin"),
    "jsonp_unsupported": (400, "the relay does not serve JSONP; use XHR polling or WebSocket"),
    "bad_method": (405, "this path does not allow this method; the Allow header lists those it allows"),
    "not_joined": (409, "this connection is not in that room; join it first"),
    "replaced": (409, "a newer connection of the same client has taken over this membership; use that one"),
    "superseded": (409, "another attempt of the same client has this membership; try again if this is the newest one"),
    "already_joined": (409, "this connection is in that room already; send to it, or leave it first"),
    "out_of_order": (
        409,
        "the envelope that after names was not sent, so this one was not either; send all that wait again, in order",
    ),
    "peer_taken": (
        409,
        "this peer id is in use, and the resume key does not match; choose another, or wait if held",
    ),
    "room_full": (409, "the room has as many members as it may have (setting members-per-room); try again later"),
    "too_many_places": (
        409,
        "the room has as many members from this address, held ones included, as it may have (setting "
        "places-per-address); try again later",
    ),
    "too_many_observers": (
        409,
        "the room has as many observers on this worker as it may have; try again, another worker may accept it",
    ),
    "observing": (409, "this connection observes the room and is no member of it; join it over another connection"),
    "too_many_rooms": (409, "this connection is in as many rooms as it may be; leave one first"),
    "too_many_channels": (409, "this connection is subscribed to as many channels as it may be; unsubscribe from some"),
    "too_large": (
        413,
        "the message is larger than the relay accepts (setting max-message); it was not sent: send it in parts",
    ),
    "bad_content_type": (415, "send JSON with Content-Type: application/json"),
    "too_fast": (
        429,
        "messages have come faster than the relay accepts for too long (settings message-rate, byte-rate); this one "
        "was not sent: pause, and send it again",
    ),
    "too_many_connections": (
        429,
        "this address has as many connections as it may have (setting connections-per-address); close some",
    ),
    "too_many_handshakes": (429, "this address opens connections too fast; try again in a few seconds"),
    "too_many_new_rooms": (
        429,
        "this address has opened as many new rooms in this minute as it may (setting new-rooms-per-address); rooms "
        "that exist can be joined: try again in a minute",
    ),
    "memory_low": (
        503,
        "the relay is short of memory, and accepts no new rooms for now, and perhaps no new members (setting "
        "memory-share); try again later",
    ),
    "too_many_requests": (
        429,
        "this address sends more HTTP requests than it may (setting http-rate); wait for the time in Retry-After",
    ),
    "too_many_attempts": (
        429,
        "this address has sent as many wrong tokens, or passwords for the room, as it may (settings token-attempts, "
        "password-attempts); wait a minute, and send the right one",
    ),
    "worker_full": (503, "this worker has as many connections as it may have; try again, another worker may answer"),
    "unavailable": (503, "Redis is away, or refuses; nothing was sent, try again"),
    "outcome_unknown": (504, "Redis did not answer in time, or failed; the message may have been sent, or not"),
    "messages_lost": (503, "events of this room were missed and cannot be replayed; reason says why"),
    "internal": (500, "the relay failed, which is a bug; its log has the traceback"),
}
"""The codes that several protocols share; a gateway has those of its own protocol in its own package."""

STATUS_HEADERS: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "2"},
    503: {"Retry-After": "2"},
}
"""HTTP status → the headers of every response that has it."""


@dataclass(frozen=True, slots=True)
class CloseReason:
    """Why the relay closes a WebSocket: close code, name, whether the client should reconnect, and meaning.

    Codes from 4000 to 4499 ask the client to reconnect. Codes from 4500 on ask it not to, as it would fail again.
    """

    code: int
    name: str
    reconnect: bool
    text: str


NORMAL = CloseReason(1000, "normal", False, "the client has left")
GOING_AWAY = CloseReason(
    1001, "going_away", True, "this worker is stopping; reconnect within a second or so, to another worker"
)
PROTOCOL_ERROR = CloseReason(1002, "protocol_error", False, "the client broke the WebSocket protocol (RFC 6455)")
NOT_UTF8 = CloseReason(1007, "not_utf8", False, "a text frame is not UTF-8")
TOO_LARGE = CloseReason(1009, "too_large", False, "a message is far larger than max-message")
INTERNAL = CloseReason(
    1011, "internal", True, "the relay failed on this connection, which is a bug; its log has the traceback"
)
SLOW = CloseReason(
    4000,
    "slow",
    True,
    "the client reads too slowly: more bytes than send-buffer wait for it, or more than address-buffer or "
    "worker-buffer for it and others",
)
PONG_TIMEOUT = CloseReason(4001, "pong_timeout", True, "the client did not answer a ping in time")
TOO_FAST = CloseReason(
    4002,
    "too_fast",
    True,
    "after a hundred too_fast errors, the client kept sending at more than twice its rate; or its address has sent too "
    "many wrong admin tokens",
)
UNAVAILABLE = CloseReason(4003, "unavailable", True, "Redis did not answer while the client was joining")
ROOM_FULL = CloseReason(
    4004, "room_full", True, "the room has as many members, or observers, as it may have, in all or from one address"
)
SUPERSEDED = CloseReason(
    4005, "superseded", True, "another attempt of the same client has the membership; the newest attempt may try again"
)
UNFINISHED = CloseReason(
    4006,
    "unfinished",
    True,
    "a message of the client took too long to arrive, or unfinished messages of its address held too many bytes",
)
TOO_MANY_NEW_ROOMS = CloseReason(
    4007, "too_many_new_rooms", True, "the client's address has opened too many new rooms in this minute; wait a while"
)
MEMORY_LOW = CloseReason(4008, "memory_low", True, "the relay is short of memory, and accepts no new rooms for now")
TOKEN_EXPIRED = CloseReason(4009, "token_expired", True, "the client's token has expired; connect again with a new one")
REPLACED = CloseReason(4500, "replaced", False, "a newer connection of the same client has taken over its membership")
PEER_TAKEN = CloseReason(
    4501, "peer_taken", False, "another client uses this peer id; choose another, or wait if the error has held"
)
BAD_REQUEST = CloseReason(4502, "bad_request", False, "the room, the peer id or a query parameter is not allowed")
BAD_PACKET = CloseReason(4503, "bad_packet", False, "the client sent no valid packet of its protocol")
TOKEN_REFUSED = CloseReason(4504, "token_refused", False, "the client has no token, or one that is not valid")
NOT_ADMITTED = CloseReason(
    4505, "not_admitted", False, "the client may not enter this room (token, lock, password or ban): the error says why"
)
KICKED = CloseReason(4506, "kicked", False, "the client was put out of the room, and should not come back")
ROOM_CLOSED = CloseReason(4507, "room_closed", False, "the room was closed")

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
    SUPERSEDED,
    UNFINISHED,
    TOO_MANY_NEW_ROOMS,
    MEMORY_LOW,
    TOKEN_EXPIRED,
    REPLACED,
    PEER_TAKEN,
    BAD_REQUEST,
    BAD_PACKET,
    TOKEN_REFUSED,
    NOT_ADMITTED,
    KICKED,
    ROOM_CLOSED,
)

JOIN_CLOSES: Final[dict[str, CloseReason]] = {
    "peer_taken": PEER_TAKEN,
    "superseded": SUPERSEDED,
    "room_full": ROOM_FULL,
    "too_many_places": ROOM_FULL,
    "too_many_observers": ROOM_FULL,
    "too_many_new_rooms": TOO_MANY_NEW_ROOMS,
    "memory_low": MEMORY_LOW,
    "unavailable": UNAVAILABLE,
    "outcome_unknown": UNAVAILABLE,
    "too_many_attempts": TOO_FAST,
    "keys_unavailable": UNAVAILABLE,
    "token_required": TOKEN_REFUSED,
    "bad_token": TOKEN_REFUSED,
    "token_expired": TOKEN_REFUSED,
    "token_not_yet_valid": TOKEN_REFUSED,
    "not_granted": NOT_ADMITTED,
    "wrong_peer": NOT_ADMITTED,
    "room_locked": NOT_ADMITTED,
    "password_required": NOT_ADMITTED,
    "bad_password": NOT_ADMITTED,
    "no_such_room": NOT_ADMITTED,
    "banned": NOT_ADMITTED,
}
"""Error code of a failed first join → how the connection is closed; BAD_REQUEST for every other code."""

GOODBYE_CODES: Final = frozenset({1000, 1001, 1005})
"""Close codes with which a client leaves on purpose, so that it is not held.

1005 stands for a close frame without a code, as a browser's `close()` without arguments sends.
"""


class NotAllowed(ValueError):
    """The value of a setting is not allowed; the text is the reason, without any part of a secret."""


class RelayError(Exception):
    """A failure with a code; `text` explains it to people, `detail` has more JSON fields for the client.

    `meanings` is the table of the codes that an exception of the class may have.
    """

    meanings: ClassVar[ErrorTable] = ERRORS
    code = "internal"

    def __init__(self, text: str = "", **detail: object) -> None:
        super().__init__(text)
        self.text = text or self.meanings[self.code][1]
        self.detail = detail

    @property
    def status(self) -> int:
        """The HTTP status of a response with this error."""
        return self.meanings[self.code][0]

    @property
    def body(self) -> dict[str, object]:
        """The JSON body of an HTTP response with this error."""
        return {"error": {"code": self.code, "text": self.text, **self.detail}}

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


class Refused(RelayError):
    """The relay refuses a request of the client."""

    def __init__(self, code: str, text: str = "", **detail: object) -> None:
        self.code = code
        super().__init__(text, **detail)


class BadFrame(Refused):
    """A codec cannot read a frame; `about` and `key` name the command, as far as they could be read."""

    def __init__(self, code: str, text: str = "", *, about: str = "", key: str = "") -> None:
        super().__init__(code, text)
        self.about = about
        self.key = key


class Unavailable(RelayError):
    """Redis did not accept the call in time, or refused it; nothing happened, so a retry is safe.

    `report` is its text for operators, which no client gets: it may have Redis's own words.
    """

    code = "unavailable"
    report = ""

    def because(self, report: str) -> "Unavailable":
        """Set the report, and return the error."""
        self.report = report
        return self


class OutcomeUnknown(RelayError):
    """Redis was called and did not answer in time, or failed midway; the call may have taken effect."""

    code = "outcome_unknown"


class ClientGone(RelayError):
    """The client's connection was lost before it had joined: it is in no room, and no answer can reach it."""

    code = "superseded"


class Replaced(RelayError):
    """The presence entry has a newer generation: another connection has taken the membership over."""

    code = "replaced"


class NotMember(RelayError):
    """Redis has no presence entry of this member, for example after it lost its data: it must be announced again."""

    code = "not_joined"
