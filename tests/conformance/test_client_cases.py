"""socket.io-client's own test cases against a relay, and the table of what became of each; not run counts as failed."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from tests.conformance.sio import HERE, require_packages
from tests.conftest import MakeRelay
from tests.fleet import require

TABLE = HERE / "results" / "socketio-client.md"

FAKE_TIMERS = "of the client alone, with fake timers; not written anew"
BROWSER = "browsers alone have Blobs that this client sends"
UNANSWERED = "needs a server that never acknowledges; a relay does when Redis has the message"
WHY = {
    "should change socket.id upon reconnection": "a client is recovered also before its first event, and keeps its id",
    "should work with acks": "needs a server that asks for an acknowledgement; a relay passes events on without",
    "should use overridden setTimeout by default": FAKE_TIMERS,
    "should use native setTimeout with useNativeSetTimers": FAKE_TIMERS,
    "should get base64 data as a last resort": "for environments without ArrayBuffer, of which there is none here",
    "should send binary data (as a Blob)": BROWSER,
    "should send binary data (as a Blob) mixed with json": BROWSER,
    "should send events with Blobs in the correct order": BROWSER,
    "should timeout when the server does not acknowledge the event": UNANSWERED,
    "should timeout when the server does not acknowledge the event (promise)": UNANSWERED,
    "should use the default timeout value": UNANSWERED,
    "should fail when the server does not acknowledge the packet": UNANSWERED,
}
SUITES = ("connection", "socket", "retry", "connection state recovery")
OFFLINE = {
    "url": ("9 cases", "not run", "of a module that the package does not export; no server is involved"),
    "autoUnref option": ("5 cases", "not run", "of when the client's process ends; no server is involved"),
}


async def outcomes(url: str) -> Sequence[dict[str, Any]]:
    command = [require("node"), str(HERE / "client_cases.mjs"), url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return [json.loads(line) for line in said.splitlines()]


def table(found: Sequence[dict[str, Any]]) -> str:
    rows = [
        (one["suite"], one["name"], one["outcome"], WHY.get(one["name"], ""))
        for one in sorted(found, key=lambda one: (SUITES.index(one["suite"]), one["name"]))
    ]
    rows += [(suite, *rest) for suite, rest in OFFLINE.items()]
    passed = sum(one["outcome"] == "passed" for one in found)
    lines = [
        "# socket.io-client 4.8: its own test cases against a relay",
        "",
        f"{passed} of {len(found) + 14} passed. Their server's handlers are played by another client in the same room;",
        "where a case looks at what its server acknowledges, it looks for the relay's acknowledgement here.",
        "",
        "| Suite | Case | Outcome | Why |",
        "| --- | --- | --- | --- |",
        *[f"| {suite} | {name} | {outcome} | {why} |" for suite, name, outcome, why in rows],
    ]
    return "\n".join(lines) + "\n"


async def test_every_case_ends_as_the_table_says(start: MakeRelay) -> None:
    require_packages("socket.io-client-4")
    relay = await start(grace=5)
    found = await outcomes(relay.http)
    assert {
        one["name"]: one.get("error") for one in found if one["outcome"] != "passed" and one["name"] not in WHY
    } == {}
    written = table(found)
    if not TABLE.exists():
        TABLE.write_text(written)
    assert TABLE.read_text() == written, f"{TABLE.name} is out of date; remove it and run this test again"
