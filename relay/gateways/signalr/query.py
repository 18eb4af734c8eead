"""The query of a request to the hub: the client's room, its place there, and its connection."""

from typing import Final

from msgspec import structs
from starlette.datastructures import QueryParams
from starlette.types import Scope

from relay.gateways.base.http_place import PlaceQuery
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.base.query import read_flag
from relay.gateways.signalr.declaration import TOKENS
from relay.http_request import read_query
from relay.model.commands import Tracking
from relay.model.errors import Refused
from relay.model.names import escape_room

_MOST_VERSION: Final = 1
"""The newest version of negotiation."""


class HubQuery:
    """Reads the query; every method raises `Refused` for a value that is not allowed."""

    def __init__(self, scope: Scope, default_room: str) -> None:
        self._query = QueryParams(read_query(scope))
        room = "" if "room" in scope["path_params"] else self._room(default_room)
        self.place = PlaceQuery(scope, TOKENS, room)

    @property
    def id(self) -> str | None:
        """The connection token; None if there is none."""
        found: str | None = self._query.get("id")
        return found

    @property
    def mark(self) -> str:
        """The client's own mark of a poll, its time in milliseconds; "" if there is none."""
        found: str = self._query.get("_", "")
        return found

    @property
    def version(self) -> int:
        """The version of negotiation that both sides know."""
        text: str = self._query.get("negotiateVersion", "0")
        if not (text.isascii() and text.isdigit() and len(text) <= 4):
            raise Refused("bad_query", "negotiateVersion is a whole number")
        return min(int(text), _MOST_VERSION)

    def join_request(self, peer: str, tracking: Tracking) -> JoinRequest:
        """Return the request of a client that enters its room as this peer, "" for any."""
        request = self.place.join_request(None)
        presence = "presence" not in self._query or read_flag(self._query, "presence")
        return structs.replace(request, peer=peer, presence=presence, tracking=tracking)

    def _room(self, default_room: str) -> str:
        named: str = self._query.get("room", "")
        return escape_room(named) if named else default_room
