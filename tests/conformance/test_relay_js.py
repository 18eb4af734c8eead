"""relay.js in Node with the `ws` package, with tokens, on two workers that ask for them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from relay.client import join
from tests.conformance.sio import require_packages
from tests.conftest import MakeFleet
from tests.fleet import Relay, require
from tests.tokens import SECRET, token

PROGRAM = Path(__file__).parent / "relay_js.mjs"
SAY = [{"room": "*", "can": ["join", "publish", "presence", "kick", "lock", "close", "move"]}]


@pytest.fixture
async def fleet(fleet_of: MakeFleet) -> list[Relay]:
    require_packages("ws")
    return await fleet_of(2, auth="required", auth_secret=SECRET, auth_leeway=0)


@asynccontextmanager
async def running(relay: Relay, *tokens: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Callable[[], Any]]]:
    command = [require("node"), str(PROGRAM), relay.ws, "r", *tokens]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)

    async def heard() -> Any:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            return json.loads(await process.stdout.readline())

    try:
        yield process, heard
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_it_renews_its_token_and_stays_away_when_it_is_put_out(fleet: list[Relay]) -> None:
    claims = {"sub": "ann-*", "rooms": ["r"]}
    async with (
        join(fleet[1].ws, "r", token=token(rooms=SAY)) as boss,
        running(fleet[0], token(ttl=4, **claims), token(**claims)) as (process, heard),
    ):
        # For the connection, and to ask who is there.
        assert [await heard(), await heard()] == [["asked"], ["asked"]]
        what, peer, count = await heard()
        assert (what, peer[:4], count) == ("ready", "ann-", 2)
        assert await heard() == ["asked"]
        await boss.lock()
        assert await heard() == ["rules", True, ""]
        await boss.move("other hall", [peer])
        assert await heard() == ["move", "other hall", ""]
        assert await boss.kick(peer, reason="rude") == 1
        assert [await heard(), await heard()] == [["kicked", None, "rude"], ["close", "kicked", "rude"]]
        async with asyncio.timeout(20):
            assert await process.wait() == 0


async def test_it_says_why_it_is_refused_and_stays_away(fleet: list[Relay]) -> None:
    refused = {
        "token_required": "",
        "bad_token": "no.token.at-all",
        "token_expired": token(ttl=-60, rooms=["r"]),
        "not_granted": token(rooms=["other"]),
    }

    async def check(code: str, given: str) -> None:
        async with running(fleet[0], given) as (process, heard):
            assert [await heard(), await heard()] == [["asked"], ["close", code, ""]]
            async with asyncio.timeout(20):
                assert await process.wait() == 0

    await asyncio.gather(*[check(code, given) for code, given in refused.items()])
