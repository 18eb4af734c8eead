"""What can be asked of a running fleet without being one of its workers."""

from collections.abc import Sequence

from relay.backend.presence import LeaseName, Terms
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.presence import RedisPresence, RegisteredRooms
from relay.config import Settings


async def live_rooms(settings: Settings) -> Sequence[tuple[str, int]]:
    """Every room that has members, and how many, as Redis knows it; raises `Unavailable` or `OutcomeUnknown`."""
    dialer = Dialer(
        settings.redis_url, password=settings.redis_password, timeout=settings.publish_timeout, name="relay-rooms"
    )
    client = RedisClient(dialer, timeout=settings.publish_timeout, waiting=1000, on_reconnect=lambda: None)
    # Only ever asked, so none of what a worker's lease needs is used.
    terms = Terms(
        lease=settings.worker_lease,
        grace=settings.reconnect_grace,
        beat_interval=settings.worker_lease,
        presence_ttl=settings.presence_ttl,
        sequence_ttl=settings.sequence_ttl,
        members_per_room=settings.members_per_room,
        presence_list=settings.presence_list_limit,
    )
    async with client:
        return await RedisPresence(
            client, Keys(settings.redis_prefix), LeaseName("rooms"), terms, RegisteredRooms()
        ).rooms()
