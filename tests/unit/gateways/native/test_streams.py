"""Connections of the native protocol over HTTP, on one worker in memory."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.routing import Router

from relay.config import Settings
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.base.polling_rules import PollingRules
from relay.gateways.native import streams
from relay.gateways.native.codec import NativeCodec
from relay.gateways.native.routes import routes, state
from relay.gateways.native.streams import MAX_FRAMES, STATE, FramesDialect, StreamCodec
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY, Refused
from relay.model.events import Message
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.base.http_fakes import Elsewhere, Request, Response, scope

KEY = "0123456789abcdef"


class Stream:
    """One connection: its response, and the frames in it."""

    def __init__(self, site: "Site", response: Response) -> None:
        self._site = site
        self.response = response
        self._numbers = itertools.count()

    @property
    def frames(self) -> list[dict[str, Any]]:
        blocks = self.response.body.decode().split("\n\n")
        return [json.loads(block.removeprefix("data: ")) for block in blocks if block.startswith("data: ")]

    @property
    def session(self) -> str:
        [data] = re.findall(rb"^event: session\ndata: (.*)$", self.response.body, re.MULTILINE)
        session: str = json.loads(data)["session"]
        return session

    async def until(self, condition: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while True:
                for frame in self.frames:
                    if condition(frame):
                        return frame
                self.response.changed.clear()
                await self.response.changed.wait()

    async def send(self, *frames: dict[str, Any], query: str = "") -> Response:
        body = "\n".join(map(json.dumps, frames)).encode()
        return await self._site.ask(f"/rooms/any/frames?session={self.session}{query}", body)

    async def ask(self, command: dict[str, Any]) -> dict[str, Any]:
        """Send a command or an envelope with a new key, unless it has one, and return the answer with this key."""
        command = {"key": f"asked-{next(self._numbers)}", **command}
        assert (await self.send(command)).status == 204
        return await self.until(lambda frame: frame.get("key") == command["key"])


class Site:
    """The routes of the native protocol."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.state: dict[str, Any] = {"worker": worker, FORWARDER: Elsewhere(), **state(worker)}
        self._router = Router(routes(worker.settings))

    def start(self, target: str, body: bytes, method: str = "POST") -> tuple[Request, "asyncio.Task[None]"]:
        request = Request(body)
        one = scope(method, target, dict(self.state), {"content-type": "text/plain"})
        one["raw_path"] = one["path"].encode()
        return request, asyncio.create_task(self._router(one, request.receive, request.send))

    async def ask(self, target: str, body: bytes = b"", method: str = "POST") -> Response:
        request, task = self.start(target, body, method)
        async with asyncio.timeout(10):
            await task
        return request.response

    @asynccontextmanager
    async def stream(
        self, query: str = "peer=alice&presence=1", *, room: str = "room", offered: str = f"resume.{KEY}"
    ) -> AsyncIterator[Stream]:
        request, task = self.start(f"/rooms/{room}/connect?{query}", f"relay.v1, {offered}".encode())
        await request.response.until(b'"type":')
        yield Stream(self, request.response)
        request.drop()
        await task


@asynccontextmanager
async def site(**settings: Any) -> AsyncIterator[Site]:
    async with Worker(Settings(**settings)) as worker:
        yield Site(worker)


async def test_a_connection_has_several_rooms_and_every_command() -> None:
    async with site() as here, here.stream() as alice, here.stream("peer=bob", offered="") as bob:
        assert alice.response.headers["content-type"] == "text/event-stream"
        expected = {"type": "welcome", "peer": "alice", "room": "room", "first": True}
        assert alice.frames[0].items() >= expected.items()
        assert (await alice.ask({"message": 1}))["type"] == "ack"
        assert (await bob.until(lambda frame: frame.get("message") == 1))["from"] == "alice"
        assert (await alice.ask({"type": "join", "room": "other"}))["room"] == "other"
        assert (await alice.send({"type": "publish", "room": "other", "key": "p", "envelope": {}})).status == 204
        assert (await alice.until(lambda frame: frame.get("key") == "p"))["room"] == "other"
        assert (await alice.ask({"type": "info", "info": {"n": 1}}))["info"] == {"n": 1}


async def test_a_lost_stream_is_resumed_with_the_key_of_its_welcome() -> None:
    async with site() as here, here.stream("peer=bob&presence=1", offered="") as bob:
        async with here.stream() as alice:
            key, seen = alice.frames[0]["resume"], alice.frames[0]["id"]
        await bob.ask({"message": "missed"})
        async with here.stream(f"peer=alice&since={seen}", offered=f"resume.{key}") as alice:
            assert (alice.frames[0]["resumed"], alice.frames[0]["recovered"]) == (True, True)
            await alice.until(lambda frame: frame.get("message") == "missed")
        assert not [frame for frame in bob.frames if frame.get("left")]


@pytest.mark.parametrize(("code", "left"), [(1000, True), (1001, True), (4001, False)])
async def test_a_close_is_a_goodbye_or_a_loss(code: int, left: bool) -> None:
    async with site() as here, here.stream("peer=bob&presence=1", offered="") as bob:
        async with here.stream() as alice:
            # A join and a leave in one moment cancel each other out.
            await bob.until(lambda frame: frame.get("joined") == ["alice"])
            assert (await alice.send(query=f"&close={code}")).status == 204
            assert here.state[STATE].get(alice.session) is None
        if left:
            await bob.until(lambda frame: frame.get("left") == ["alice"])
        else:
            listed = (await bob.ask({"type": "presence"}))["members"]
            assert {"peer": "alice", "held": True} in listed


async def test_a_goodbye_may_come_after_the_end_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_RULES", PollingRules(lost_after=60))
    async with site() as here, here.stream("peer=bob&presence=1", offered="") as bob:
        async with here.stream() as alice:
            await bob.until(lambda frame: frame.get("joined") == ["alice"])
        assert (await alice.send(query="&close=1001")).status == 204
        await bob.until(lambda frame: frame.get("left") == ["alice"])


async def test_without_a_goodbye_the_member_is_held() -> None:
    async with site() as here, here.stream("peer=bob&presence=1", offered="") as bob:
        async with here.stream() as alice:
            pass
        await until_gone(here, alice)
        listed = (await bob.ask({"type": "presence"}))["members"]
        assert {"peer": "alice", "held": True} in listed


async def until_gone(here: Site, stream: Stream) -> None:
    async with asyncio.timeout(10):
        while here.state[STATE].get(stream.session) is not None:
            await asyncio.sleep(0.02)


async def test_the_relay_says_why_it_closes() -> None:
    async with site() as here, here.stream() as alice:
        here.worker.clients.close_all(GOING_AWAY)
        await alice.response.until(b'event: close\ndata: {"code":1001,"reason":"going_away"}')
        assert alice.response.ended


async def test_a_refused_join_is_answered_and_closed_as_over_a_websocket() -> None:
    async with site() as here, here.stream(), here.stream(offered="resume.wrong") as second:
        await second.response.until(b"event: close")
        assert (second.frames[0]["about"], second.frames[0]["code"]) == ("join", "peer_taken")


async def test_an_empty_name_is_the_default_room() -> None:
    async with site(default_room="lobby") as here, here.stream(room="") as alice:
        assert alice.frames[0]["room"] == "lobby"


async def test_tokens_passwords_and_observers_are_as_over_a_websocket() -> None:
    may = token(sub="alice", rooms=[{"room": "*", "can": ["join"]}])
    async with site(auth="required", auth_secret=SECRET) as here:
        async with here.stream(offered="") as refused:
            assert refused.frames[0]["code"] == "token_required"
        async with here.stream(offered=f"token.{may}") as alice:
            assert alice.frames[0]["type"] == "welcome"
    async with site() as here, here.stream("observe=presence", offered="") as watching, here.stream():
        assert watching.frames[0]["observer"] is True
        await watching.until(lambda frame: frame.get("count") == 1)


async def test_a_post_for_a_session_of_another_worker_goes_there() -> None:
    async with site() as here:
        assert (await here.ask("/rooms/r/frames?session=elsewhere", b"{}")).body == b"{}"
        unknown = await here.ask("/rooms/r/frames?session=none", b"{}")
        assert (unknown.status, b"unknown_session" in unknown.body) == (400, True)


async def test_bad_requests_are_refused_and_disturb_nobody() -> None:
    async with site(max_message=1000) as here, here.stream() as alice:
        assert (await here.ask("/rooms/r/connect", method="GET")).status == 405
        assert (await here.ask("/rooms/r/frames", method="PUT")).status == 405
        assert (await here.ask("/rooms/r/connect", b"\xff")).status == 400
        assert (await here.ask("/rooms/r/connect", b"a" * 20_000)).status == 413
        assert (await here.ask("/rooms/r/connect?previous=1")).status == 400
        assert (await alice.send(query="&close=x")).status == 400
        assert (await alice.send(*[{"message": 1}] * (MAX_FRAMES + 1))).status == 400
        assert (await alice.send({"message": "x" * 100_000})).status == 413
        for bad, code in (
            ({"type": "nothing"}, "unknown_command"),
            ({"type": "subscribe", "topics": ["t"]}, "bad_command"),
            ({"message": "x" * 2000}, "too_large"),
        ):
            assert (await alice.ask(bad))["code"] == code
        assert (await alice.ask({"message": "still there"}))["type"] == "ack"


async def test_bytes_that_are_not_utf8_reach_nobody() -> None:
    # A browser ends a WebSocket on which a text frame is not UTF-8.
    async with site() as here, here.stream() as alice, here.stream("peer=bob", offered="") as bob:
        for body in (b'{"message":"\xff"}', b'{"message":1}\n{"type":"info","info":{"a":"\xed\xa0\x80"}}'):
            assert (await here.ask(f"/rooms/any/frames?session={alice.session}", body)).status == 400
        await alice.ask({"message": "\xe9"})
        assert [frame["message"] for frame in bob.frames if "message" in frame] == ["\xe9"]


def test_the_frames_are_those_of_the_native_codec_also_over_several_lines() -> None:
    codec = StreamCodec()
    message = Message("r", MessageId(1, 2), "b", (), "", b'{"a":\r\n1\n,"from":"b","id":"1-2"')
    lines = codec.encode(message).data.decode().removesuffix("\n\n").split("\n")
    assert all(line.startswith("data: ") for line in lines)
    joined = "\n".join(line.removeprefix("data: ") for line in lines)
    assert json.loads(joined) == json.loads(NativeCodec().encode(message).data)


def test_empty_lines_count_for_nothing() -> None:
    assert [one.incoming.data for one in FramesDialect().read(b'{"a":1}\n\n{"b":2}\n', b"")] == [b'{"a":1}', b'{"b":2}']
    for body in (b"", b"\n", b"{}\n" * (MAX_FRAMES + 1)):
        with pytest.raises(Refused):
            FramesDialect().read(body, b"")
