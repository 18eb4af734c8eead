"""The WebSocket endpoints of the native protocol: `/` (the default room) and `/rooms/{room}`."""

from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.join_request import CodecPair, JoinRequest, ObserveRequest
from relay.gateways.base.observation import CREDENTIALS, read_observe_request
from relay.gateways.base.websocket import arrival, serve
from relay.gateways.native.codec import NativeCodec
from relay.gateways.native.declaration import NAME
from relay.gateways.native.previous import MarkingCodec, PreviousConnection
from relay.gateways.native.session import NativeSession
from relay.http_request import header, read_query
from relay.model.channels import labels
from relay.model.envelope import MAX_KEY, MessageId
from relay.model.errors import Refused
from relay.model.ice import parse_ice_servers
from relay.model.member_info import read_info
from relay.model.names import escape_peer, escape_room
from relay.paths import room_in
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver

SUBPROTOCOL = "relay.v1"
_RESUME = "resume."
_SECRET = (_RESUME, CREDENTIALS)
"""Subprotocols that carry a secret. Browsers can set no header on a WebSocket, but any list of subprotocols."""

_OBSERVABLE = ("presence", "messages", "all")
_OF_MEMBERS = ("peer", "since", "echo", "presence", "info")
"""Query parameters that only a client that joins may send."""


class NativeGateway(GatewayEndpoint):
    """The ASGI application of both endpoints: it reads the request, and a session does the rest."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME)
        self._default_room = settings.default_room
        ice_servers = parse_ice_servers(settings.ice_servers)
        self._codecs = CodecPair(NativeCodec(ice_servers), NativeCodec(ice_servers, tagged=True))
        self._marking_codecs = CodecPair(MarkingCodec(ice_servers), MarkingCodec(ice_servers, tagged=True))

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        subprotocol = choose_subprotocol(scope["subprotocols"])
        opening = partial(self._open, scope)
        await serve(scope, receive, send, protocol=NAME, opening=opening, subprotocol=subprotocol)

    def _open(self, scope: Scope, connection: Connection, ticket: Ticket) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        worker = scope["state"]["worker"]
        if _wants_previous(scope):
            session = NativeSession(PreviousConnection(connection), worker, self._marking_codecs, ticket)
        else:
            session = NativeSession(connection, worker, self._codecs, ticket)
        return session, session.enter(partial(self._request, scope))

    def _room(self, scope: Scope, named: str) -> str:
        """Return the room of the path; `/?room=NAME` is `/rooms/NAME`, and an empty name the default room."""
        if "room" not in scope["path_params"]:
            return escape_room(named) if named else self._default_room
        room = room_in(scope)
        if named and escape_room(named) != room:
            raise Refused("bad_query", f"the path names the room {room}, and the parameter room another; leave it out")
        return room

    def _request(self, scope: Scope) -> JoinRequest | ObserveRequest:
        # Read after the upgrade: an error then reaches scripts in browsers, which cannot see the status of a handshake.
        query = QueryParams(read_query(scope))
        room = self._room(scope, query.get("room", ""))
        _flag(query, "previous")
        if "observe" in query:
            return _observe_request(scope, room, query)
        peer = query.get("peer", "")
        return JoinRequest(
            room=room,
            peer=escape_peer(peer) if peer else scope["state"]["worker"].random.peer_id(),
            resume=read_resume_key(header(scope, b"authorization") or "", scope["subprotocols"]),
            since=parse_since(query.get("since", "")),
            echo=_flag(query, "echo"),
            presence=_flag(query, "presence"),
            channels=_channels(query),
            info=read_info(query["info"].encode()) if "info" in query else b"",
            arrived=arrival(scope),
        )


def _observe_request(scope: Scope, room: str, query: QueryParams) -> ObserveRequest:
    observed = query["observe"]
    if observed not in _OBSERVABLE:
        raise Refused("bad_query", f"observe is one of {', '.join(_OBSERVABLE)}")
    of_members = [name for name in _OF_MEMBERS if name in query]
    if of_members:
        raise Refused("bad_query", f"observe does not go with {', '.join(of_members)}: only members have these")
    channels, messages = _channels(query), observed != "presence"
    if channels and not messages:
        raise Refused("bad_query", "channel goes with observe=messages or observe=all")
    return read_observe_request(scope, room, presence=observed != "messages", messages=messages, channels=channels)


def parse_since(text: str) -> MessageId | None:
    """Read the last id that a client has seen; None for "". Raises `Refused` (`bad_query`) for a text that is no id."""
    try:
        return MessageId.parse(text) if text else None
    except ValueError:
        raise Refused("bad_query", "since is not an id as the relay sends it: epoch-sequence") from None


def _wants_previous(scope: Scope) -> bool:
    """Return whether the client wants the field `previous`; False as well for a query that is refused later."""
    # Nearly all clients do without it, and their query is not read twice.
    if b"previous=" not in scope["query_string"]:
        return False
    try:
        return _flag(QueryParams(read_query(scope)), "previous")
    except Refused:
        return False


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    """Return the subprotocol to answer with: `relay.v1`, else the first that carries no secret, else None.

    Browsers fail a connection whose server picks none of the subprotocols that they offered.
    """
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    return next((name for name in offered if not name.startswith(_SECRET)), None)


def read_resume_key(authorization: str, offered: Sequence[str]) -> str:
    """Return the resume key of `Authorization: Resume KEY`, else that of a subprotocol `resume.KEY`, else "".

    Raises `Refused` (`bad_query`) for one that is too long for the command `join` as well.
    """
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() == "resume":
        key = key.strip()
    else:
        key = next((name.removeprefix(_RESUME) for name in offered if name.startswith(_RESUME)), "")
    if len(key) > MAX_KEY:
        raise Refused("bad_query", f"a resume key has at most {MAX_KEY} characters")
    return key


def _flag(query: QueryParams, name: str) -> bool:
    value = query.get(name, "0")
    if value not in {"", "0", "1", "false", "true"}:
        raise Refused("bad_query", f"{name} is 1 or 0")
    return value in {"1", "true"}


def _channels(query: QueryParams) -> Sequence[str] | None:
    names = query.getlist("channel")
    try:
        return labels(names) if names else None
    except Refused as error:
        raise Refused("bad_query", error.text) from None
