import asyncio
import json

import pytest

from relay.gateways.base import cursor_polls
from relay.gateways.base.cursor_polls import CursorSession
from relay.gateways.signalrclassic.codec import PushFrame
from relay.model.errors import KICKED, REPLACED
from tests.unit.gateways.signalrclassic.site import Page, Site, site


async def begin(here: Site) -> tuple[Page, str]:
    page = await here.page()
    first = await page.ask("connect")
    assert (first["S"], first["M"]) == (1, [])
    return page, first["C"]


async def say(here: Site, text: str) -> None:
    await here.worker.publish_from_server("room", json.dumps({"message": text}).encode())


def heard(answer: dict[str, object]) -> list[str]:
    calls = answer["M"]
    assert isinstance(calls, list)
    return [json.loads(call["A"][0])["message"] for call in calls]


async def test_a_poll_that_a_browser_repeats_has_the_same_answer() -> None:
    async with site() as here:
        page, cursor = await begin(here)
        await say(here, "one")
        answer = await page.ask("poll", messageId=cursor)
        assert (heard(answer), "S" in answer) == (["one"], False)
        assert await page.ask("poll", messageId=cursor) == answer
        await say(here, "two")
        assert heard(await page.ask("poll", messageId=answer["C"])) == ["two"]


async def test_events_for_others_move_the_cursor() -> None:
    async with site() as here:
        page, cursor = await begin(here)
        # Its join is an event of the room, of which this client is not told.
        _, newest = await begin(here)
        assert await page.ask("reconnect", messageId=cursor) == {"C": newest, "M": []}
        await say(here, "one")
        assert heard(await page.ask("poll", messageId=newest)) == ["one"]


async def test_an_older_poll_is_answered_when_a_newer_one_comes() -> None:
    async with site() as here:
        page, cursor = await begin(here)
        older, older_task = here.start("POST", page.target("poll"), f"messageId={cursor}".encode())
        while (await page.session()).polling.idle:
            await asyncio.sleep(0)
        newer, newer_task = here.start("POST", page.target("poll"), f"messageId={cursor}".encode())
        await older_task
        assert json.loads(older.response.body) == {"C": cursor, "M": []}
        await say(here, "one")
        await newer_task
        assert heard(json.loads(newer.response.body)) == ["one"]


async def test_a_reconnect_is_answered_at_once_with_the_missed_events() -> None:
    async with site() as here:
        page, cursor = await begin(here)
        assert await page.ask("reconnect", messageId=cursor) == {"C": cursor, "M": []}
        (await page.session()).lost()
        await say(here, "missed")
        answer = await page.ask("reconnect", messageId=cursor)
        assert (heard(answer), "S" in answer) == (["missed"], False)
        assert [member.held for member in (await here.worker.roster("room")).members] == [False]


async def test_a_poll_with_another_cursor_begins_anew_with_the_events_after_it() -> None:
    async with site() as here:
        page, cursor = await begin(here)
        at = cursor
        for text in ("one", "two"):
            await say(here, text)
            at = (await page.ask("poll", messageId=at))["C"]
        await page.ask("reconnect", messageId=at)
        assert heard(await page.ask("poll", messageId=cursor)) == ["one", "two"]


async def test_messages_without_a_cursor_are_not_given_again() -> None:
    async with site() as here:
        page, cursor = await begin(here)
        error = b'{"I":"","E":"x"}'
        (await page.session()).polling.write(PushFrame(error, error, ""))
        assert await page.ask("poll", messageId=cursor) == {"C": cursor, "M": [{"I": "", "E": "x"}]}
        assert await page.ask("reconnect", messageId=cursor) == {"C": cursor, "M": []}


async def test_a_client_that_drops_its_poll_is_held() -> None:
    async with site() as here:
        page, cursor = await begin(here)
        request, task = here.start("POST", page.target("poll"), f"messageId={cursor}".encode())
        while (await page.session()).polling.idle:
            await asyncio.sleep(0)
        request.drop()
        await task
        assert len(here.state.polls) == 0
        [member] = (await here.worker.roster("room")).members
        assert member.held


async def test_a_client_that_gives_up_while_it_joins_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as here:
        page, joins = await here.page(), asyncio.Event()

        async def enter(session: CursorSession, _: object) -> None:
            joins.set()
            await left.wait()

        left = asyncio.Event()
        monkeypatch.setattr(CursorSession, "enter", enter)
        request, task = here.start("POST", page.target("connect"))
        await joins.wait()
        request.drop()
        while len(here.state.polls):
            await asyncio.sleep(0)
        left.set()
        await task
        assert request.response.status == 0


async def test_an_end_for_good_waits_for_the_next_poll_and_being_replaced_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cursor_polls, "REPLACED_DELAY", 0.0)
    async with site() as here:
        page, cursor = await begin(here)
        (await page.session()).polling.close(KICKED)
        while len(here.state.polls):
            await asyncio.sleep(0)
        assert (await page.ask("poll", messageId=cursor))["E"].startswith("kicked")
        page, cursor = await begin(here)
        request, task = here.start("POST", page.target("poll"), f"messageId={cursor}".encode())
        while (await page.session()).polling.idle:
            await asyncio.sleep(0)
        (await page.session()).polling.close(REPLACED)
        await task
        assert json.loads(request.response.body) == {"C": cursor, "M": []}
