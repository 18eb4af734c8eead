"""What can be asked of a running fleet without being one of its workers."""

from collections.abc import Sequence

from relay.config import Settings
from relay.presence.base import LeaseName, Terms
from relay.presence.redis import NotedRooms, RedisPresence
from relay.redis.client import RedisClient
from relay.redis.keys import Keys
from relay.redis.link import Dialer


async def live_rooms(settings: Settings) -> Sequence[tuple[str, int]]:
    """Every room that has members, and how many, as Redis knows it; raises `Unavailable` or `OutcomeUnknown`."""
    dialer = Dialer(
        settings.redis, password=settings.redis_password, timeout=settings.publish_timeout, name="relay-rooms"
    )
    client = RedisClient(dialer, timeout=settings.publish_timeout, waiting=1000, on_reconnect=lambda: None)
    # Only ever asked, so none of what a worker's lease needs is used.
    terms = Terms(
        lease=settings.lease,
        grace=settings.grace,
        beat_interval=settings.lease,
        presence_ttl=settings.presence_ttl,
        sequence_ttl=settings.sequence_ttl,
        members_per_room=settings.members_per_room,
        presence_list=settings.presence_list,
    )
    async with client:
        return await RedisPresence(client, Keys(settings.prefix), LeaseName("rooms"), terms, NotedRooms()).rooms()
