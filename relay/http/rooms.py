"""`/rooms` and `/rooms/{room}`: lists of rooms and members, and publishing an envelope from a server."""

from bisect import bisect_right
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from relay.config import Settings
from relay.http.request import has_token, read_json, read_query, require_token, worker_of
from relay.http.responses import ApiResponse
from relay.http_request import check_origin
from relay.model.commands import MAX_LISTED
from relay.model.errors import Refused
from relay.model.events import Present
from relay.model.names import check_room
from relay.paths import room_in

DEFAULT_LIMIT = 100
MAX_LIMIT = MAX_LISTED


class RoomsEndpoint:
    """The list of all rooms of the fleet; it needs the admin token."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def get(self, request: Request) -> Response:
        """Answer with one page of rooms, sorted by name."""
        require_token(request, self._settings, "the list of rooms")
        query = read_query(request, "limit", "after")
        limit, after = _limit(query), _after(query)
        rooms = await worker_of(request.scope).rooms()
        # A name and not an index continues the list: rooms that appear or end in between shift no page.
        start = bisect_right(rooms, after, key=lambda room: room[0])
        page = rooms[start : start + limit]
        more = start + limit < len(rooms)
        return ApiResponse(
            {
                "rooms": [{"room": name, "members": members} for name, members in page],
                "next": page[-1][0] if more else None,
                "total": len(rooms),
            }
        )


class RoomEndpoint:
    """One room: GET lists its members, POST publishes an envelope to them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def serve(self, request: Request) -> Response:
        """Serve GET and POST; they share a route, so that the Allow header of a 405 names both."""
        return await (self._publish(request) if request.method == "POST" else self._describe(request))

    async def _describe(self, request: Request) -> Response:
        names = has_token(request, self._settings) or not self._settings.admin_token
        room = _room(request)
        query = read_query(request, "limit")
        limit = _limit(query) if "limit" in query else None
        roster = await worker_of(request.scope).roster(room, limit if names else 0)
        answer: dict[str, Any] = {"room": room, "present": roster.count > 0, "count": roster.count}
        if names:
            answer["members"] = [_member(one) for one in roster.members]
        return ApiResponse(answer)

    async def _publish(self, request: Request) -> Response:
        # A page cannot send the token without a preflight request, which is refused as well; but other programs of a
        # browser can, such as extensions.
        check_origin(request.scope, worker_of(request.scope).origins)
        require_token(request, self._settings, "publishing over HTTP")
        read_query(request)
        room = _room(request)
        envelope = await read_json(request, self._settings.max_message)
        receipt = await worker_of(request.scope).publish_from_server(room, envelope)
        return ApiResponse({"id": str(receipt.id), "repeat": receipt.repeat})


def _room(request: Request) -> str:
    return room_in(request.scope)


def _member(present: Present) -> dict[str, Any]:
    member: dict[str, Any] = {"peer": present.peer}
    if present.held:
        member["held"] = True
    if present.info:
        member["info"] = msgspec.json.decode(present.info)
    return member


def _limit(query: dict[str, str]) -> int:
    text = query.get("limit", str(DEFAULT_LIMIT))
    limit = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_LIMIT)) else 0
    if not 1 <= limit <= MAX_LIMIT:
        raise Refused("bad_query", f"limit is a whole number, 1 to {MAX_LIMIT}")
    return limit


def _after(query: dict[str, str]) -> str:
    # The escaped name, as `next` has it, and not its text: a client passes it on as it is.
    try:
        return check_room(query["after"]) if "after" in query else ""
    except Refused as error:
        raise Refused("bad_query", f"after: {error.text}") from None
