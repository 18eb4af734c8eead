"""One session over the memory bus, whose events come a turn of the loop after the answer to who published them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.session import Session
from relay.gateways.native.gateway import NativeCodec
from relay.model.codec import Frame
from relay.model.errors import GOING_AWAY
from relay.rooms.worker import Worker


class FakeConnection:
    def __init__(self) -> None:
        self.told: list[dict] = []
        self.reason = None

    def write(self, frame: Frame) -> None:
        if self.reason is None:
            self.told.append(json.loads(frame.data))

    def close(self, reason) -> None:
        self.reason = self.reason or reason


class Visit:
    """A client that came in."""

    def __init__(self, worker: Worker) -> None:
        self.connection = FakeConnection()
        self.paused: list[bool] = []
        worker.addresses.admit("here")
        self.session = Session(
            self.connection,
            worker,
            CodecPair(NativeCodec(), NativeCodec(tagged=True)),
            address="here",
            pause_reading=lambda *, paused: self.paused.append(paused),
        )

    def say(self, **message) -> None:
        self.session.received(Frame(json.dumps(message).encode()))

    @property
    def told(self) -> list[str]:
        """Answers after the welcome, by their key and kind."""
        return [f"{event['type']} {event.get('key', '')}".strip() for event in self.connection.told[1:]]

    async def until(self, condition) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0)


@asynccontextmanager
async def visiting(**settings) -> AsyncIterator[Visit]:
    async with Worker(Settings(**settings)) as worker:
        visit = Visit(worker)
        await visit.session.enter(lambda: JoinRequest("room", "p"))
        await asyncio.sleep(0)
        yield visit
        visit.session.disconnected(1006, None)
        await asyncio.sleep(0)


async def test_those_who_are_lost_as_the_worker_stops_are_held_like_others() -> None:
    async with Worker(Settings()) as worker:
        visits = [Visit(worker) for _ in range(30)]
        for number, visit in enumerate(visits):
            await visit.session.enter(lambda number=number: JoinRequest("room", f"p{number}"))
        for visit in visits:
            visit.session.disconnected(1006, None)
    assert [one.held for one in (await worker.roster("room")).members] == [True] * 30


async def test_who_is_sent_elsewhere_is_told_first_what_became_of_its_messages() -> None:
    async with visiting() as visit:
        for key in "ab":
            visit.say(n=1, key=key)
        visit.session.close_gracefully(GOING_AWAY)
        await visit.until(lambda: visit.connection.reason)
        assert visit.told == ["ack a", "ack b"]
        assert visit.connection.reason is GOING_AWAY


async def test_messages_that_are_not_told_of_yet_count_as_on_their_way() -> None:
    async with visiting(max_inflight_publishes=2) as visit:
        for key in "abcde":
            visit.say(n=1, key=key)
        assert visit.paused == [True] * 3
        await visit.until(lambda: len(visit.told) == 5)
        assert visit.told == [f"ack {key}" for key in "abcde"]
        assert visit.paused[-1] is False


@pytest.mark.parametrize(("code", "here"), [(1000, 1), (1006, 2)])
async def test_what_a_client_sent_before_it_went_is_sent_and_then_it_leaves(code: int, here: int) -> None:
    async with visiting(max_inflight_publishes=2) as listener:
        going = Visit(listener.session._worker)
        await going.session.enter(lambda: JoinRequest("room", "q"))
        going.say(type="presence")
        for number in range(5):
            going.say(n=number)
        going.session.disconnected(code, None)
        await listener.until(lambda: len(listener.connection.told) == 6)
        assert [event["n"] for event in listener.connection.told[1:]] == list(range(5))
        worker = listener.session._worker
        await listener.until(lambda: not worker._hub.get("room").members.get("q"))
        await asyncio.sleep(0)
        assert (await worker.roster("room")).count == here


async def test_an_acknowledgement_that_cannot_be_given_in_time_is_an_error_under_the_key() -> None:
    async with visiting(publish_timeout=0.05) as visit:
        rooms = visit.session._worker._bus._rooms
        rooms.ignore(["room"], visit.session._worker._bus._deliver)
        visit.say(n=1, key="a")
        await asyncio.sleep(0)
        assert visit.told == []
        await visit.until(lambda: visit.told)
        assert visit.told == ["error a"]
        assert visit.connection.told[-1]["code"] == "outcome_unknown"
        rooms.listen(["room"], visit.session._worker._bus._deliver)
        visit.say(n=1, key="a")
        visit.say(n=2)
        await visit.until(lambda: len(visit.told) == 2)
        await asyncio.sleep(0.1)
        assert visit.told == ["error a", "ack a"]
