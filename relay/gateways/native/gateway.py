"""The WebSocket endpoints of the native protocol: `/` (the default room) and `/rooms/{room}`."""

from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.credentials import PASSWORD_SUBPROTOCOL, TOKEN_SUBPROTOCOL, read_password, read_token
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.join_request import CodecPair, JoinRequest, ObserveRequest
from relay.gateways.base.observation import read_observe_request
from relay.gateways.base.query import Parameters, parse_since, read_channels, read_flag
from relay.gateways.base.websocket import arrival, serve
from relay.gateways.native.channel_session import ChannelSession
from relay.gateways.native.codec import NativeCodec
from relay.gateways.native.declaration import NAME, TOKENS
from relay.gateways.native.previous import MarkingCodec, PreviousConnection
from relay.gateways.native.session import NativeSession
from relay.http_request import header, read_query
from relay.model.envelope_head import MAX_KEY
from relay.model.errors import Refused
from relay.model.member_info import read_info
from relay.model.names import escape_peer, escape_room
from relay.paths import room_in
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver

SUBPROTOCOL = "relay.v1"
_RESUME = "resume."
_SECRET = (_RESUME, TOKEN_SUBPROTOCOL, PASSWORD_SUBPROTOCOL)
"""Subprotocols that carry a secret. Browsers can set no header on a WebSocket, but any list of subprotocols."""

_OBSERVABLE = ("presence", "messages", "all")
_OF_MEMBERS = ("peer", "since", "echo", "presence", "info")
"""Query parameters that only a client that joins may send."""


class NativeGateway(GatewayEndpoint):
    """The ASGI application of both endpoints: it reads the request, and a session does the rest."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME)
        self._default_room = settings.default_room
        self._codecs = CodecPair(NativeCodec(), NativeCodec(tagged=True))
        self._marking_codecs = CodecPair(MarkingCodec(), MarkingCodec(tagged=True))

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        subprotocol = choose_subprotocol(scope["subprotocols"])
        opening = partial(self._open, scope)
        await serve(scope, receive, send, protocol=NAME, opening=opening, subprotocol=subprotocol, greets=True)

    def _open(self, scope: Scope, connection: Connection, ticket: Ticket) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        worker = scope["state"]["worker"]
        # Clients of relay.v1 know the event, and the options of their join; a plain page knows neither.
        follows = SUBPROTOCOL not in scope["subprotocols"]
        if wants_previous(scope):
            connection, codecs = PreviousConnection(connection), self._marking_codecs
        else:
            codecs = self._codecs
        kind = ChannelSession if follows else NativeSession
        session = kind(connection, worker, codecs, ticket, follows=follows)
        return session, session.enter(partial(read_request, scope, self._default_room))


def read_request(scope: Scope, default_room: str) -> JoinRequest | ObserveRequest:
    """Return the request of a handshake, from its path, its query, its headers and the offered subprotocols.

    Raises `Refused`. It is called after the upgrade: an error then reaches scripts in browsers, which cannot see the
    status of a handshake.
    """
    query = Parameters(read_query(scope))
    room = _room(scope, query.get("room", ""), default_room)
    read_flag(query, "previous")
    if "observe" in query:
        return _observe_request(scope, room, query)
    peer = query.get("peer", "")
    return JoinRequest(
        room=room,
        peer=escape_peer(peer) if peer else "",
        resume=read_resume_key(header(scope, b"authorization") or "", scope["subprotocols"]),
        since=parse_since(query.get("since", "")),
        echo=read_flag(query, "echo"),
        presence=read_flag(query, "presence"),
        channels=read_channels(query),
        info=read_info(query["info"].encode()) if "info" in query else b"",
        arrived=arrival(scope),
        token=read_token(scope, TOKENS),
        password=read_password(scope),
    )


def _room(scope: Scope, named: str, default_room: str) -> str:
    """Return the room of the path; `/?room=NAME` is `/rooms/NAME`, and an empty name the default room."""
    if "room" not in scope["path_params"]:
        return escape_room(named) if named else default_room
    room = room_in(scope)
    if named and escape_room(named) != room:
        raise Refused("bad_query", f"the path names the room {room}, and the parameter room another; leave it out")
    return room


def _observe_request(scope: Scope, room: str, query: Parameters) -> ObserveRequest:
    observed = query["observe"]
    if observed not in _OBSERVABLE:
        raise Refused("bad_query", f"observe is one of {', '.join(_OBSERVABLE)}")
    of_members = [name for name in _OF_MEMBERS if name in query]
    if of_members:
        raise Refused("bad_query", f"observe does not go with {', '.join(of_members)}: only members have these")
    channels, messages = read_channels(query), observed != "presence"
    if channels and not messages:
        raise Refused("bad_query", "channel goes with observe=messages or observe=all")
    return read_observe_request(
        scope, room, TOKENS, presence=observed != "messages", messages=messages, channels=channels
    )


def wants_previous(scope: Scope) -> bool:
    """Return whether the client wants the field `previous`; False as well for a query that is refused later."""
    # Nearly all clients do without it, and their query is not read twice.
    if b"previous=" not in scope["query_string"]:
        return False
    try:
        return read_flag(Parameters(read_query(scope)), "previous")
    except Refused:
        return False


def choose_subprotocol(offered: Sequence[str]) -> str | None:
    """Return the subprotocol to answer with: `relay.v1`, else the first that carries no secret, else None.

    Browsers fail a connection whose server picks none of the subprotocols that they offered.
    """
    if not offered or SUBPROTOCOL in offered:
        return SUBPROTOCOL if offered else None
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
