"""Questions to a running fleet, for programs that are not one of its workers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from relay.backend.redis.client import RedisClient
from relay.backend.redis.cluster.keys import ClusterKeys
from relay.backend.redis.cluster.parts import cluster_client, dialing
from relay.backend.redis.connection import Dialer
from relay.backend.redis.keys import Keys
from relay.backend.redis.room_list import RedisRoomList
from relay.backend.settings import BackendSettings, RedisSettings
from relay.config import Settings
from relay.metrics import Metrics
from relay.model.room_list import RoomQuery

_NAME = "rooms"

_WAITING = 1000
"""Calls that may wait for the connection; this program makes a few at the same time."""

_PAGE = 1000
"""Rooms that are read at once."""


class LiveRooms(NamedTuple):
    """Rooms with their number of members, sorted by name.

    `missing` says why others may be missing, because a part of Redis did not answer; "" if none are.
    """

    rooms: Sequence[tuple[str, int]]
    missing: str = ""


async def live_rooms(settings: Settings, prefix: str = "") -> LiveRooms:
    """Return every room that has members and whose name begins with `prefix`.

    Raises `Unavailable` or `OutcomeUnknown` if no part of Redis answers.
    """
    redis = RedisSettings(
        settings.redis_url,
        settings.redis_password,
        settings.redis_prefix,
        settings.publish_timeout,
        _WAITING,
        addresses=settings.redis_addresses,
    )
    async with _room_list(redis) as list_rooms:
        page = await list_rooms(RoomQuery(prefix, limit=_PAGE))
        rooms, missing = page.rooms, page.missing
        while page.next:
            page = await list_rooms(RoomQuery(prefix, page.next, _PAGE))
            rooms += page.rooms
            missing = missing or page.missing
        return LiveRooms(rooms, missing)


@asynccontextmanager
async def _room_list(redis: RedisSettings) -> AsyncIterator[RedisRoomList]:
    if redis.is_cluster:
        keys = ClusterKeys(redis.prefix)
        async with cluster_client(BackendSettings(), redis, keys, Metrics(), dialing(redis, _NAME)) as cluster:
            yield RedisRoomList(cluster, keys)
        return
    dialer = Dialer(
        redis.url, password=redis.password, timeout=redis.timeout, name=f"relay-{_NAME}", mapped=redis.mapped
    )
    async with RedisClient(dialer, timeout=redis.timeout, waiting=redis.queue, on_reconnect=lambda: None) as client:
        yield RedisRoomList(client, Keys(redis.prefix))
