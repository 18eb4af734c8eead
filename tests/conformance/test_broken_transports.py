"""Upgrades that break and requests that drop, at random, with the clients' own library; all messages are counted."""

import asyncio
import json

from tests.conformance.sio import HERE, require_packages
from tests.conftest import MakeFleet
from tests.fleet import require

SECONDS = 6


async def test_acknowledged_messages_arrive_once_however_transports_break(fleet_of: MakeFleet) -> None:
    require_packages("socket.io-client-4")
    # A client whose upgrade breaks between two steps does not poll any more, and notices only by the missing ping. If
    # that happens twice in a row, it has missed more than the thousand events of the default history.
    relays = await fleet_of(
        2, reconnect_grace=15, ping_interval=1, ping_timeout=1, worker_lease=10, history_size=10_000
    )
    process = await asyncio.create_subprocess_exec(
        require("node"), "broken_transports.mjs", str(SECONDS), *[relay.http for relay in relays],
        cwd=HERE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 50)
    count = json.loads(said)
    print(count)
    assert (count["lost"], count["repeated"], count["disordered"]) == (0, 0, 0), count
    assert count["recovered"] == count["back"], count
    assert min(count["interrupted"], count["brokenOff"], count["back"]) > 0, count
    assert count["acknowledged"] > 500, count
