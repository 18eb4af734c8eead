"""Sessions whose connection is made of requests."""

import asyncio

import pytest

from relay.gateways.base.replies import OpenPosts, PostReplies
from relay.model.errors import GOING_AWAY, Refused
from tests.unit.gateways.base.fakes import until
from tests.unit.gateways.firebase.site import Poller, site


async def test_a_session_ends_once_however_many_ways_there_are() -> None:
    async with site() as here:
        poller = await Poller(here).begin()
        session = here.state.http.get(poller.id)
        assert session is not None
        left = session.leave()
        assert left is not None
        await left
        assert session.leave() is None
        session.lost()
        session.closed(GOING_AWAY, None)
        session.acknowledged(())
        assert len(here.worker.clients) == len(here.worker.admissions) == 0


async def test_nothing_is_posted_to_a_session() -> None:
    async with site() as here:
        poller = await Poller(here).begin()
        session = here.state.http.get(poller.id)
        assert session is not None
        with pytest.raises(Refused, match="bad_method"):
            await session.posted(b"", b"", PostReplies(OpenPosts(), lambda _: None))
        assert session.writer.posted(()).data == b""


async def test_a_client_that_gives_up_its_first_request_is_gone() -> None:
    async with site() as here:
        request, task = here.start("GET", "/.lp?start=t&cb=1&v=5")
        request.drop()
        async with asyncio.timeout(30):
            await task
        poller = await Poller(here).begin()
        poller.poll()
        await asyncio.sleep(0)
        poller.drop()
        await until(lambda: here.state.http.get(poller.id) is None)
