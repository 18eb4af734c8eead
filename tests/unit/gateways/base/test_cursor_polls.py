"""Polls that name a place and a cursor, of a protocol that joins the frames of an answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay.config import Settings
from relay.gateways.base import cursor_polls
from relay.gateways.base.cursor_polls import CursorFrame, CursorPolls, CursorSession, cursor_after
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.base.http import GatewayResponses, HttpBody, HttpExchange
from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.http_sessions import NoPosts
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.native.codec import NativeCodec
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import KICKED, REPLACED
from relay.model.events import Event, Message
from relay.rooms.worker import Worker
from tests.unit.gateways.base.http_fakes import Elsewhere, Request, scope


class Codec(NativeCodec):
    """Each message is its number in the room."""

    def encode(self, event: Event) -> Frame:
        if isinstance(event, Message):
            return CursorFrame(b"%d " % event.id.seq, str(event.id))
        return CursorFrame(b"", "")


class Dialect(NoPosts):
    def answer(self, answer: PollAnswer) -> HttpBody:
        end = b"" if answer.closed is None else answer.closed.name.encode()
        return HttpBody(b"".join([frame.data for frame in answer.frames]) + end)


class Place:
    """A client of a worker, whose polls name the key `resume`."""

    def __init__(self, worker: Worker, resume: str = "key") -> None:
        self.worker = worker
        self.polls = CursorPolls(worker, "test", idle=60)
        self.place = HttpPlace("room", "ann", resume)
        self._state = {"worker": worker, FORWARDER: Elsewhere()}
        self._responses = GatewayResponses(worker.settings)
        self._codecs: CodecPair[Frame] = CodecPair(Codec(), Codec())

    @property
    def session(self) -> CursorSession:
        session = self.polls.get(self.place.name)
        assert session is not None
        return session

    def start(self, since: MessageId | None = None, hold: float = 0.0) -> tuple[Request, "asyncio.Task[bool]"]:
        """Begin a poll; its task tells whether there was a session."""
        request = Request()
        exchange = HttpExchange(scope("GET", "/", self._state), request.receive, request.send, self._responses)
        return request, asyncio.create_task(self._serve(exchange, since, hold))

    async def poll(self, since: MessageId | None = None) -> tuple[str, bool]:
        request, task = self.start(since)
        async with asyncio.timeout(5):
            found = await task
        return request.response.body.decode(), found

    async def say(self) -> MessageId:
        sent = await self.worker.publish_from_server("room", b'{"message":1}')
        assert sent.id is not None
        return sent.id

    async def _serve(self, exchange: HttpExchange, since: MessageId | None, hold: float) -> bool:
        if await self.polls.go_on(exchange, self.place, since, hold):
            return True
        request = JoinRequest("room", "ann", resume=self.place.resume, since=since, own_key=True)
        await self.polls.begin(exchange, self._codecs, Dialect(), request, hold)
        return False


@asynccontextmanager
async def place(resume: str = "key") -> AsyncIterator[Place]:
    async with Worker(Settings()) as worker:
        yield Place(worker, resume)


def test_the_cursor_after_an_answer_is_that_of_its_last_frame_that_has_one() -> None:
    frames = CursorFrame(b"", "1-1"), CursorFrame(b"", "1-2"), CursorFrame(b"", ""), Frame(b"")
    assert cursor_after(PollAnswer(frames, token="1-0")) == "1-2"
    assert cursor_after(PollAnswer(frames[2:], token="1-0")) == "1-0"


async def test_a_place_begins_once_and_goes_on_with_its_cursor() -> None:
    async with place() as ann:
        assert await ann.poll() == ("", False)
        at = await ann.say()
        assert await ann.poll() == ("2 ", True)
        assert ann.session.cursor == str(at)
        assert await ann.poll(at) == ("", True)


async def test_a_poll_with_another_cursor_ends_the_session() -> None:
    async with place() as ann:
        await ann.poll()
        first = await ann.say()
        for _ in range(2):
            await ann.say()
            await ann.poll()
        assert await ann.poll(first) == ("3 4 ", False)
        assert len(ann.polls) == 1


async def test_two_first_polls_of_a_place_leave_one_session() -> None:
    async with place() as ann:
        await asyncio.gather(ann.poll(), ann.poll())
        assert len(ann.polls) == len(ann.worker.clients) == 1


async def test_only_an_end_for_good_waits_for_the_next_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursor_polls, "REPLACED_DELAY", 0)
    async with place() as ann:
        for reason, answered in ((KICKED, ("kicked", True)), (REPLACED, ("", False))):
            await ann.poll()
            ann.session.polling.close(reason)
            while len(ann.polls):
                await asyncio.sleep(0)
            assert await ann.poll() == answered


async def test_a_client_that_drops_its_first_poll_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    joins, left = asyncio.Event(), asyncio.Event()

    async def enter(_session: CursorSession, _request: object) -> None:
        joins.set()
        await left.wait()

    monkeypatch.setattr(CursorSession, "enter", enter)
    async with place() as ann:
        request, task = ann.start()
        await joins.wait()
        request.drop()
        while len(ann.polls):
            await asyncio.sleep(0)
        left.set()
        await task
        assert request.response.status == 0
