"""The client that pages already have, in Node with the `ws` package, unmodified, on two workers."""

import asyncio
import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fleet import Relay, require

HERE = Path(__file__).parent


class NodeClient:
    """`plain_client.mjs` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def open(cls, url: str, me: str, other: str) -> "NodeClient":
        command = [require("node"), str(HERE / "plain_client.mjs"), url, me, other]
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))

    async def next(self) -> dict:
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            line = await self._process.stdout.readline()
        assert line, "the client has exited"
        return json.loads(line)

    async def say(self, on: str, message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"on": on, "message": message}).encode() + b"\n")
        await self._process.stdin.drain()

    async def close(self) -> dict:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            return await self.next()
        finally:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@pytest.fixture(autouse=True)
def packages() -> None:
    if not (HERE / "node_modules" / "ws").is_dir():
        reason = "the node packages are not installed; `make test` installs them"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@pytest.mark.parametrize("path", ["/", pytest.param("/rooms/meeting-42", marks=pytest.mark.smoke)])
async def test_two_plain_clients_on_two_workers_hear_each_other(pair: tuple[Relay, Relay], path: str) -> None:
    ann = await NodeClient.open(pair[0].ws + path, "31337", "4711")
    ben = await NodeClient.open(pair[1].ws + path, "4711", "31337")
    for client, me in ((ann, "31337"), (ben, "4711")):
        assert [await client.next() for _ in range(2)] == [{"open": "main-channel"}, {"open": f"to-{me}"}]
    offer = {"sdp": "v=0\r\no=- 1 2 IN IP4 127.0.0.1", "type": "offer", "snow": "\u2603 \U0001f600", "deep": [[[{}]]]}
    await ann.say("main", offer)
    assert await ben.next() == {"channel": "main-channel", "message": offer}
    await ben.say("theirs", {"candidate": None})
    assert await ann.next() == {"channel": "to-31337", "message": {"candidate": None}}
    await ann.say("theirs", "for you")
    await ann.say("main", "for all")
    assert [await ben.next() for _ in range(2)] == [
        {"channel": "to-4711", "message": "for you"},
        {"channel": "main-channel", "message": "for all"},
    ]
    # Nothing else was heard: not the relay's own events, not a client's own messages.
    assert await ann.close() == {"closed": 1005}
    assert await ben.close() == {"closed": 1005}
