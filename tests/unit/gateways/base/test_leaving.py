import time

import pytest

from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.leaving import leave
from relay.model.errors import Refused
from tests.unit.gateways.plainhttp.site import KEY, site


async def test_a_place_is_left_by_its_key_alone() -> None:
    async with site() as here, here.stream() as stream:
        with pytest.raises(Refused, match="peer_taken"):
            await leave(
                here.worker, HttpPlace("room", "alice", "another-key-of-16"), "10.0.0.1", arrived=time.monotonic()
            )
        assert (await here.worker.roster("room")).count == 1
        await leave(here.worker, HttpPlace("room", "alice", KEY), "10.0.0.1", arrived=time.monotonic())
        assert (await here.worker.roster("room")).count == 0
        await stream.until(b"id: end")
        # There is nothing to leave any more.
        await leave(here.worker, HttpPlace("room", "alice", KEY), "10.0.0.1", arrived=time.monotonic())


async def test_a_goodbye_from_before_the_stream_does_not_end_it() -> None:
    before = time.monotonic()
    async with site() as here, here.stream():
        with pytest.raises(Refused, match="superseded"):
            await leave(here.worker, HttpPlace("room", "alice", KEY), "10.0.0.1", arrived=before)
        assert (await here.worker.roster("room")).count == 1
