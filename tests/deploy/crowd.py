"""The crowd of the chaos suite, as clients of the load balancer of a deployment."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from tests.chaos.crowd import Crowd
from tests.chaos.fault import Fault
from tests.chaos.guests import Guests
from tests.chaos.rounds import Outcome, presence_after
from tests.deploy.compose import ROOT, Compose


class Visitors(Crowd):
    """Clients that know one address, that of the load balancer."""

    def __init__(self, compose: Compose, seed: int) -> None:
        super().__init__(seed)
        self.compose = compose
        # A worker that is deaf keeps its clients, and acknowledgements, for half a minute.
        self.patience = 60.0

    @property
    def addresses(self) -> Sequence[str]:
        """See `Crowd`."""
        return [f"ws://127.0.0.1:{self.compose.port}"]

    async def disagreeing_lists(self, rooms: Iterable[str]) -> list[str]:
        """See `Crowd`; all workers answer under the one address, so the count is asked for of each room."""
        return await asyncio.to_thread(self._disagreeing_counts, list(rooms))

    def _disagreeing_counts(self, rooms: Sequence[str]) -> list[str]:
        wrong = []
        for room in rooms:
            status, body = self.compose.get(f"/rooms/{room}")
            count = json.loads(body).get("count") if status == 200 else f"HTTP {status}"
            if count != len(self.expected[room]):
                wrong.append(f"{count} are said to be in {room}")
        return wrong


@asynccontextmanager
async def visitors(compose: Compose, *, seed: int, rooms: int) -> AsyncIterator[Visitors]:
    """Wait until all clients have joined, on any worker."""
    async with AsyncExitStack() as stack:
        crowd = Visitors(compose, seed)
        stack.push_async_callback(crowd.close)
        await crowd.fill(stack, rooms, f"seed{seed}-")
        yield crowd


async def replace_workers(crowd: Visitors) -> None:
    """Replace every worker, one after the other, by the command of the page."""
    before = {one["Id"] for one in await asyncio.to_thread(crowd.compose.containers, "worker")}
    await asyncio.to_thread(crowd.compose.run, str(ROOT / "deploy" / "upgrade.sh"), timeout=200)
    after = {one["Id"] for one in await asyncio.to_thread(crowd.compose.containers, "worker")}
    assert len(after) == len(before)
    assert not before & after


async def count_through(
    fault: Fault,
    compose: Compose,
    *,
    seed: int,
    within: float,
    rooms: int = 9,
    guests: int = 3,
    rate: float = 30,
    patience: float = 60.0,
) -> Outcome:
    """Let clients talk while the fault strikes, and count; presence must be right `within` so many seconds.

    The fault is over when it returns, unless it has said so before. Senders wait for an answer for `patience` seconds.
    """
    async with visitors(compose, seed=seed, rooms=rooms) as crowd, Guests(crowd, number=guests) as others:
        crowd.patience = patience
        crowd.talk(rate)
        await asyncio.sleep(1)
        others.go()
        await fault.strike(crowd)  # type: ignore[arg-type]  # a crowd is as good as an arena
        if not crowd.ended:
            crowd.over()
        presence = await presence_after(crowd, max(crowd.ended, others.gone), others, within=within)
        await crowd.hush()
        return Outcome.of(fault, seed, crowd, presence)
