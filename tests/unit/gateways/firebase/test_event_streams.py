"""Streams of the changes of a value."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from relay.model.rules import RuleChange
from tests.tokens import SECRET, token
from tests.unit.gateways.base.fakes import until
from tests.unit.gateways.base.http_fakes import Response
from tests.unit.gateways.firebase.site import Site, site


def events(response: Response) -> list[tuple[str, Any]]:
    blocks = [block for block in response.body.decode().split("\n\n") if block]
    return [
        (block.partition("\n")[0].removeprefix("event: "), json.loads(block.partition("data: ")[2])) for block in blocks
    ]


@asynccontextmanager
async def stream(here: Site, target: str) -> AsyncIterator[Response]:
    request, task = here.start("GET", target, accept="text/event-stream")
    await request.response.until(b"\n\n")
    yield request.response
    request.drop()
    async with asyncio.timeout(30):
        await task


async def test_a_stream_begins_with_the_value_and_has_each_change_after_it() -> None:
    async with site() as here:
        await here.value("PUT", "/room/a.json", {"b": 1})
        async with stream(here, "/room/a.json") as response:
            assert response.headers["content-type"] == "text/event-stream"
            assert events(response) == [("put", {"path": "/", "data": {"b": 1}})]
            # A listen that lasts makes a member; the changes come from then on.
            await until(lambda: here.worker.newest_id)
            while (await here.worker.roster("room")).count == 0:
                await asyncio.sleep(0.05)
            await here.value("PUT", "/room/a/c.json", [1, 2])
            await here.value("PATCH", "/room/a.json", {"b": 2, "d/e": 3})
            await here.value("PUT", "/room/beside.json", 1)
            await here.value("DELETE", "/room.json")
            await response.until(b'"data":null')
            assert events(response)[1:] == [
                ("put", {"path": "/c", "data": [1, 2]}),
                ("patch", {"path": "/", "data": {"b": 2, "d/e": 3}}),
                ("put", {"path": "/", "data": None}),
            ]
        async with asyncio.timeout(30):
            while (await here.worker.roster("room")).count:
                await asyncio.sleep(0.05)
        assert len(here.state.http) == 0


async def test_priorities_are_only_in_a_stream_that_asks_for_them() -> None:
    async with site() as here:
        await here.value("PUT", "/room/a.json", {".value": 1, ".priority": 2})
        async with stream(here, "/room/a.json") as response:
            assert events(response) == [("put", {"path": "/", "data": 1})]
        async with stream(here, "/room/a.json?format=export") as response:
            assert events(response) == [("put", {"path": "/", "data": {".value": 1, ".priority": 2}})]


async def test_a_message_with_line_breaks_is_one_line_of_the_stream() -> None:
    async with site() as here:
        await here.value("PUT", "/room/a.json", 1)
        async with stream(here, "/room.json?format=export") as response:
            async with asyncio.timeout(30):
                while (await here.worker.roster("room")).count == 0:
                    await asyncio.sleep(0.05)
            await here.worker.publish_from_server("room", b'{"message":[1,\n\n2]}')
            async with asyncio.timeout(30):
                await response.until(b"2]")
            assert [event["data"] for _, event in events(response)][-1] == [1, 2]


async def test_a_client_that_may_not_read_gets_no_stream() -> None:
    async with site(auth="required", auth_secret=SECRET) as here:
        response = await here.ask("GET", "/room.json", accept="text/event-stream")
        assert response.status == 401
        assert len(here.state.http) == 0


async def test_the_end_of_the_token_is_told() -> None:
    async with site(auth="required", auth_secret=SECRET, auth_leeway=0, url_tokens="on") as here:
        short = token(sub="ann", rooms=[{"room": "room"}], exp=int(time.time()) + 3)
        request, task = here.start("GET", f"/room.json?auth={short}", accept="text/event-stream")
        async with asyncio.timeout(60):
            await task
        assert [name for name, _ in events(request.response)] == ["put", "auth_revoked"]


async def test_a_room_that_is_locked_before_the_client_is_a_member_cancels_the_stream() -> None:
    async with site() as here:
        await here.value("PUT", "/room/a.json", 1)
        request, task = here.start("GET", "/room/a.json", accept="text/event-stream")
        await request.response.until(b"\n\n")
        await here.worker.rules.change("room", RuleChange(locked=True))
        await request.response.until(b"event: cancel")
        async with asyncio.timeout(30):
            await task
        assert len(here.state.http) == 0
