"""The crowd of the chaos suite, as clients of the load balancer of a deployment."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from tests.chaos.crowd import Crowd
from tests.deploy.compose import Compose


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
