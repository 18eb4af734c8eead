"""Places of clients that have only HTTP: a room, a peer id, and the key that proves it; and how requests name them."""

from dataclasses import dataclass
from typing import Final

from msgspec import structs
from starlette.datastructures import QueryParams
from starlette.types import Scope

from relay.gateways.base.credentials import read_password, read_token
from relay.gateways.base.gateway import TokenFields
from relay.gateways.base.http import HttpExchange
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.base.query import parse_since, read_channels, read_flag
from relay.gateways.base.websocket import arrival
from relay.http_request import header, read_query
from relay.model.envelope import MessageId
from relay.model.envelope_head import MAX_KEY
from relay.model.errors import Refused
from relay.model.member_info import read_info
from relay.model.names import escape_peer
from relay.model.rules import MAX_PASSWORD
from relay.paths import room_in
from relay.rooms.worker import Worker
from relay.session_ids import BadSessionId

_MIN_KEY: Final = 16
"""Characters of a resume key that a client may make itself: 16 random letters and digits have 95 bits."""

DEFAULT_WAIT: Final = 25.0
MAX_WAIT: Final = 60.0
"""Seconds that a poll waits for messages: proxies and browsers drop requests that are silent for longer."""


@dataclass(frozen=True, slots=True)
class HttpPlace:
    """A place that a client has, or wants: a room, a peer id ("" for any), and the key that proves it ("" for none)."""

    room: str
    peer: str
    resume: str

    @property
    def name(self) -> str:
        """A name of the place; secret, as it has the key."""
        return f"{self.room} {self.peer} {self.resume}"


class PlaceQuery:
    """The query of a request to a room; every method raises `Refused` for a value that is not allowed.

    `tokens` are those of the protocol. `room` is the escaped name of the room, "" for the one in the path.
    `arrived` is when the request arrived, on the worker's clock.
    """

    def __init__(self, scope: Scope, tokens: TokenFields, room: str = "") -> None:
        self._scope = scope
        self._tokens = tokens
        self._query = QueryParams(read_query(scope))
        self.arrived = arrival(scope)
        self.place = HttpPlace(room or room_in(scope), self._peer(), self._resume())

    @property
    def names_peer(self) -> bool:
        """Whether the client has said who it is, or that it wants any peer id (`peer=`)."""
        return "peer" in self._query

    @property
    def token(self) -> str:
        """The client's token, "" for none."""
        return read_token(self._scope, self._tokens)

    @property
    def after(self) -> str:
        """The key of the envelope that must have been sent before, "" for none."""
        after: str = self._query.get("after", "")
        if len(after) > MAX_KEY:
            raise Refused("bad_query", f"after is the key of an envelope, of at most {MAX_KEY} characters")
        return after

    def since(self) -> MessageId | None:
        """Return the last id that the client has, None if it does not say."""
        return parse_since(self._query.get("since", ""))

    def wait(self) -> float:
        """Return for how many seconds a poll waits."""
        text = self._query.get("wait", "")
        if not text:
            return DEFAULT_WAIT
        if not (text.isascii() and text.isdigit() and len(text) <= 4):
            raise Refused("bad_query", f"wait is a whole number of seconds, at most {MAX_WAIT:g}")
        return min(float(text), MAX_WAIT)

    def proven_place(self) -> HttpPlace:
        """Return the place of a client that says goodbye or posts: it must be named, with its key."""
        if not self.place.peer or not self.place.resume:
            raise Refused("bad_query", "the address needs peer and resume, as the welcome has them")
        return self.place

    def join_request(self, since: MessageId | None) -> JoinRequest:
        """Return the request of a client that enters the room, or comes back and has all up to an id."""
        query, place = self._query, self.place
        return JoinRequest(
            room=place.room,
            peer=place.peer,
            resume=place.resume,
            since=since,
            echo=read_flag(query, "echo"),
            presence=read_flag(query, "presence"),
            channels=read_channels(query),
            info=read_info(query["info"].encode()) if "info" in query else b"",
            arrived=self.arrived,
            token=self.token,
            password=self._password(),
            own_key=bool(place.resume),
        )

    def _peer(self) -> str:
        peer = self._query.get("peer", "")
        return escape_peer(peer) if peer else ""

    def _resume(self) -> str:
        key: str = self._query.get("resume", "")
        if key and not _MIN_KEY <= len(key) <= MAX_KEY:
            raise Refused("bad_query", f"resume has {_MIN_KEY} to {MAX_KEY} characters: make it of random ones")
        return key

    def _password(self) -> str:
        password: str = self._query.get("password", "")
        if len(password) > MAX_PASSWORD:
            raise Refused("bad_password", f"a password has at most {MAX_PASSWORD} characters")
        return password or read_password(self._scope)


def last_event_id(scope: Scope) -> str:
    """Return the header `Last-Event-ID`, which a browser sends when it comes back by itself; "" if there is none."""
    return header(scope, b"last-event-id") or ""


def with_key(request: JoinRequest, key: str) -> JoinRequest:
    """Return the request of a client that gets this resume key, unless it has one."""
    return request if request.resume else structs.replace(request, resume=key, own_key=True)


async def any_peer(worker: Worker, token: str, address: str) -> str:
    """Return a peer id for a client that asks for none: a random one, or that of its token; raises `Refused`."""
    grants, generate = await worker.identify(token, address), worker.random.peer_id
    return generate() if grants is None else grants.peer("", generate)


async def forward_to_owner(exchange: HttpExchange, place: HttpPlace, *, limit: int) -> bool:
    """Respond as the worker does that has the session of a place; return False if the place can be served here.

    The keys that the relay makes for clients that poll name the worker with the session. It gets the requests, as long
    as it lives: to move the place for each of them would cost events in the room. A key that the client has made names
    one of the workers behind this port by its hash. `limit` is for the body, in bytes.
    """
    worker: Worker = exchange.scope["state"]["worker"]
    key = place.resume
    try:
        worker.session_ids.owner(key)
    except BadSessionId:
        workers = len(worker.local.sockets)
        if workers < 2:
            return False
        key = worker.session_ids.of_local(place.resume, workers)
    try:
        return await exchange.forward(key, limit=limit)
    except Refused:
        # That worker does not answer, and its members are taken over here.
        return False
