"""firebase 2.4.2 and today's `firebase/database` in Node, unmodified, on two workers."""

import itertools
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.programs import ClientProgram
from tests.conformance.sio import require_packages
from tests.conftest import MakeClient, MakeFleet
from tests.fleet import Relay, eventually, require
from tests.tokens import SECRET, token

PROGRAM = Path(__file__).parent / "firebase_clients.mjs"
KINDS = ["2", "today"]


class Page:
    """One client in a process of its own."""

    def __init__(self, program: ClientProgram, kind: str) -> None:
        self._program = program
        self._ids = itertools.count()
        self.kind = kind

    @classmethod
    async def open(cls, relay: Relay, kind: str, namespace: str = "demo") -> "Page":
        page = cls(await ClientProgram.run([require("node"), str(PROGRAM)]), kind)
        page._send("open", kind=kind, port=relay.port, namespace=namespace)
        return page

    def on(self, path: str, event: str = "child_added", **options: Any) -> None:
        """Listen; `happened` returns the events."""
        self._send("on", path=path, event=event, **options)

    def off(self, path: str) -> None:
        self._send("off", path=path)

    async def happened(self, what: str) -> dict[str, Any]:
        """Return the next event, which must be one of this kind."""
        event = await self._program.next("page")
        assert event["what"] == what, event
        return event

    async def until_connected(self) -> None:
        self.on(".info/connected", "value")
        while not (await self.happened("value"))["value"]:
            pass

    def start(self, what: str, path: str = "", **fields: Any) -> int:
        """Begin an operation; returns its number, for `result`."""
        number = next(self._ids)
        self._send(what, path=path, id=number, **fields)
        return number

    async def result(self, number: int) -> dict[str, Any]:
        """Return how an operation ended; events come before, and are kept for later."""
        passed = []
        while (event := await self._program.next("page")).get("id") != number:
            passed.append(event)
        for one in passed:
            self._program._queues["page"].put_nowait(one)
        return event

    async def do(self, what: str, path: str = "", **fields: Any) -> Any:
        """Carry an operation out; returns the `value` of its result."""
        event = await self.result(self.start(what, path, **fields))
        assert event["what"] != "failed", event
        return event.get("key", event.get("value"))

    async def refused(self, what: str, path: str = "", **fields: Any) -> str:
        """Begin an operation that is refused; return the code."""
        event = await self.result(self.start(what, path, **fields))
        assert event["what"] == "failed", event
        return str(event["code"] or event["message"])

    def do_soon(self, what: str) -> None:
        self._send(what)

    def heard(self) -> list[dict[str, Any]]:
        return self._program.heard("page")

    async def close(self) -> None:
        await self._program.close()

    def _send(self, do: str, **fields: Any) -> None:
        self._program.send({"do": do, "client": "page", **fields})


Open = Callable[..., Awaitable[Page]]


@pytest.fixture
async def open_page() -> AsyncIterator[Open]:
    require_packages("firebase-2", "@firebase/app", "@firebase/database")
    pages: list[Page] = []

    async def open_page(relay: Relay, kind: str, **options: Any) -> Page:
        pages.append(await Page.open(relay, kind, **options))
        return pages[-1]

    yield open_page
    for page in pages:
        await page.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def members(relay: Relay, room: str) -> int:
    return int((await relay.describe(room)).get("count", 0))


@pytest.mark.smoke
async def test_children_reach_pages_on_other_workers_once_in_order(
    pair: tuple[Relay, Relay], open_page: Open, kind: str
) -> None:
    ann, bob = await open_page(pair[0], kind), await open_page(pair[1], kind)
    early = await ann.do("push", "room1/chat", value={"text": "early", "at": "$now"})
    bob.on("room1/chat")
    event = await bob.happened("child_added")
    assert (event["key"], event["value"]["text"]) == (early, "early")
    assert event["value"]["at"] > 1_600_000_000_000
    ann.on("room1/chat")
    await ann.happened("child_added")
    keys = [await ann.do("push", "room1/chat", value=number) for number in range(5)]
    assert [(await bob.happened("child_added"))["key"] for _ in keys] == keys
    assert [(await ann.happened("child_added"))["key"] for _ in keys] == keys
    mine = await bob.do("push", "room1/chat", value="from bob")
    assert (await ann.happened("child_added"))["key"] == mine
    assert (await bob.happened("child_added"))["key"] == mine
    assert ann.heard() == bob.heard() == []


async def test_once_set_update_and_remove(pair: tuple[Relay, Relay], open_page: Open, kind: str) -> None:
    ann, bob = await open_page(pair[0], kind), await open_page(pair[1], kind)
    assert await ann.do("once", "room1") is None
    await ann.do("set", "room1/state", value={"a": 1, "b": {"c": [1, 2]}, "none": None})
    assert await bob.do("once", "room1/state") == {"a": 1, "b": {"c": [1, 2]}}
    assert await bob.do("once", "room1/state/b/c") == [1, 2]
    for event in ("child_added", "child_changed", "child_removed"):
        bob.on("room1/state", event)
    assert {(await bob.happened("child_added"))["key"] for _ in range(2)} == {"a", "b"}
    await ann.do("update", "room1/state", value={"a": 2, "d": True})
    found = [await bob._program.next("page") for _ in range(2)]
    assert {(one["what"], one["key"], one["value"]) for one in found} == {
        ("child_changed", "a", 2),
        ("child_added", "d", True),
    }
    await ann.do("remove", "room1/state/b")
    assert (await bob.happened("child_removed"))["value"] == {"c": [1, 2]}
    await ann.do("set", "room1/state/d/deep", value="x")
    assert (await bob.happened("child_changed"))["value"] == {"deep": "x"}
    await ann.do("remove", "room1")
    assert {(await bob.happened("child_removed"))["key"] for _ in range(2)} == {"a", "d"}
    assert bob.heard() == []


async def test_today_get_and_increments(pair: tuple[Relay, Relay], open_page: Open) -> None:
    ann, bob = await open_page(pair[0], "today"), await open_page(pair[1], "today")
    assert await ann.do("get", "room1/count") is None
    await ann.do("set", "room1/count", value="$add")
    await bob.do("update", "room1", value={"count": "$add", "other": 1})
    assert await ann.do("get", "room1/count") == 4
    # The SDK sends the key as the page writes it.
    await bob.do("update", "room1", value={"/count": "$add"})
    assert await ann.do("get", "room1/count") == 6


async def test_two_pages_that_claim_a_place_do_not_both_win(
    pair: tuple[Relay, Relay], open_page: Open, kind: str
) -> None:
    ann, bob = await open_page(pair[0], kind), await open_page(pair[1], kind)
    await ann.until_connected()
    await bob.until_connected()
    for attempt in range(5):
        path = f"room1/owner{attempt}"
        begun = [
            (page, page.start("transaction", path, **{"from": None, "to": name}))
            for page, name in ((ann, "ann"), (bob, "bob"))
        ]
        results = [await page.result(number) for page, number in begun]
        assert sorted(one["committed"] for one in results) == [False, True]
        assert len({one["value"] for one in results}) == 1
    await ann.do("set", "room1/n", value=1)
    assert (await bob.result(bob.start("transaction", "room1/n", **{"from": 1, "to": 2})))["committed"]
    assert await ann.do("once", "room1/n") == 2


async def test_queries_and_the_place_above_rooms_are_refused(
    pair: tuple[Relay, Relay], open_page: Open, kind: str
) -> None:
    page = await open_page(pair[0], kind)
    page.on("room1/chat", "value", limited=True)
    assert re.search("permission.denied", str(await page.happened("refused")).lower())
    assert re.search("permission.denied", (await page.refused("once")).lower())
    assert re.search("permission.denied", (await page.refused("set", "", value=1)).lower())
    assert await page.do("once", "room1") is None


async def test_presence_check_shows_members_of_any_protocol_and_makes_none(
    pair: tuple[Relay, Relay], open_page: Open, enter: MakeClient, kind: str
) -> None:
    page = await open_page(pair[0], kind)
    await page.until_connected()
    assert await page.do("once", "room1") is None
    assert await page.do("once", "room1") is None
    assert await members(pair[1], "room1") == 0
    native = await enter(pair[1], "/rooms/room1?presence=1")
    assert await page.do("once", "room1") is True
    assert await page.do("once", "room1/below") is None
    assert await members(pair[1], "room1") == 1
    await native.socket.close()
    await eventually(lambda: _is_gone(pair[1], "room1"))
    assert await page.do("once", "room1") is None
    await page.do("set", "room1/x", value=1)
    assert await members(pair[1], "room1") == 1
    page.on("room2", "child_added")
    await eventually(lambda: _has_members(pair[1], "room2", 1))
    assert page.heard() == []


async def _is_gone(relay: Relay, room: str) -> bool:
    return await members(relay, room) == 0


async def _has_members(relay: Relay, room: str, number: int) -> bool:
    return await members(relay, room) == number


async def test_envelopes_and_children_cross_between_protocols(
    pair: tuple[Relay, Relay], open_page: Open, enter: MakeClient, kind: str
) -> None:
    page, native = await open_page(pair[0], kind), await enter(pair[1], "/rooms/room1?peer=nat")
    page.on("room1")
    key = await page.do("push", "room1", value={"sdp": "offer"})
    await page.happened("child_added")
    envelope = await native.next()
    assert envelope["channel"] == "room1"
    assert envelope["message"] == {"sdp": "offer"}
    assert envelope["path"] == envelope["key"] == key
    await native.send({"channel": "room1", "message": {"sdp": "answer"}})
    event = await page.happened("child_added")
    assert event["value"] == {"sdp": "answer"}
    assert len(event["key"]) == 20
    assert event["key"] > key
    # A change of a value is no message.
    await page.do("remove", f"room1/{key}")
    last = await page.do("push", "room1/chat", value="in a channel")
    assert (await native.next())["channel"] == "chat"
    assert last


async def test_on_disconnect_runs_when_the_page_goes(pair: tuple[Relay, Relay], open_page: Open, kind: str) -> None:
    ann, bob = await open_page(pair[0], kind), await open_page(pair[1], kind)
    await ann.do("set", "room1/peers/ann", value=True)
    await ann.do("set", "room1/peers/stays", value=True)
    await ann.do("onDisconnect", "room1/peers/ann", name="remove")
    await ann.do("onDisconnect", "room1/left", name="set", value={"at": "$now"})
    await ann.do("onDisconnect", "room1/peers/stays", name="remove")
    await ann.do("onDisconnect", "room1/peers/stays", name="cancel")
    bob.on("room1/peers", "child_removed")
    bob.on("room1/left", "value")
    assert (await bob.happened("value"))["value"] is None
    await ann.close()
    seen = [await bob._program.next("page") for _ in range(2)]
    assert [one["what"] for one in seen] == ["child_removed", "value"]
    assert seen[0]["key"] == "ann"
    assert seen[1]["value"]["at"] > 1_600_000_000_000
    assert await bob.do("once", "room1/peers") == {"stays": True}


async def test_on_disconnect_runs_when_the_worker_is_killed(fleet_of: MakeFleet, open_page: Open, kind: str) -> None:
    first, second = await fleet_of(2)
    ann, bob = await open_page(first, kind), await open_page(second, kind)
    await ann.do("set", "room1/peers/ann", value=True)
    await ann.do("onDisconnect", "room1/peers/ann", name="remove")
    bob.on("room1/peers", "child_removed")
    await eventually(lambda: _has_members(second, "room1", 2))
    first.signal(signal.SIGKILL)
    assert (await bob.happened("child_removed"))["key"] == "ann"


async def test_a_page_comes_back_to_the_present_tree(pair: tuple[Relay, Relay], open_page: Open, kind: str) -> None:
    ann, bob = await open_page(pair[0], kind), await open_page(pair[1], kind)
    first = await ann.do("push", "room1", value=1)
    bob.on("room1")
    assert (await bob.happened("child_added"))["key"] == first
    bob.do_soon("offline")
    await eventually(lambda: _has_members(pair[0], "room1", 1))
    second = await ann.do("push", "room1", value=2)
    bob.do_soon("online")
    assert (await bob.happened("child_added"))["key"] == second
    third = await ann.do("push", "room1", value=3)
    assert (await bob.happened("child_added"))["key"] == third
    assert bob.heard() == []


async def test_a_large_value_travels_in_parts(pair: tuple[Relay, Relay], open_page: Open, kind: str) -> None:
    ann, bob = await open_page(pair[0], kind), await open_page(pair[1], kind)
    text = "é☃" * 30_000
    await ann.do("set", "room1/text", value=text)
    assert await bob.do("once", "room1/text") == text
    assert re.search("tree_full|too_large", (await ann.refused("set", "room1/more", value="x" * 262_144)).lower())
    assert await bob.do("once", "room1/more") is None


async def test_tokens_decide_by_room(fleet_of: MakeFleet, open_page: Open) -> None:
    (relay,) = await fleet_of(1, auth="required", auth_secret=SECRET)
    page = await open_page(relay, "2")
    assert re.search("permission.denied", (await page.refused("once", "room1")).lower())
    assert re.search("permission.denied", (await page.refused("set", "room1/x", value=1)).lower())
    assert "bad_token" in (await page.refused("auth", token="no.valid.token")).lower()
    event = await page.result(page.start("auth", token=token(sub="ann", rooms=[{"room": "room1"}])))
    assert event["uid"] == "ann"
    await page.do("set", "room1/x", value=1)
    assert await page.do("once", "room1/x") == 1
    assert re.search("permission.denied", (await page.refused("once", "room2/x")).lower())
    assert re.search("permission.denied", (await page.refused("set", "room2/x", value=1)).lower())
