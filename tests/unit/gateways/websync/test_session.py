import asyncio
import json

import pytest

from relay.gateways.websync import session
from relay.gateways.websync.client_ids import client_id
from relay.model.errors import ERRORS, GOING_AWAY, KICKED, TOKEN_EXPIRED
from tests.unit.gateways.websync.site import Page, Site, answered, seed, site


async def test_a_connect_waits_for_the_next_message() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        request, task = page.start(page.connect())
        await page.publish(seed("late"))
        [delivery] = await answered(request, task)
        assert json.loads(delivery["data"]["text"]) == {"message": "late", "channel": "c"}


async def test_a_connect_without_messages_gets_its_reply() -> None:
    async with site(extensions={"websync_timeout": 0.1}) as here:
        page = Page(here)
        await page.join()
        connect = page.connect()
        assert await page.send(connect) == [{"id": connect["id"], "channel": "/meta/connect", "successful": True}]


async def test_deliveries_and_the_reply_are_never_in_one_answer() -> None:
    async with site(extensions={"websync_timeout": 0.1}) as here:
        page = Page(here)
        await page.join()
        for number in range(3):
            await page.publish(seed(number))
        assert [one["channel"] for one in await page.hear()] == ["/chat"] * 3
        assert [one["channel"] for one in await page.hear()] == ["/meta/connect"]


async def test_a_connect_that_comes_again_gets_the_same_deliveries() -> None:
    async with site(extensions={"websync_timeout": 0.1}) as here:
        page = Page(here)
        await page.join()
        await page.publish(seed("once"))
        connect = page.connect()
        first = await page.send(connect)
        await page.publish(seed("later"))
        assert await page.send(connect) == first
        [later] = await page.hear()
        assert "later" in later["data"]["text"]


async def test_deliveries_that_are_not_acknowledged_come_again() -> None:
    async with site(extensions={"websync_timeout": 0.1}) as here:
        page = Page(here)
        await page.join()
        await page.publish(seed("kept"))
        first = await page.hear(acknowledges=False)
        assert await page.hear(acknowledges=False) == first
        [reply] = await page.hear()
        assert reply["channel"] == "/meta/connect"


async def test_connects_that_do_not_acknowledge_have_the_rate_of_http_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site() as here:
        page, counted = Page(here), 0
        await page.join()
        await page.publish(seed("kept"))

        async def admit(_: str) -> None:
            nonlocal counted
            counted += 1

        monkeypatch.setattr(here.worker.requests, "admit", admit)
        for times in range(3):
            assert len(await page.hear(acknowledges=False)) == 1
            assert counted == times


async def test_a_second_connect_ends_the_first() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        older, newer = page.start(page.connect()), page.start(page.connect())
        [reply] = await answered(*older)
        assert (reply["channel"], reply["successful"]) == ("/meta/connect", True)
        await page.publish(seed("for the newer"))
        assert len(await answered(*newer)) == 1


async def test_a_client_whose_connection_is_lost_may_send_its_connect_again() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        connect = page.connect()
        request, task = page.start(connect)
        await asyncio.sleep(0)
        request.drop()
        await task
        again = page.start(connect)
        await page.publish(seed("not missed"))
        assert len(await answered(*again)) == 1
        assert await here.peers() == {page.client: False}


async def test_one_that_does_not_is_held() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        request, task = page.start(page.connect())
        await asyncio.sleep(0)
        request.drop()
        await task
        async with asyncio.timeout(session.RETRANSMISSION + 5):
            while not (await here.peers())[page.client]:
                await asyncio.sleep(0.05)


async def test_a_session_that_the_relay_ends_answers_with_the_reason() -> None:
    async with site() as here:
        page = Page(here)
        await page.join()
        request, task = page.start(page.connect())
        await asyncio.sleep(0)
        here.worker.clients.close_all(GOING_AWAY)
        [reply] = await answered(request, task)
        assert (reply["successful"], reply["advice"]) == (False, {"reconnect": "handshake"})
        assert "session_ended: going_away" in reply["error"]


def test_reasons_that_are_errors_of_the_relay_keep_their_code() -> None:
    assert session.ended(TOKEN_EXPIRED).code == "token_expired"
    for reason in (GOING_AWAY, KICKED):
        assert reason.name not in ERRORS
        assert session.ended(reason).code == "session_ended"


async def test_a_client_that_comes_back_keeps_its_channels_while_it_subscribes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A page joins its second channel when it has joined the first one."""
    async with site() as here:
        other, before = Page(here), Page(here)
        await other.join()
        await before.join()
        await before.send(before.message("/meta/subscribe", subscription=["/b"]))
        monkeypatch.setattr(session, "SETTLING", 0.05)
        again = Page(here)
        await again.join(before=before)
        await other.publish(seed("between"), "/b")
        assert "between" in (await again.hear())[0]["data"]["text"]
        async with asyncio.timeout(5):
            while b"/b" in (await own_info(here, again)):
                await asyncio.sleep(0)
        await other.publish(seed("late"), "/b")
        await other.publish(seed("heard"))
        assert ["heard" in one["data"]["text"] for one in await again.hear()] == [True]


async def own_info(here: Site, page: Page) -> bytes:
    roster = await here.worker.roster("default")
    return next(one.info for one in roster.members if client_id(one.peer) == page.client)
