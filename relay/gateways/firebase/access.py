"""Whether a client may read or write the tree of a room: the same for requests over sockets, polls and HTTP."""

from relay.gateways.base.guard import Guard
from relay.identity.grants import Right
from relay.model.errors import Refused
from relay.rooms.worker import Worker


async def check_access(worker: Worker, guard: Guard | None, right: Right, room: str, *, is_member: bool) -> None:
    """Raise `Refused` if a client does not have a right in a room, or may not enter it.

    `guard` is None for a client that has not proved a token, or if auth is off. Raises `Unavailable` too.
    """
    worker.check_unreserved(room)
    if guard is not None:
        guard.check_right(right, room)
    elif not worker.authority.is_off:
        raise Refused("token_required")
    if is_member:
        return
    if guard is not None and await worker.is_banned(room, guard.grants):
        raise Refused("banned", room=room)
    rules = await worker.rules.get(room)
    if rules.locked:
        raise Refused("room_locked", room=room)
    if rules.password:
        raise Refused("password_required", room=room)
