"""Firebase by long polling and REST, whose requests reach any worker."""

import asyncio

import httpx2 as httpx

from tests.conftest import MakeFleet, MakeRelay
from tests.fleet import RedisServer, Relay, eventually
from tests.integration.firebase import FirebasePage


async def enter(relay: Relay, room: str, *, polls: bool) -> FirebasePage:
    page = FirebasePage()
    await page.connect(relay, polls=polls)
    assert await page.ask("q", f"/{room}", h="") == "ok"
    return page


async def count(relay: Relay, room: str) -> int:
    return int((await relay.describe(room)).get("count", 0))


async def test_polls_reach_any_worker_behind_one_port(redis_server: RedisServer, start: MakeRelay, prefix: str) -> None:
    relay = await start(redis_url=redis_server.url, redis_prefix=prefix, workers=2)
    ann, bob = await enter(relay, "room", polls=True), await enter(relay, "room", polls=True)
    for number in range(5):
        assert await ann.ask("p", f"/room/ann{number}", d=number) == "ok"
        assert await bob.ask("p", f"/room/bob{number}", d="x" * 10_000) == "ok"
    wanted = {
        **{f"ann{number}": number for number in range(5)},
        **{f"bob{number}": "x" * 10_000 for number in range(5)},
    }
    for page in (ann, bob):

        async def is_whole(page: FirebasePage = page) -> bool:
            return bool(page.value == {"room": wanted})

        await eventually(is_whole, 60)
    assert await bob.ask("o", "/room/bob0", d=None) == "ok"
    await bob.close()

    async def is_removed() -> bool:
        return ann.at("room/bob0") is None

    await eventually(is_removed, 60)
    assert await count(relay, "room") == 1
    await ann.close()


async def test_a_page_that_comes_back_to_another_worker_ends_its_last_connection(
    redis_server: RedisServer, start: MakeRelay, prefix: str
) -> None:
    """Otherwise, the changes that the last one has prepared would take away the values that the page writes now."""
    relay = await start(redis_url=redis_server.url, redis_prefix=prefix, workers=2)
    witness = await enter(relay, "room", polls=False)
    assert await witness.ask("p", "/room/witness", d=1) == "ok"
    for polls in (False, True) * 3:
        page = await enter(relay, "room", polls=False)
        assert await page.ask("p", "/room/me", d="before") == "ok"
        assert await page.ask("o", "/room/me", d=None) == "ok"
        again = FirebasePage()
        again.session = page.session
        await again.connect(relay, polls=polls)
        assert await again.ask("p", "/room/me", d="after") == "ok"
        assert await count(relay, "room") == 2
        assert await again.ask("p", "/room/seen", d=1) == "ok"

        async def has_seen() -> bool:
            return witness.at("room/seen") == 1

        await eventually(has_seen, 60)
        assert witness.at("room/me") == "after"
        assert await again.ask("p", "/room", d=None) == "ok"
        await page.lose()
        await again.close()
    await witness.close()


async def test_rest_and_its_streams_meet_the_pages_of_other_workers(fleet_of: MakeFleet) -> None:
    here, there = await fleet_of(2)
    page = await enter(there, "room", polls=False)
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        assert (await client.put(f"{here.http}/room/x.json", json={"a": 1})).json() == {"a": 1}

        async def heard() -> bool:
            return page.at("room/x") == {"a": 1}

        await eventually(heard, 60)
        async with client.stream("GET", f"{here.http}/room.json", headers={"Accept": "text/event-stream"}) as stream:
            lines: asyncio.Queue[str] = asyncio.Queue()

            async def read() -> None:
                async for line in stream.aiter_lines():
                    lines.put_nowait(line)

            reading = asyncio.create_task(read())
            assert [await lines.get() for _ in range(3)] == [
                "event: put", 'data: {"path":"/","data":{"x":{"a":1}}}', ""
            ]  # fmt: skip

            async def is_member() -> bool:
                return await count(there, "room") == 2

            await eventually(is_member, 60)
            assert await page.ask("p", "/room/y", d="from the page") == "ok"
            assert [await lines.get() for _ in range(2)] == [
                "event: put", 'data: {"path":"/y","data":"from the page"}'
            ]  # fmt: skip
            reading.cancel()

    async def is_alone() -> bool:
        return await count(there, "room") == 1

    await eventually(is_alone, 60)
    await page.close()


async def test_increments_of_ten_programs_at_once_all_count(fleet_of: MakeFleet) -> None:
    (relay,) = await fleet_of(1)
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        answers = await asyncio.gather(
            *(client.patch(f"{relay.http}/room.json", json={"n": {".sv": {"increment": 1}}}) for _ in range(10))
        )
        assert {answer.status_code for answer in answers} == {200}
        assert (await client.get(f"{relay.http}/room/n.json")).json() == 10
