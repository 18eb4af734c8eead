"""Questions to a running fleet, for programs that are not one of its workers."""

from collections.abc import Sequence

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.room_list import RedisRoomList
from relay.config import Settings
from relay.model.room_list import RoomQuery

_WAITING = 1000
"""Calls that may wait for the connection; this program makes a few at the same time."""

_PAGE = 1000
"""Rooms that are read at once."""


async def live_rooms(settings: Settings, prefix: str = "") -> Sequence[tuple[str, int]]:
    """Return every room that has members and whose name begins with `prefix`, with their number, sorted by name.

    Raises `Unavailable` or `OutcomeUnknown`.
    """
    dialer = Dialer(
        settings.redis_url, password=settings.redis_password, timeout=settings.publish_timeout, name="relay-rooms"
    )
    async with RedisClient(
        dialer, timeout=settings.publish_timeout, waiting=_WAITING, on_reconnect=lambda: None
    ) as client:
        list_rooms = RedisRoomList(client, Keys(settings.redis_prefix))
        page = await list_rooms(RoomQuery(prefix, limit=_PAGE))
        rooms = page.rooms
        while page.next:
            page = await list_rooms(RoomQuery(prefix, page.next, _PAGE))
            rooms += page.rooms
        return rooms
