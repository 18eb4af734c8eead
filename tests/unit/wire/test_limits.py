"""The common state of connections."""

import pytest

from relay.rooms.keepalive import Keepalive, KeepaliveTiming
from relay.rooms.large_messages import LARGE
from relay.rooms.throttle import Throttle
from relay.wire.limits import WireLimits


@pytest.mark.parametrize(("max_size", "small_size"), [(LARGE * 2, LARGE - 1), (LARGE, LARGE - 1), (256, 256)])
async def test_a_message_that_is_large_or_too_large_is_not_small(max_size: int, small_size: int) -> None:
    limits = WireLimits(max_size, 1000, Keepalive(KeepaliveTiming(25, 20, 25)), Throttle(), set())
    assert limits.small_size == small_size
