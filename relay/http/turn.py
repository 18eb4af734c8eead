"""`/turn`: credentials of TURN servers, for programs that are in no room of the relay."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from relay.http.request import read_query, require_token, worker_of
from relay.http.responses import ApiResponse
from relay.identity.grants import Right
from relay.model.errors import Refused
from relay.model.names import escape_peer


class TurnEndpoint:
    """The STUN and TURN servers of the settings, with a credential of its own for each request."""

    async def get(self, request: Request) -> Response:
        """Answer with the servers, in the form of RTCPeerConnection, and the seconds until the credential ends.

        The token is checked first: a stranger does not learn whether the relay has TURN servers. It decides which peer
        id the credential may name.
        """
        grants = await require_token(request, "TURN credentials over HTTP")
        if not (grants.admin or any(Right.JOIN in one.can for one in grants.rooms)):
            raise Refused("not_granted", "the token does not grant join in any room")
        asked = read_query(request, "peer").get("peer", "")
        worker = worker_of(request.scope)
        peer = grants.peer(escape_peer(asked) if asked else "", worker.random.peer_id)
        if not worker.ice.has_turn or not (offer := worker.ice.offer(peer, "http")):
            raise Refused("not_found", "this relay has no TURN servers; the setting turn-servers names them")
        return ApiResponse({"iceServers": msgspec.to_builtins(offer.servers), "ttl": offer.ttl})
