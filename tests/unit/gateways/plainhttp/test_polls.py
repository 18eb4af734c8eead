import asyncio

import pytest

from relay.gateways.base import cursor_polls
from relay.gateways.plainhttp.codec import PollFrame
from relay.model.errors import KICKED, REPLACED, Refused
from tests.unit.gateways.plainhttp.site import PLACE, site


async def test_an_answer_is_given_again_until_the_next_poll_confirms_it() -> None:
    async with site() as here:
        first = await here.json("GET", f"messages?{PLACE}&wait=0")
        await here.worker.publish_from_server("room", b'{"a":1}')
        target = f"messages?{PLACE}&since={first['next']}"
        answer = await here.json("GET", target)
        assert [message["a"] for message in answer["messages"]] == [1]
        assert await here.json("GET", target) == answer
        confirmed = await here.json("GET", f"messages?{PLACE}&since={answer['next']}&wait=0")
        assert confirmed == {"messages": [], "next": answer["next"]}


async def test_an_answer_with_events_without_an_id_is_not_given_again_as_the_next_poll_has_the_same_cursor() -> None:
    async with site() as here:
        first = await here.json("GET", f"messages?{PLACE}&wait=0")
        session = here.state.polls.get(f"room alice {PLACE.rpartition('=')[2]}")
        assert session is not None
        session.polling.write(PollFrame(b'{"type":"token_expiring","in":9}', "", {"type": "token_expiring", "in": 9}))
        target = f"messages?{PLACE}&since={first['next']}&wait=0"
        assert [event["type"] for event in (await here.json("GET", target))["events"]] == ["token_expiring"]
        assert await here.json("GET", target) == {"messages": [], "next": first["next"]}


async def test_another_cursor_begins_anew_with_the_events_after_it() -> None:
    async with site() as here:
        first = await here.json("GET", f"messages?{PLACE}&wait=0")
        for _ in range(3):
            sent = await here.worker.publish_from_server("room", b'{"a":1}')
            answer = await here.json("GET", f"messages?{PLACE}&wait=5")
            assert answer["next"] == str(sent.id)
        again = await here.json("GET", f"messages?{PLACE}&since={first['next']}&wait=0")
        assert len(again["messages"]) == 3
        assert again["events"][0]["resumed"] is True


async def test_events_for_others_move_the_cursor() -> None:
    async with site() as here:
        first = await here.json("GET", f"messages?{PLACE}&wait=0")
        other = await here.json("GET", "messages?peer=bob&wait=0")
        answer = await here.json("GET", f"messages?{PLACE}&since={first['next']}&wait=0")
        assert answer == {"messages": [], "next": other["next"]}
        await here.worker.publish_from_server("room", b'{"a":1}')
        [message] = (await here.json("GET", f"messages?{PLACE}&since={answer['next']}"))["messages"]
        assert message["a"] == 1


async def test_a_dropped_poll_is_a_lost_client() -> None:
    async with site() as here:
        await here.json("GET", f"messages?{PLACE}&wait=0")
        request, task = here.start("GET", f"messages?{PLACE}")
        await asyncio.sleep(0)
        request.drop()
        await task
        assert len(here.state.polls) == 0
        assert (await here.worker.roster("room")).members[0].held


async def test_an_end_for_good_waits_for_the_next_poll_and_being_replaced_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cursor_polls, "REPLACED_DELAY", 0)
    async with site() as here:
        for reason in (KICKED, REPLACED):
            await here.json("GET", f"messages?{PLACE}&wait=0")
            here.worker.clients.close_all(reason)
            await asyncio.sleep(0.01)
            answer = await here.json("GET", f"messages?{PLACE}&wait=0")
            assert ("closed" in answer) is (reason is KICKED)
        assert here.state.polls.get(f"room alice {PLACE.rpartition('=')[2]}") is not None


async def test_polls_that_are_answered_at_once_have_the_rate_of_http_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as here:
        counted = 0

        async def admit(_: str) -> None:
            nonlocal counted
            counted += 1
            if counted > 3:
                raise Refused("too_many_requests")

        monkeypatch.setattr(here.worker.requests, "admit", admit)
        first = await here.json("GET", f"messages?{PLACE}&wait=0")
        target = f"messages?{PLACE}&since={first['next']}"
        # One that waits does not count, until it gets an answer before its time because of the next one.
        _, waits = here.start("GET", target)
        await asyncio.sleep(0)
        assert counted == 0
        _, later = here.start("GET", target)
        await waits
        assert counted == 1
        await here.worker.publish_from_server("room", b'{"a":1}')
        await later
        # Nor does it when messages come, but an answer that is given again counts, and so does a poll without a wait.
        assert counted == 1
        again = await here.json("GET", target)
        assert counted == 2
        for status, total in ((200, 3), (429, 5)):  # a refusal counts as well
            assert (await here.ask("GET", f"messages?{PLACE}&since={again['next']}&wait=0")).status == status
            assert counted == total


async def test_a_poll_whose_session_ends_while_it_waits_for_its_turn_is_answered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site() as here:
        answer = await here.json("GET", f"messages?{PLACE}&wait=0")
        target = f"messages?{PLACE}&since={answer['next']}"
        here.start("GET", target)
        await asyncio.sleep(0)

        async def admit(_: str) -> None:
            here.worker.clients.close_all(REPLACED)
            await asyncio.sleep(0.01)

        monkeypatch.setattr(here.worker.requests, "admit", admit)
        assert (await here.json("GET", target))["messages"] == []
