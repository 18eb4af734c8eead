"""Upgrades interrupted and requests broken off at random, with the clients' own library: counted as faults are."""

import asyncio
import json

from tests.conformance.sio import HERE, require_packages
from tests.conftest import MakeFleet
from tests.fleet import require

SECONDS = 6


async def test_what_is_acknowledged_is_heard_once_whatever_becomes_of_transports(fleet_of: MakeFleet) -> None:
    require_packages("socket.io-client-4")
    # A client whose upgrade ends between two of its steps polls no more, and finds out by the missing ping: twice in a
    # row, now and then, and by then it has missed more than the thousand events that are kept by default.
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
