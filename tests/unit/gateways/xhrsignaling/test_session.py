import asyncio

import pytest

from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.xhrsignaling import session as sessions
from relay.gateways.xhrsignaling.session import PlaceSession, RowDialect
from relay.model.codec import Frame
from relay.model.errors import GOING_AWAY, KICKED, REPLACED, Refused
from tests.unit.gateways.base.fakes import until_members
from tests.unit.gateways.xhrsignaling.site import Page, message, site


async def test_a_page_that_drops_its_poll_is_held_and_goes_on_where_it_was() -> None:
    async with site() as here:
        page = Page(here)
        assert await page.get() is False
        await here.worker.publish_from_server("default", b'{"message":1}')
        assert message(await page.get()) == {"message": 1}
        request, task = page.start()
        await asyncio.sleep(0)
        request.drop()
        await task
        assert await here.peers() == {page.peer: True}
        for number in (2, 3):
            await here.worker.publish_from_server("default", b'{"message":%d}' % number)
        assert [message(await page.get())["message"] for _ in range(2)] == [2, 3]
        assert await here.peers() == {page.peer: False}


async def test_a_row_that_a_dropped_poll_has_taken_comes_again() -> None:
    async with site() as here:
        page = Page(here)
        await page.get()
        _, task = page.start(ends_when_answered=True)
        await task
        await here.worker.publish_from_server("default", b'{"message":1}')
        await until_members(here.worker, "default", {page.peer: True})
        assert message(await page.get()) == {"message": 1}


async def test_a_row_that_no_later_poll_has_confirmed_comes_again() -> None:
    async with site() as here:
        page = Page(here)
        await page.get()
        await here.worker.publish_from_server("default", b'{"message":1}')
        row = await page.get()
        session = here.state.sessions.get(f"default {page.peer} {page.cookie.rpartition('.')[2]}")
        assert isinstance(session, PlaceSession)
        session.lost()
        # The page knows its ID.
        assert await page.get() == row


async def test_a_worker_that_stops_answers_polls_so_that_pages_ask_again() -> None:
    async with site() as here:
        page = Page(here)
        await page.get()
        request, task = page.start()
        await asyncio.sleep(0)
        here.worker.clients.close_all(GOING_AWAY)
        async with asyncio.timeout(5):
            await task
        assert (request.response.status, request.response.body) == (200, b"false")


async def test_an_end_for_good_waits_for_the_next_poll_and_being_replaced_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "REPLACED_DELAY", 0)
    async with site() as here:
        page = Page(here)
        await page.get()
        here.worker.clients.close_all(KICKED)
        await asyncio.sleep(0.01)
        ended = await here.ask("/Home/GetData", **page.headers)
        assert (ended.status, b'"kicked"' in ended.body) == (410, True)
        assert await page.get() is False
        request, task = page.start()
        await asyncio.sleep(0)
        here.worker.clients.close_all(REPLACED)
        async with asyncio.timeout(5):
            await task
        assert request.response.body == b"false"


def test_the_dialect_reads_no_frames() -> None:
    dialect = RowDialect()
    with pytest.raises(Refused):
        dialect.read(b"", b"")
    assert dialect.posted(()).data == b""
    assert dialect.answer(PollAnswer((Frame(b""),))).data == b"false"
