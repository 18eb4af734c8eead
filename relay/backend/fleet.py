"""Questions to a running fleet, for programs that are not one of its workers."""

from collections.abc import Sequence

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.room_list import occupied_rooms
from relay.config import Settings

_WAITING = 1000
"""Calls that may wait for the connection; this program makes a few at the same time."""


async def live_rooms(settings: Settings) -> Sequence[tuple[str, int]]:
    """Return every room that has members, with their number, sorted by name.

    Raises `Unavailable` or `OutcomeUnknown`.
    """
    dialer = Dialer(
        settings.redis_url, password=settings.redis_password, timeout=settings.publish_timeout, name="relay-rooms"
    )
    async with RedisClient(
        dialer, timeout=settings.publish_timeout, waiting=_WAITING, on_reconnect=lambda: None
    ) as client:
        return await occupied_rooms(client, Keys(settings.redis_prefix))
