"""Which nodes refuse commands: from what was refused last, for as long as they are reached."""

from typing import Any

import pytest

from relay.backend.redis.cluster.refusals import LEASES, RENEWAL, ShardRefusals
from relay.backend.redis.cluster.slots import slot_of_tag
from relay.model.errors import OutcomeUnknown, RelayError, Unavailable
from tests.unit.backend.redis.cluster.nodes import World

REFUSED = Unavailable().because("NOREPLICAS")


class Desk:
    def __init__(self) -> None:
        self.world = World()
        self.refusals = ShardRefusals(self.world.cluster, self.world.keys)

    def note(self, source: str, **errors: RelayError) -> None:
        self.refusals.note(
            source, [(self.world.cluster.nodes[host, 1].client, error) for host, error in errors.items()]
        )

    def told(self) -> dict[str, str]:
        """The refusal of each node that refuses."""
        found = {host: self.refusals.of(node) for (host, _), node in self.world.cluster.nodes.items()}
        return {host: refusal for host, refusal in found.items() if refusal}


async def test_a_refusal_stands_until_its_source_has_met_none() -> None:
    desk = Desk()
    async with desk.world.cluster:
        await desk.world.become(a=(0, 8191), b=(8192, 16_383))
        assert desk.refusals.client_of_group(0) is desk.world.cluster.nodes["a", 1].client
        assert desk.refusals.client_of_room("room") is desk.world.cluster.client_of(slot_of_tag("room"))
        desk.note(LEASES, b=REFUSED)
        desk.note(RENEWAL, b=REFUSED)
        desk.note(LEASES)
        assert desk.told() == {"b": "NOREPLICAS"}
        desk.note(RENEWAL)
        assert desk.told() == {}
        # Nodes without leases and rooms of this worker: run.lua is called at each.
        run: Any = desk.world.cluster.nodes["a", 1].run
        run.refusal = "BUSY"
        assert desk.told() == {"a": "BUSY"}


async def test_what_is_late_or_away_does_not_refuse() -> None:
    desk = Desk()
    async with desk.world.cluster:
        await desk.world.become(a=(0, 8191), b=(8192, 16_383))
        # Without Redis's words; and of a slot without a node.
        desk.note(LEASES, a=Unavailable(), b=OutcomeUnknown())
        desk.refusals.note(RENEWAL, [(None, REFUSED)])
        assert desk.told() == {}
        desk.note(LEASES, a=REFUSED)
        desk.world.links["a"].reachable = False
        assert desk.told() == {}


async def test_the_log_has_the_beginning_and_the_end_of_a_refusal(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    async with desk.world.cluster:
        await desk.world.become(a=(0, 8191), b=(8192, 16_383))
        caplog.clear()
        for _ in range(2):
            desk.note(LEASES, a=REFUSED, b=REFUSED)
        desk.note(LEASES, a=REFUSED)
        # It is lost, and so it has not accepted anything.
        desk.world.links["a"].reachable = False
        desk.note(LEASES)
        assert [record.message.partition(" this worker")[0] for record in caplog.records] == [
            "shard a:1 refuses the commands of",
            "shard b:1 refuses the commands of",
            "shard b:1 accepts the commands of",
        ]
