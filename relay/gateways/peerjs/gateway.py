"""The requests of PeerJS clients: their WebSocket, a fresh id, the list of peers, and the root document."""

import base64
import hashlib
import uuid
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from relay.config import Settings
from relay.gateways.base.credentials import read_token
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.guard import Guard
from relay.gateways.base.http import HTML, JSON, HttpBody, HttpExchange
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.websocket import arrival, serve
from relay.gateways.peerjs.codec import PeerJSCodec
from relay.gateways.peerjs.connection import PeerConnection
from relay.gateways.peerjs.declaration import DEFAULT_KEY, NAME, TOKENS
from relay.gateways.peerjs.errors import PeerJSRefused
from relay.gateways.peerjs.guesses import WrongTokens
from relay.gateways.peerjs.session import PeerJSSession
from relay.gateways.peerjs.settings import PeerJSSettings
from relay.http_request import counted_client, read_query
from relay.identity.grants import Grants
from relay.model.commands import MAX_LISTED, AskPresence, Tracking
from relay.model.errors import Refused
from relay.model.names import CORE_WORDS, escape_peer, escape_room, unescape
from relay.paths import raw_path
from relay.rooms.admissions import Ticket
from relay.rooms.connection import Connection, Receiver
from relay.rooms.worker import Worker

STATE: Final = NAME
"""The key under which `scope["state"]` has the `WrongTokens` of this gateway."""

SHORTEST_TOKEN: Final = 8
"""Characters that the token of a `Peer` needs, so that its place is held, and given back to it."""

_MOST_TOKEN: Final = 4096
_JWT: Final = "eyJ"

# People open it to see whether their path leads to a PeerServer, so name and website are those of PeerServer.
_ROOT_DOCUMENT: Final = HttpBody(
    msgspec.json.encode(
        {
            "name": "PeerJS Server",
            "description": "Connects PeerJS clients, which may be on any worker of this relay.",
            "website": "https://peerjs.com/",
        }
    ),
    JSON,
)


class PeerJSGateway(GatewayEndpoint):
    """The ASGI application of all paths of the gateway."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("GET",))
        self._default_room = settings.default_room
        self._lists_peers = settings.of(PeerJSSettings).peerjs_discovery == "on"
        codec = PeerJSCodec()
        self._codecs = CodecPair(codec, codec)

    # The socket.

    async def serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket."""
        subprotocol = next(iter(scope["subprotocols"]), None)
        await serve(scope, receive, send, protocol=NAME, opening=partial(self._open, scope), subprotocol=subprotocol)

    def _open(self, scope: Scope, connection: Connection, ticket: Ticket) -> tuple[Receiver, Coroutine[Any, Any, None]]:
        wrong_tokens: WrongTokens = scope["state"][STATE]
        counted, worker = PeerConnection(connection), scope["state"]["worker"]
        session = PeerJSSession(counted, worker, self._codecs, ticket, wrong_tokens)
        return session, session.enter(partial(self._request, scope))

    def _request(self, scope: Scope) -> JoinRequest:
        # Read after the upgrade, as PeerServer does: PeerJS shows the reason only then.
        query = dict(read_query(scope))
        name, secret, key = query.get("id", ""), query.get("token", ""), query.get("key", "")
        if not (name and secret and key):
            raise Refused("bad_query", "No id, token, or key supplied to websocket server")
        if len(secret) > _MOST_TOKEN:
            raise Refused("bad_query", f"a token has at most {_MOST_TOKEN} characters")
        room, peer = self._room(scope, key), escape_peer(name)
        can_resume = len(secret) >= SHORTEST_TOKEN
        return JoinRequest(
            room=room,
            peer=peer,
            resume=resume_key(room, peer, secret) if can_resume else "",
            own_key=can_resume,
            can_resume=can_resume,
            tracking=Tracking.WRITTEN if can_resume else Tracking.NONE,
            arrived=arrival(scope),
            token=_without_default(read_token(scope, TOKENS)),
        )

    def _room(self, scope: Scope, key: str) -> str:
        """Return the room: that of the path, else of the key where it cannot be a token, else the default room."""
        named = scope["path_params"].get("room")
        if named is not None:
            return escape_room(named)
        worker: Worker = scope["state"]["worker"]
        if key == DEFAULT_KEY or not worker.authority.is_off or looks_like_jwt(key):
            return self._default_room
        return escape_room(key)

    # HTTP.

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Answer with a fresh id, with the list of peers, or with the root document."""
        scope = exchange.scope
        worker: Worker = scope["state"]["worker"]
        path = raw_path(scope).rstrip("/")
        if exchange.method == "GET" and path == f"/{NAME}":
            await worker.requests.admit(counted_client(scope))
            await exchange.respond(_ROOT_DOCUMENT)
            return
        last = path.rpartition("/")[2]
        key = scope["path_params"].get("key", "")
        if exchange.method != "GET" or not key or ("room" not in scope["path_params"] and key in CORE_WORDS):
            raise Refused("not_found")
        if last == "peers" and not self._lists_peers:
            raise PeerJSRefused("discovery_off")
        await worker.requests.admit(counted_client(scope))
        grants = await self._grants(scope, key)
        if last == "id":
            peer = str(uuid.uuid4()) if grants is None else grants.peer("", lambda: str(uuid.uuid4()))
            await exchange.respond(HttpBody(unescape(peer).encode(), HTML))
        else:
            peers = await self._peers(worker, self._room(scope, key), grants)
            await exchange.respond(HttpBody(msgspec.json.encode(peers), JSON))

    @staticmethod
    async def _grants(scope: Scope, key: str) -> Grants | None:
        worker: Worker = scope["state"]["worker"]
        token = read_token(scope, TOKENS)
        if not token and worker.authority.url_tokens:
            token = key
        return await worker.identify(_without_default(token), counted_client(scope))

    @staticmethod
    async def _peers(worker: Worker, room: str, grants: Grants | None) -> list[str]:
        if grants is not None:
            Guard(grants).check(AskPresence(room), room)
        roster = await worker.roster(room, MAX_LISTED)
        return [unescape(member.peer) for member in roster.members if not member.held]


def resume_key(room: str, peer: str, token: str) -> str:
    """Return the resume key of a place: no two places have the same, and the token cannot be read from it."""
    # Names are escaped: they have no space.
    digest = hashlib.sha256(f"peerjs {room} {peer} {token}".encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest[:24]).decode("ascii")


def looks_like_jwt(key: str) -> bool:
    """Return whether a key looks like a token that was meant for a relay with auth."""
    return key.startswith(_JWT) and key.count(".") == 2


def _without_default(token: str) -> str:
    return "" if token == DEFAULT_KEY else token
