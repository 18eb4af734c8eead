"""`/rooms` and `/rooms/{room}`: lists of rooms and members, rules of rooms, and publishing from a server."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from relay.config import Settings
from relay.http.bodies import NewRoom, NewRooms, checked_new_rooms, read_body
from relay.http.publishing import right_to_send, sender_of
from relay.http.request import (
    grants_of,
    read_json,
    read_query,
    require_admin,
    require_right,
    require_token,
    worker_of,
)
from relay.http.responses import ApiResponse, failed
from relay.http_request import check_origin, counted_client
from relay.identity.grants import Grants, Right
from relay.model.commands import MAX_LISTED
from relay.model.errors import Refused, RelayError
from relay.model.events import Present
from relay.model.names import check_room, escaped_prefix
from relay.model.room_list import RoomQuery
from relay.model.rules import MAX_REASON, RoomRules, RuleChange, checked_change, shown_rules
from relay.paths import room_in

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = MAX_LISTED
MAX_RULES: Final = 16_384
"""Bytes of a body that has rules of one room."""

_DERIVATION: Final = 25
"""Messages that a password counts for, as over a connection."""


class RoomsEndpoint:
    """All rooms of the fleet: GET lists them, which needs the admin token; POST makes some, with their rules."""

    async def serve(self, request: Request) -> Response:
        """Serve GET and POST."""
        return await (self._make(request) if request.method == "POST" else self._list(request))

    async def _list(self, request: Request) -> Response:
        """Answer with one page of rooms, sorted by name."""
        await require_admin(request, "the list of rooms")
        query = read_query(request, "limit", "after", "cursor", "prefix")
        page = await worker_of(request.scope).list_rooms(RoomQuery(_prefix(query), _cursor(query), _limit(query)))
        return ApiResponse(
            {
                "rooms": [{"room": name, "members": members} for name, members in page.rooms],
                # A name and not an index continues the list: rooms that appear or end in between shift no page.
                "next": page.next or None,
                "total": page.total,
                # Only to the admin, who alone may list rooms: the reason has the addresses of Redis.
                **({"incomplete": True, "reason": page.missing} if page.missing else {}),
            }
        )

    async def _make(self, request: Request) -> Response:
        check_origin(request.scope, worker_of(request.scope).origins)
        grants = await require_token(request, "making rooms over HTTP")
        read_query(request)
        body = await read_body(request, NewRooms)
        # One after the other: a password is derived at some cost, and the rooms of others must not wait for a hundred.
        return ApiResponse(
            {"rooms": [await self._make_one(request, grants, one) for one in checked_new_rooms(body.rooms)]}
        )

    @staticmethod
    async def _make_one(request: Request, grants: Grants, new: NewRoom) -> dict[str, Any]:
        """Make a room, and return its part of the answer: its rules, or the error."""
        try:
            grants.require(Right.LOCK, new.room)
            worker_of(request.scope).check_unreserved(new.room)
            await _count(request, grants, new.room, new.rules)
            rules = await worker_of(request.scope).rules.change(new.room, new.rules, create=True)
        except RelayError as error:
            return {"room": new.room, **failed(request, error)}
        return {"room": new.room, "rules": shown_rules(rules)}


class RoomEndpoint:
    """One room: its members (GET), its rules (PUT), its end (DELETE), and publishing to it (POST)."""

    def __init__(self, settings: Settings) -> None:
        self._max_message = settings.max_message
        self._methods: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "GET": self._describe,
            "HEAD": self._describe,
            "POST": self._publish,
            "PUT": self._change,
            "DELETE": self._close,
        }

    async def serve(self, request: Request) -> Response:
        """Serve all methods; they share a route, so that the Allow header of a 405 names them all."""
        return await self._methods[request.method](request)

    async def _describe(self, request: Request) -> Response:
        """Answer with the number of members and the rules; to a sender that may see them, also the names."""
        room = room_in(request.scope)
        names = _may_see_names(await grants_of(request), room)
        query = read_query(request, "limit")
        limit = _limit(query) if "limit" in query else None
        worker = worker_of(request.scope)
        roster = await worker.roster(room, limit if names else 0)
        rules = _shown(await worker.rules.get(room), names=names)
        answer: dict[str, Any] = {"room": room, "present": roster.count > 0, "count": roster.count, "rules": rules}
        if names:
            answer["members"] = [_member(one) for one in roster.members]
        return ApiResponse(answer)

    async def _publish(self, request: Request) -> Response:
        # A page cannot send the token without a preflight request, which is refused as well; but other programs of a
        # browser can, such as extensions.
        check_origin(request.scope, worker_of(request.scope).origins)
        # Before anything else, as a request without a token learns nothing; the path is all that is read.
        room = room_in(request.scope)
        grants = await require_token(request, "publishing over HTTP")
        if not grants.allow(Right.SEND_DIRECT, room):
            grants.require(Right.PUBLISH, room)
        read_query(request)
        envelope = await read_json(request, self._max_message)
        if not grants.admin:
            grants.require(right_to_send(envelope), room)
        worker = worker_of(request.scope)
        receipt = await worker.publish_from_server(
            room, envelope, sender_of(worker, grants), grants=grants, address=counted_client(request.scope)
        )
        return ApiResponse({"id": str(receipt.id), "repeat": receipt.repeat})

    async def _change(self, request: Request) -> Response:
        """Change the rules that the body names, and answer with all of them; the room need not have members."""
        room, grants = await _controlled(request, Right.LOCK)
        worker_of(request.scope).check_unreserved(room)
        change = checked_change(await read_body(request, RuleChange, MAX_RULES))
        await _count(request, grants, room, change)
        rules = await worker_of(request.scope).rules.change(room, change, create=True)
        return ApiResponse({"room": room, "rules": shown_rules(rules)})

    async def _close(self, request: Request) -> Response:
        """Put all members out, and forget the rules; answer with the number of members that were put out."""
        room, _ = await _controlled(request, Right.CLOSE, "reason")
        reason = read_query(request, "reason").get("reason", "")
        if len(reason) > MAX_REASON:
            raise Refused("bad_query", f"reason has at most {MAX_REASON} characters")
        return ApiResponse({"room": room, "members": await worker_of(request.scope).rules.close(room, reason=reason)})


async def _controlled(request: Request, right: Right, *parameters: str) -> tuple[str, Grants]:
    """Return the room of a request that needs a right in it, and the grants of its sender."""
    check_origin(request.scope, worker_of(request.scope).origins)
    room = room_in(request.scope)
    grants = await require_right(request, right, room, "control of rooms over HTTP")
    read_query(request, *parameters)
    return room, grants


async def _count(request: Request, grants: Grants, room: str, change: RuleChange) -> None:
    """Count a change against the limits of a client: a password, which takes a worker some 50 ms, and a new room."""
    worker, address = worker_of(request.scope), counted_client(request.scope)
    if change.password:
        worker.charge(grants, address, _DERIVATION)
    await worker.count_room(room, grants, address)


def _may_see_names(grants: Grants | None, room: str) -> bool:
    """Return whether a client may see the names of the members, and not their number alone.

    Raises `Refused` (`not_granted`) for a token that grants nothing in the room.
    """
    if grants is None or grants.anonymous:
        return False
    if grants.allow(Right.PRESENCE, room):
        return True
    if not any(grants.allow(right, room) for right in Right):
        grants.require(Right.PRESENCE, room)
    return False


def _shown(rules: RoomRules, *, names: bool) -> dict[str, Any]:
    """Return the rules as the answer has them; the owner is named where members are."""
    shown = shown_rules(rules)
    if not names:
        del shown["owner"]
    return shown


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


def _cursor(query: dict[str, str]) -> str:
    """Return the name behind which the page begins; `cursor` counts before `after`, its older name."""
    found = ""
    for name in ("after", "cursor"):
        if name in query:
            # The escaped name, as `next` has it, and not its text: a client passes it on as it is.
            try:
                found = check_room(query[name])
            except Refused as error:
                raise Refused("bad_query", f"{name}: {error.text}") from None
    return found


def _prefix(query: dict[str, str]) -> str:
    try:
        return escaped_prefix(query.get("prefix", ""))
    except Refused as error:
        raise Refused("bad_query", f"prefix: {error.text}") from None
