"""Reads and writes, over memory."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from relay.backend.memory.trees import MemoryTrees
from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.firebase.session import FirebaseSession
from relay.model.codec import Frame
from relay.model.tree import MAX_BYTES, hash_of
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import Client, until
from tests.unit.gateways.firebase.page import Page


@pytest.fixture
async def page(worker: Worker) -> Page:
    return await Page(worker).start()


async def test_the_data_comes_ahead_of_the_answer(page: Page) -> None:
    assert await page.ask("p", "/room/x", d={"a": 1}) == "ok"
    page.frames.clear()
    number = page.request("q", "/room/x", h="")
    await page.answer(number)
    assert [("r" in frame["d"], frame["d"].get("a")) for frame in page.frames] == [(False, "d"), (True, None)]
    page.frames.clear()
    await page.answer(page.request("p", "/room/x/b", d=2))
    assert [("r" in frame["d"], frame["d"].get("a")) for frame in page.frames] == [(False, "d"), (True, None)]


async def test_changes_reach_listens_at_above_and_below_their_path(page: Page, worker: Worker) -> None:
    above, below = await Page(worker).start(), await Page(worker).start()
    for one, path in ((above, "room"), (below, "room/a/b")):
        assert await one.ask("p", "/room/none", d=None) == "ok"
        assert await one.ask("q", path, h="") == "ok"
    for one in (above, below):
        one.take()
    assert await page.ask("p", "/room/a", d={"b": {"c": 1}, "d": 2}) == "ok"
    assert await page.ask("m", "/room", d={"a/b/c": 3, "e": 4}) == "ok"
    assert await page.ask("p", "/room/z", d=1) == "ok"
    assert await page.ask("p", "/room", d=None) == "ok"
    assert above.take() == [
        ("d", "room/a", {"b": {"c": 1}, "d": 2}),
        ("m", "room", {"a/b/c": 3, "e": 4}),
        ("d", "room/z", 1),
        ("d", "room", None),
    ]
    assert below.take() == [("d", "room/a/b", {"c": 1}), ("d", "room/a/b/c", 3), ("d", "room/a/b", None)]


async def test_a_write_with_a_stale_hash_gets_the_value_and_is_refused(page: Page) -> None:
    assert await page.ask("p", "/room/x", d=1, h="") == "ok"
    page.take()
    assert await page.ask("p", "/room/x", d=2, h="") == "datastale"
    assert page.take() == [("d", "room/x", 1)]
    assert await page.ask("p", "/room/x", d=2, h=hash_of(1)) == "ok"
    # A client that knows that there are members, or does not, knows of no tree.
    for known in (hash_of(True), ""):
        assert await page.ask("p", "/empty", d=None, h=known) == "ok"


async def test_the_value_of_a_room_with_members_alone_names_nobody(page: Page, worker: Worker) -> None:
    assert (await page.answer(page.request("g", "/room")))["d"] is None
    native = Client(worker)
    await native.session.enter(lambda: JoinRequest("room", "nat"))
    assert (await page.answer(page.request("g", "/room")))["d"] is True
    assert (await page.answer(page.request("g", "/room/nat")))["d"] is None
    assert await page.ask("p", "/room", d=None) == "ok"
    assert (await page.answer(page.request("g", "/room")))["d"] is True


async def test_a_priority_without_a_value_hides_no_member(page: Page) -> None:
    assert await page.ask("p", "/room/.priority", d=5) == "ok"
    assert (await page.answer(page.request("g", "/room")))["d"] is True
    assert await page.ask("p", "/room", d=1, h="") == "ok"


async def test_the_end_of_a_refused_query_ends_no_other_listen(page: Page) -> None:
    assert await page.ask("q", "/room", h="") == "ok"
    assert await page.ask("q", "/room", q={"l": 1}, t=1) == "permission_denied"
    assert await page.ask("n", "/room", q={"l": 1}, t=1) == "ok"
    page.take()
    assert await page.ask("p", "/room/x", d=1) == "ok"
    assert ("d", "room/x", 1) in page.pushes


async def test_messages_cross_between_protocols_once(page: Page, worker: Worker) -> None:
    native = Client(worker)
    await native.session.enter(lambda: JoinRequest("room", "nat"))
    assert await page.ask("q", "/room", h="") == "ok"
    assert await page.ask("p", "/room/-K1", d={"sdp": 1}) == "ok"
    assert await page.ask("p", "/room/-K1", d={"sdp": 2}) == "ok"
    assert await page.ask("p", "/room/chat/-K2", d="hi") == "ok"
    envelopes = [event for event in native.connection.events if "message" in event]
    assert [(one["channel"], one["message"], one["key"], one["path"]) for one in envelopes] == [
        ("room", {"sdp": 1}, "-K1", "-K1"),
        ("chat", "hi", "-K2", "chat/-K2"),
    ]
    page.take()
    for text in ({"channel": "room", "message": 5}, {"message": {"a": [1]}}, {"channel": "chat", "x": 1}):
        native.session.received(native_frame(text))
    assert await page.ask("g", "/room/none") == "ok"
    pushes = page.take()
    assert [value for _, _, value in pushes] == [5, {"a": [1]}, {"channel": "chat", "x": 1}]
    parents = [path.rpartition("/")[0] for _, path, _ in pushes]
    assert parents == ["room", "room", "room/chat"]
    keys = [path.rpartition("/")[2] for _, path, _ in pushes]
    assert keys[0] < keys[1]
    assert [len(key) for key in keys] == [20, 20, 20]
    # They are not in the tree.
    assert set((await page.answer(page.request("g", "/room")))["d"]) == {"-K1", "chat"}


def native_frame(fields: dict[str, Any]) -> Frame:
    return Frame(json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("action", "body", "status", "least"),
    [
        ("g", {}, "ok", 1000),
        ("q", {}, "ok", 1000),
        ("p", {"d": 1, "h": ""}, "datastale", 1000),
        ("p", {"d": 1, "h": hash_of("x" * 1000)}, "ok", 1000),
        ("p", {"d": {".sv": {"increment": 1}}}, "ok", 1000),
        ("m", {"d": {"n": {".sv": {"increment": 1}}}}, "ok", 1000),
        ("p", {"d": 1}, "ok", 0),
    ],
)
async def test_each_read_of_a_value_counts_against_the_rates(
    page: Page, action: str, body: dict[str, Any], status: str, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await page.ask("p", "/room/x", d="x" * 1000) == "ok"
    paid: list[int] = []

    async def pay(_: FirebaseSession, size: int) -> None:
        paid.append(size)

    monkeypatch.setattr(FirebaseSession, "pay", pay)
    assert await page.ask(action, "/room/x", **body) == status
    assert least <= sum(paid) < 3 * (least or 1)


async def test_prepared_values_count_once_for_the_address_and_a_refused_change_is_never_made() -> None:
    async with Worker(Settings(address_tree_bytes=65_536, message_rate=10_000)) as worker:
        page = await Page(worker).start()
        for _ in range(10):
            # Instead of each other: one of them is written at the end.
            assert await page.ask("o", "/room/x", d="x" * 8000) == "ok"
        pages = [await Page(worker).start() for _ in range(9)]
        statuses = [await one.ask("o", "/room/y", d="y" * 8000) for one in pages]
        assert statuses == ["ok"] * 8 + ["too_many_tree_bytes"]
        assert await pages[-1].ask("o", "/room/y", d=None) == "ok"
        assert await pages[-1].ask("om", "/room", d={"z": "z"}) == "too_many_tree_bytes"
        pages[-1].session.disconnected(1006, None)
        async with asyncio.timeout(5):
            while (await worker.roster("room")).count > 9:
                await asyncio.sleep(0)
        assert (await worker.trees.read("room", "")).leaves == []


# Bad input.


@pytest.mark.parametrize(
    ("action", "path", "body", "status"),
    [
        ("q", "/", {}, "permission_denied"),
        ("q", "/room", {"q": {"l": 1}, "t": 1}, "permission_denied"),
        ("q", "/room", {"q": {"i": "x"}}, "permission_denied"),
        ("q", "/.info/connected", {}, "bad_path"),
        ("q", "/room/" + "a/" * 17, {}, "bad_path"),
        ("q", "/" + "a" * 300, {}, "permission_denied"),
        ("g", "/room/a.b", {}, "bad_path"),
        ("p", "/room/" + "k" * 800, {"d": 1}, "bad_path"),
        ("p", "/room", {"d": {"a/b": 1}}, "bad_path"),
        ("p", "/room/x", {"d": json.loads('{"a":' * 40 + "1" + "}" * 40)}, "bad_path"),
        ("p", "/room/x", {"d": [1] * 5000}, "too_large"),
        ("p", "/room/x", {"d": "x" * MAX_BYTES}, "tree_full"),
        ("p", "/room/x", {"d": {".sv": "what"}}, "bad_value"),
        ("m", "/room", {"d": 1}, "bad_value"),
        ("m", "/room", {"d": {"a": 1, "a/b": 2}}, "bad_path"),
        ("m", "/room", {"d": {"a": 1, "a-b": 2, "a/b": 3}}, "bad_path"),
        ("m", "/room", {"d": {"a": 1, "/a": 2}}, "bad_path"),
        ("m", "/room", {"d": {str(number): 1 for number in range(1025)}}, "bad_value"),
        ("o", "/room/x", {"d": {".sv": {"increment": 1}}}, "bad_value"),
        ("o", "/room/x", {"d": "x" * 17_000}, "too_many_disconnects"),
        ("om", "/room/x", {"d": {str(number): 1 for number in range(33)}}, "too_many_disconnects"),
        ("zz", "/room", {}, "unknown_command"),
    ],
)
async def test_a_bad_request_is_refused_and_changes_nothing(
    page: Page, worker: Worker, action: str, path: str, body: dict[str, Any], status: str
) -> None:
    assert await page.ask(action, path, **body) == status
    assert (await worker.trees.read("room", "")).leaves == []
    assert await page.ask("p", "/room/y", d=1) == "ok"
    assert await page.ask("s", c={}) == "ok"


@pytest.mark.parametrize("many", [500, pytest.param(10_000, marks=[pytest.mark.gateways, pytest.mark.timeout(600)])])
async def test_listens_are_as_many_as_the_setting_allows_however_many_are_asked_for(page: Page, many: int) -> None:
    statuses = [await page.ask("q", f"/room/{number}", h="") for number in range(25)]
    assert statuses == ["ok"] * 20 + ["too_many_listens"] * 5
    for number in range(many):
        page.request("q", f"/room/more{number}", h="")
    while not page.session._inbox.is_idle():
        await asyncio.sleep(0)
    page.take()
    assert len(page.session._listens) == 20
    assert await page.ask("n", "/room/0") == "ok"
    assert await page.ask("q", "/room/again", h="") == "ok"


async def test_a_namespace_is_a_room(worker: Worker) -> None:
    page = await Page(worker, "demo").start()
    assert await page.ask("p", "/a/b", d=1) == "ok"
    assert await page.ask("q", "/", h="") == "ok"
    assert page.take() == [("d", "", {"a": {"b": 1}})]
    assert (await worker.roster("demo")).count == 1


async def test_increments_of_two_pages_at_once_all_count(worker: Worker) -> None:
    pages = [await Page(worker).start() for _ in range(2)]
    add = {".sv": {"increment": 1}}
    asked = [(page, page.request("p", "/room/n", d=add)) for page in pages for _ in range(5)]
    asked += [(page, page.request("m", "/room", d={"n": add, "m": add})) for page in pages for _ in range(5)]
    assert [(await page.answer(number))["s"] for page, number in asked] == ["ok"] * 20
    assert (await worker.trees.read("room", "")).leaves == [("m", b"10"), ("n", b"20")]


@pytest.mark.parametrize("key", ["n", "/n", "n/", "//n"])
async def test_an_increment_in_an_update_is_added_to_the_value_at_its_path(page: Page, key: str) -> None:
    """The SDK sends the keys of an update as the page writes them."""
    assert await page.ask("p", "/room/at", d={"n": 41}) == "ok"
    assert await page.ask("m", "/room/at", d={key: {".sv": {"increment": 1}}}) == "ok"
    assert (await page.answer(page.request("g", "/room/at/n")))["d"] == 42


async def test_a_kicked_page_leaves_nothing_prepared(worker: Worker) -> None:
    page, other = await Page(worker).start(), await Page(worker).start()
    for room in ("room", "other"):
        assert await page.ask("p", f"/{room}/x", d=1) == "ok"
        assert await page.ask("o", f"/{room}/x", d=None) == "ok"
    assert await other.ask("p", "/room/y", d=1) == "ok"
    assert await worker.rules.kick("room", page.session._rooms.peer)
    trees = worker._parts.backend.trees
    assert isinstance(trees, MemoryTrees)
    await until(lambda: [room for room, _ in trees._rooms.prepared] == ["other"])
    # Nothing of it was made, and the page is still a member of its other room.
    assert (await worker.trees.read("room", "")).leaves == [("x", b"1"), ("y", b"1")]
    assert page.connection.reason is None


@pytest.mark.parametrize("action", ["o", "p"])
async def test_a_page_that_becomes_a_member_gets_missed_changes_ahead_of_later_ones(
    worker: Worker, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, other = await Page(worker).start(), await Page(worker).start()
    assert await page.ask("q", "/room", h="") == "ok"
    assert await other.ask("p", "/room/a", d=1) == "ok"
    page.take()
    join = worker.join

    async def join_and_miss(*arguments: Any, **named: Any) -> None:
        await join(*arguments, **named)
        monkeypatch.undo()
        assert await other.ask("p", "/room/b", d=2) == "ok"

    monkeypatch.setattr(worker, "join", join_and_miss)
    assert await page.ask(action, "/room/mine", d=3) == "ok"
    assert await other.ask("p", "/room/c", d=4) == "ok"
    await until(lambda: ("d", "room/c", 4) in page.pushes)
    assert page.pushes[0][2] == {"a": 1, "b": 2}
    assert page.pushes[1:] == [("d", "room/mine", 3)] * (action == "p") + [("d", "room/c", 4)]


@pytest.mark.parametrize(
    ("action", "path", "more"),
    [
        ("g", "/room", {"q": {}}),
        ("q", "/room", {"h": ""}),
        ("p", "/room", {"d": 1, "h": "stale"}),
        ("m", "/room", {"d": {f"k{number}": number for number in range(300)}}),
        ("o", "/room/left", {"d": {f"k{number}": 1 for number in range(150)}}),
    ],
)
async def test_requests_that_take_redis_long_count_against_the_rates(
    worker: Worker, action: str, path: str, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of 30 bytes may read a tree of 256 KB, and one of 20 KB may change a thousand paths."""
    page, paid = await Page(worker).start(), list[int]()
    assert await page.ask("p", "/room/wide", d={f"k{number}": "x" * 1000 for number in range(100)}) == "ok"

    async def pay(self: FirebaseSession, size: int) -> None:
        paid.append(size)

    monkeypatch.setattr(FirebaseSession, "pay", pay)
    await page.ask(action, path, **more)
    assert sum(paid) > 80_000


@pytest.mark.parametrize(("action", "more"), [("p", {}), ("p", {"h": ""}), ("m", {})])
async def test_the_change_of_a_large_value_is_made_in_its_turn(
    worker: Worker, action: str, more: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page, turns, turn = await Page(worker).start(), list[str](), worker.large_messages.turn

    async def note(address: str, work: Callable[[], object]) -> None:
        turns.append(address)
        await turn(address, work)

    monkeypatch.setattr(worker.large_messages, "turn", note)
    assert await page.ask(action, "/room", d={"small": 1}) == "ok"
    assert turns == []
    assert await page.ask(action, "/other", d={"large": "x" * 20_000}, **more) == "ok"
    assert turns == ["here"]
