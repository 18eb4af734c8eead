import asyncio
import re
from urllib.parse import unquote

import pytest

from relay.model.errors import Unavailable
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
