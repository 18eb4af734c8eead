"""Answers to questions about rooms and users, which a page may ask before it is in any room."""

from typing import Any, Final

import msgspec
from msgspec import Raw

from relay.gateways.socketio.apps.port import ClientPort
from relay.gateways.socketio.apps.rmc3.extras import extra_of
from relay.gateways.socketio.apps.rmc3.stay import INVALID_PASSWORD, ROOM_NOT_AVAILABLE, read_attributes
from relay.model.errors import Refused
from relay.model.names import escape_peer, escape_room, unescape

NO_USER: Final = "User ID does not exist"

MOST_LISTED: Final = 50
"""Rooms in one list of public rooms."""

_NO_ROOM: Final = {"_room": {"isFull": False, "isPasswordProtected": False}}

_object = msgspec.json.Decoder(dict[str, Raw])


async def check_presence(port: ClientPort, name: str) -> tuple[bool, dict[str, Any]]:
    """Return whether a room has members, and the extra data of its owner with the state of the room."""
    room = visible_room(port, name)
    roster = None if room is None else await port.worker.roster(room)
    if room is None or roster is None or not roster.count:
        return False, dict(_NO_ROOM)
    rules = (await port.worker.rules.open_room(room)).rules
    extra = _as_object(extra_of(roster.members, rules.owner) or b"{}")
    most = rules.max_members
    full = roster.count >= (port.worker.settings.members_per_room if most is None else most)
    return True, {**extra, "_room": {"isFull": full, "isPasswordProtected": rules.password}}


async def has_members(port: ClientPort, room: str) -> bool:
    """Return whether a room, whose name is escaped, has members."""
    return (await port.worker.roster(room, 0)).count > 0


async def remote_extra(port: ClientPort, userid: str) -> object:
    """Return the extra data of a user of the client's room, or that there is none."""
    try:
        peer = escape_peer(userid)
    except Refused:
        return NO_USER
    if not port.membership.room or not port.permissions.sees_members(port.membership.room):
        return NO_USER
    found = extra_of((await port.worker.roster(port.membership.room)).members, peer)
    return NO_USER if found is None else Raw(found)


async def is_present(port: ClientPort, userid: str) -> bool:
    """Return whether a user is in the client's room, or whether there is a room of this name (versions up to 3.3.3)."""
    if await remote_extra(port, userid) is not NO_USER:
        return True
    room = visible_room(port, userid)
    return room is not None and await has_members(port, room)


async def public_rooms(port: ClientPort, identifier: str) -> list[dict[str, Any]]:
    """Return the rooms that were opened with this identifier, up to `MOST_LISTED`."""
    worker = port.worker
    found = {place.room for place in await worker.listings.find(identifier, MOST_LISTED)}
    rooms = [await _public_room(port, room, identifier) for room in sorted(found)]
    return [room for room in rooms if room is not None]


async def _public_room(port: ClientPort, room: str, identifier: str) -> dict[str, Any] | None:
    worker = port.worker
    known, roster = await worker.rules.open_room(room), await worker.roster(room)
    attributes = read_attributes(known.attributes)
    visible = visible_room(port, unescape(room)) is not None
    if attributes.identifier != identifier or not roster.count or not visible:
        return None
    most = known.rules.max_members or worker.settings.members_per_room
    return {
        "sessionid": unescape(room),
        "owner": unescape(known.rules.owner),
        "participants": [unescape(one.peer) for one in roster.members] if port.permissions.sees_members(room) else [],
        "extra": Raw(extra_of(roster.members, known.rules.owner) or b"{}"),
        "session": attributes.session,
        "maxParticipantsAllowed": known.rules.max_members or attributes.most,
        "isRoomFull": roster.count >= most,
        "isPasswordProtected": known.rules.password,
    }


async def check_password(port: ClientPort, password: str, name: str) -> tuple[bool, str | bool]:
    """Return whether this is the password of a room, and why not, in the words of the original server."""
    if not password.replace(" ", ""):
        return False, "You did not enter the password."
    if not name.replace(" ", ""):
        return False, "You did not enter the room-id."
    room = visible_room(port, name)
    if room is None or not await has_members(port, room):
        return False, ROOM_NOT_AVAILABLE
    right = await port.worker.rules.check_password(room, password, port.handshake.address)
    if right is None:
        return False, "This room do not have any password."
    return (True, False) if right else (False, INVALID_PASSWORD)


def visible_room(port: ClientPort, name: str) -> str | None:
    """Return the escaped name of a room; None if there is none of this name that the client's token lets it see."""
    try:
        room = escape_room(name)
        port.worker.check_unreserved(room)
    except Refused:
        return None
    return room if port.permissions.sees(room) else None


def _as_object(extra: bytes) -> dict[str, Any]:
    try:
        return dict(_object.decode(extra))
    except msgspec.MsgspecError:
        return {"value": Raw(extra)}
