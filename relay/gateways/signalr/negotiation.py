"""`POST /signalr/negotiate`: gives a client the token of a new connection, and a cookie with which it comes back."""

from typing import Any, Final

import msgspec

from relay.config import Settings
from relay.gateways.base.endpoint import GatewayEndpoint
from relay.gateways.base.http import JSON, HttpBody, HttpExchange
from relay.gateways.signalr.codec import error_text
from relay.gateways.signalr.declaration import CREDENTIALS, NAME
from relay.gateways.signalr.places import Proof, cookie_for, proof_of
from relay.gateways.signalr.query import HubQuery
from relay.gateways.signalr.state import SignalRState, state_of
from relay.http_request import counted_client
from relay.model.errors import Refused
from relay.rooms.worker import Worker

_MAX_BODY: Final = 1024
"""Bytes of a body, which is empty by the protocol."""

_STATED: Final = frozenset({400, 403, 409})
"""Statuses of errors that a client shows to its page only as the error of a negotiation that was answered."""

_TRANSPORTS: Final = [
    {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]},
    {"transport": "ServerSentEvents", "transferFormats": ["Text"]},
    {"transport": "LongPolling", "transferFormats": ["Text", "Binary"]},
]


class NegotiateEndpoint(GatewayEndpoint):
    """The ASGI application of negotiations."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, NAME, methods=("POST",), credentials=CREDENTIALS)
        self._default_room = settings.default_room

    async def serve_request(self, exchange: HttpExchange) -> None:
        """Answer a negotiation."""
        if exchange.method != "POST":
            raise Refused("bad_method")
        if await exchange.read_body(_MAX_BODY) is None:
            return
        scope = exchange.scope
        worker: Worker = scope["state"]["worker"]
        await worker.requests.admit(counted_client(scope))
        query = HubQuery(scope, self._default_room)
        proof = proof_of(scope, worker, named=bool(query.place.place.peer))
        state = state_of(scope)
        peer = await self._peer(state, query, proof, counted_client(scope))
        token = state.tokens.issue(peer, worker.fleet_time())
        version = query.version
        content: dict[str, Any] = {"negotiateVersion": version}
        # In version 0, the id is all that proves the connection.
        content |= {"connectionId": peer, "connectionToken": token} if version else {"connectionId": token}
        content["availableTransports"] = _TRANSPORTS
        cookie = b"" if proof.secret else cookie_for(scope, worker)
        headers = [(b"set-cookie", cookie)] if cookie else []
        await exchange.respond(HttpBody(msgspec.json.encode(content), JSON), headers=headers)

    def refusal(self, error: Refused, *, handshake: bool) -> HttpBody:
        """Write an error that stays as the answer of the negotiation, and any other one with its status."""
        if error.status in _STATED and error.code != "bad_origin":
            return HttpBody(msgspec.json.encode({"error": error_text(error.code, error.text)}), JSON)
        return super().refusal(error, handshake=handshake)

    @staticmethod
    async def _peer(state: SignalRState, query: HubQuery, proof: Proof, address: str) -> str:
        """Return the peer id that the client is to have: it asks for it, or had it, or its token says it, or any."""
        worker, place = state.worker, query.place.place
        worker.check_unreserved(place.room)
        grants = await worker.identify(query.place.token, address)
        asked = place.peer or await state.lost_places.known_peer(proof, place.room, address)
        generate = worker.random.peer_id
        return (asked or generate()) if grants is None else grants.peer(asked, generate)
