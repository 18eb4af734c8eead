"""`/rooms/{room}/kick` and `/rooms/{room}/move`: an application's server puts members out, or sends them on."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from relay.http.bodies import KickBody, MoveBody, read_body
from relay.http.request import read_query, require_right, worker_of
from relay.http.responses import ApiResponse
from relay.http_request import check_origin, counted_client
from relay.identity.grants import Grants, Right
from relay.model.errors import Refused
from relay.model.names import check_peer, check_room
from relay.paths import room_in

MAX_CONTROL: Final = 65_536
"""Bytes of a body: a hundred names may have 2 KB each, but no program's names are that long."""


async def kick(request: Request) -> Response:
    """Put a peer out, or all members whose tokens have a subject; 404 if there is none, unless they are banned."""
    room, grants = await _room(request, Right.KICK)
    body = await read_body(request, KickBody, MAX_CONTROL)
    if (body.peer is None) == (body.subject is None):
        raise Refused("bad_body", "give either peer, or subject")
    peer, subject = check_peer(body.peer) if body.peer else "", body.subject or ""
    rules = worker_of(request.scope).rules
    if body.ban:
        # A ban is stored also if there is no such room.
        await worker_of(request.scope).count_room(room, grants, counted_client(request.scope))
    kicked = await rules.kick(room, peer, subject=subject, reason=body.reason, ban=body.ban)
    if not kicked and not body.ban:
        if peer:
            raise Refused("no_such_peer", "no member of the room has this peer id", peers=[peer])
        raise Refused("no_such_peer", "no member of the room has a token with this subject")
    return ApiResponse({"room": room, "kicked": kicked})


async def move(request: Request) -> Response:
    """Send members to another room; answer with their number."""
    room, _ = await _room(request, Right.MOVE)
    body = await read_body(request, MoveBody, MAX_CONTROL)
    to = check_room(body.to)
    peers = None if body.peers is None else [check_peer(peer) for peer in body.peers]
    if to == room:
        raise Refused("already_joined", "the members are in this room already; to names another one")
    worker = worker_of(request.scope)
    worker.check_unreserved(to)
    return ApiResponse({"room": room, "to": to, "moved": await worker.rules.move(room, to, peers)})


async def _room(request: Request, right: Right) -> tuple[str, Grants]:
    check_origin(request.scope, worker_of(request.scope).origins)
    room = room_in(request.scope)
    grants = await require_right(request, right, room, "control of rooms over HTTP")
    read_query(request)
    return room, grants
