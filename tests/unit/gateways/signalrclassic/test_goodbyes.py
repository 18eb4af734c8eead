import asyncio
import re
from urllib.parse import unquote

import pytest

from relay.model.errors import Unavailable
from tests.unit.gateways.base.fakes import until_members
from tests.unit.gateways.signalrclassic.site import site


@pytest.mark.parametrize("transport", ["longPolling", "serverSentEvents"])
@pytest.mark.parametrize("action", ["connect", "reconnect"])
async def test_a_goodbye_at_another_worker_counts_here(transport: str, action: str) -> None:
    async with site() as here:
        page = await here.page(transport)
        [resume] = re.findall(r"connectionToken=([^.&]+)\.", page.target("connect"))
        await here.worker.goodbyes.note(unquote(resume))
        assert (await page.ask(action))["error"]["code"] == "not_joined"
        assert (await here.worker.roster("room")).count == 0


async def test_a_client_that_says_goodbye_while_it_joins_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its request was looked at ahead of the goodbye, and joins behind it."""
    async with site() as here:
        page = await here.page("serverSentEvents")
        asked: list[str] = []

        async def has(resume: str) -> bool:
            asked.append(resume)
            return len(asked) > 1

        monkeypatch.setattr(here.worker.goodbyes, "has", has)
        _, task = here.start("GET", page.target("connect"))
        async with asyncio.timeout(20):
            await task
        assert len(asked) == 2
        assert (await here.worker.roster("room")).count == 0


@pytest.mark.parametrize("transport", ["longPolling", "serverSentEvents"])
async def test_a_client_that_drops_its_request_and_says_goodbye_while_it_joins_is_not_held(
    monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """As `stop()` does in a browser: its goodbye has found no member at another worker."""
    async with site(reconnect_grace=60) as here:
        page, asked = await here.page(transport), 0
        request, task = here.start("GET", page.target("connect"))

        async def has(resume: str) -> bool:
            nonlocal asked
            asked += 1
            if asked > 1:
                request.drop()
                await until_members(here.worker, "room", {page.peer: True})
            return asked > 1

        monkeypatch.setattr(here.worker.goodbyes, "has", has)
        async with asyncio.timeout(20):
            await task
        await until_members(here.worker, "room", {})


async def test_without_redis_a_goodbye_is_noted_on_this_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as here:
        page = await here.page()
        await page.ask("connect")

        async def away(resume: str) -> bool:
            raise Unavailable()

        for name in ("note", "has"):
            monkeypatch.setattr(here.worker.goodbyes, name, away)
        assert (await here.ask("POST", page.target("abort"))).status == 200
        assert (await page.ask("reconnect"))["error"]["code"] == "not_joined"
