"""The clients' own test cases against a relay, and the tables of their results; not run counts as failed.

Those that need a page are played in `tests/browser`.
"""

import asyncio

from tests.conformance.case_table import ENGINEIO, SOCKETIO, play_in_node
from tests.conformance.sio import require_packages
from tests.conftest import MakeRelay
from tests.fleet import ADMIN_TOKEN, RedisServer


async def test_every_case_ends_as_the_tables_say(start: MakeRelay, own_redis: RedisServer) -> None:
    require_packages("socket.io-client-4", "engine.io-client")
    relay, small = await asyncio.gather(start(redis_url=own_redis.url, reconnect_grace=5), start(max_message=256))
    found = await asyncio.gather(
        play_in_node("client_cases.mjs", relay.http, str(own_redis.pid), ADMIN_TOKEN),
        play_in_node("engine_cases.mjs", small.http),
    )
    SOCKETIO.agree(found[0])
    ENGINEIO.agree(found[1])
