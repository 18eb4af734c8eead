"""The trees of rooms, for every backend."""

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from relay.backend.rules import Kicking
from relay.backend.trees import Ended, Writer
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import NotMember, Refused, Replaced
from relay.model.events import TreeMessage
from relay.model.tree import MAX_BYTES, MAX_LEAVES, contents_of, json_at, leaves_of
from relay.model.tree_changes import Expected, PathWrite, Prepared, TreeChange
from relay.model.tree_envelopes import merge_envelope, read_change, set_envelope
from tests.contract.conftest import FakeWorker, MakeWorker, join, report_memory

TTL = 60.0
ANN = Writer("ann")


def put(path: str, value: object, channel: str | None = None) -> TreeChange:
    writes = [PathWrite(path, leaves_of(value, path))]
    return TreeChange(writes, set_envelope(path, value, channel), channel or "", shareable=channel is not None)


def merge(children: Mapping[str, object], path: str = "") -> TreeChange:
    paths = {f"{path}/{key}".strip("/"): value for key, value in children.items()}
    writes = [PathWrite(one, leaves_of(value, one)) for one, value in paths.items()]
    return TreeChange(writes, merge_envelope(path, children))


async def write(worker: FakeWorker, path: str, value: object, room: str = "room", **more: Any) -> MessageId:
    return (await worker.trees.write(room, ANN, put(path, value, more.pop("channel", None)), ttl=TTL, **more)).id


async def value(worker: FakeWorker, path: str = "", room: str = "room") -> Any:
    part = await worker.trees.read(room, path, ttl=TTL)
    return msgspec.json.decode(json_at(part.leaves, path))


async def test_values_are_read_on_any_worker_as_they_were_written(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    assert await value(a) is None
    tree = {"one": {"text": 'é"\\/', "list": ["a", "b"], "none": None, "empty": {}}, "two": 2.5, "three": True}
    await write(a, "", tree)
    assert await value(b) == {"one": {"text": 'é"\\/', "list": {"0": "a", "1": "b"}}, "two": 2.5, "three": True}
    assert await value(b, "one/list") == {"0": "a", "1": "b"}
    assert await value(b, "one/list/1") == "b"
    assert await value(b, "on") is await value(b, "one/lis") is await value(b, "two/below") is None
    assert await value(b, room="other") is None


async def test_a_write_replaces_the_values_at_and_below_its_path_and_a_value_above(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await write(a, "x", "leaf")
    await write(a, "x/y/z", 1)
    assert await value(a) == {"x": {"y": {"z": 1}}}
    await write(a, "x0", "beside")
    await write(a, "x-", "beside")
    await write(a, "x", {"y": 2})
    assert await value(a) == {"x": {"y": 2}, "x0": "beside", "x-": "beside"}
    await write(a, "x/y/none", None)
    assert await value(a, "x") == {"y": 2}
    await write(a, "x", None)
    assert await value(a) == {"x0": "beside", "x-": "beside"}
    await write(a, "", "all")
    assert await value(a) == "all"
    await write(a, "", None)
    assert await value(a) is None


async def test_priorities_stay_beside_values_and_end_with_them(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await write(a, "x", {".value": "leaf", ".priority": 3})
    await write(a, "y", {"z": 1, ".priority": "p"})
    assert await value(a) == {"x": {".value": "leaf", ".priority": 3}, "y": {"z": 1, ".priority": "p"}}
    await write(a, "x/.priority", 4)
    assert await value(a, "x") == {".value": "leaf", ".priority": 4}
    await write(a, "y/z", None)
    assert await value(a) == {"x": {".value": "leaf", ".priority": 4}}


async def test_a_change_is_published_with_the_id_under_which_it_is_read(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await b.bus.subscribe(["room"])
    first = await write(a, "list/-Kx", {"sdp": "…"}, channel="list")
    again = await write(a, "list/-Kx", {"sdp": "…"}, channel="list")
    last = (await a.trees.write("room", ANN, merge({"a/b": 1, "list/-Kx": None}), ttl=TTL)).id
    await b.received.until(lambda events: len(events) == 3)
    shared, repeated, merged = b.received.events
    assert isinstance(shared, TreeMessage)
    assert (shared.id, shared.to, shared.channel, shared.sender) == (first, (), "list", "ann")
    assert msgspec.json.decode(shared.envelope) == {
        "channel": "list", "message": {"sdp": "…"}, "key": "-Kx", "path": "list/-Kx",
    }  # fmt: skip
    # Nothing new: no message for the others, which would get it twice.
    assert isinstance(repeated, TreeMessage)
    assert (repeated.id, repeated.to) == (again, ("$tree",))
    assert isinstance(merged, TreeMessage)
    assert (merged.id, merged.to) == (last, ("$tree",))
    assert read_change(merged.envelope).children == {"a/b": b"1", "list/-Kx": b"null"}
    part = await b.trees.read("room", "", ttl=TTL)
    assert (part.id, part.version, part.leaves) == (last, last, [("a/b", b"1")])


async def test_changes_are_in_the_history(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    first = await write(a, "x", 1)
    second = await write(a, "x", 2)
    replay = await a.bus.replay("room", first)
    assert [event.id for event in replay.events] == [second]
    assert isinstance(replay.events[0], TreeMessage)


async def test_the_time_of_a_change_is_the_same_in_the_tree_and_for_members(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await a.bus.subscribe(["room"])
    quoted = '{".sv":"timestamp"}'
    await write(a, "x", {"at": {".sv": "timestamp"}, "text": quoted})
    await a.received.until(len)
    read = await value(a, "x")
    assert read["text"] == quoted
    assert read["at"] > 1_600_000_000_000
    assert msgspec.json.decode(read_change(a.received.events[0].envelope).value or b"") == read


async def test_a_write_that_expects_another_value_is_refused(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await write(a, "room", {"owner": "ann", "é": 1})
    part = await b.trees.read("room", "room", ttl=TTL)
    expected = Expected("room", contents_of(part.leaves))
    await write(a, "other", 1)
    await write(b, "room/owner", "bob", expected=expected)
    with pytest.raises(Refused, match="stale_value"):
        await write(a, "room/owner", "carol", expected=expected)
    with pytest.raises(Refused, match="stale_value"):
        await write(a, "room", "carol", expected=Expected("room", contents_of([])))
    assert await value(a, "room/owner") == "bob"
    await write(a, "nothing", 1, expected=Expected("nothing", contents_of([])))


async def test_a_writer_that_claims_to_be_a_member_must_be_one(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    entry, joined = await join(a, "ann")
    member = Writer("ann", joined.generation)
    receipt = await a.trees.write("room", member, put("x", 1), ttl=TTL)
    assert receipt.id > joined.id
    assert (await a.trees.read("room", "", ttl=TTL)).members == 1
    with pytest.raises(NotMember):
        await a.trees.write("room", Writer("bob", joined.generation), put("x", 2), ttl=TTL)
    with pytest.raises(NotMember):
        await a.trees.write("room", Writer("ann", joined.generation + 1), put("x", 2), ttl=TTL)
    with pytest.raises(Replaced):
        await a.trees.write("room", Writer("ann", 1), put("x", 2), ttl=TTL)
    await a.presence.leave(entry, hold=0)
    with pytest.raises(NotMember):
        await a.trees.write("room", member, put("x", 2), ttl=TTL)
    assert await value(a, "x") == 1


async def test_a_full_tree_takes_nothing_more_until_something_is_removed(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await write(a, "big", "x" * (MAX_BYTES - 100))
    with pytest.raises(Refused, match="tree_full"):
        await write(a, "more", "x" * 100)
    assert await value(a, "more") is None
    await write(a, "more", "x" * 50)
    await write(a, "big", "small")
    await write(a, "more", "x" * 1000)
    await write(a, "big", None)
    await write(a, "more", None)
    await write(a, "many", {str(number): 1 for number in range(MAX_LEAVES - 1)})
    await write(a, "last", 1)
    with pytest.raises(Refused, match="tree_full"):
        await write(a, "other", 1)
    await write(a, "last", 2)
    await write(a, "many", None)
    assert await value(a) == {"last": 2}


async def test_deep_paths_of_long_keys_cost_no_more_than_their_bytes(make_worker: MakeWorker) -> None:
    """Redis serves nobody else meanwhile: a search in quadratic time took 15 s for these."""
    a = await make_worker("a")
    paths = {"/".join([f"{number:03}" + "k" * 765] * 16): 1 for number in range(100)}
    async with asyncio.timeout(5):
        with pytest.raises(Refused, match="tree_full"):
            await a.trees.write("room", ANN, merge(paths), ttl=TTL)


async def test_leaves_and_trees_end_after_their_time(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await a.bus.subscribe(["room"])
    await a.trees.write("room", ANN, put("old/one", 1), ttl=TTL)
    # A time to live of nothing: all that was there is too old.
    await a.trees.write("room", ANN, put("new", 2), ttl=0)
    await a.received.until(lambda events: len(events) == 3)
    assert read_change(a.received.events[1].envelope).children == {"old/one": b"null"}
    ids = [event.id.seq for event in a.received.events]
    assert ids == [ids[0], ids[0] + 1, ids[0] + 2]


async def test_prepared_changes_are_made_once_at_the_end_of_their_member(make_worker: MakeWorker) -> None:
    a, b = await make_worker("a"), await make_worker("b")
    await b.bus.subscribe(["room"])
    _, joined = await join(a, "ann")
    await write(a, "peers/ann", True)
    writer = Writer("ann", joined.generation)
    prepared = Prepared([put("peers/ann", None), put("left", {".sv": "timestamp"})])
    assert await a.trees.prepare("room", writer, prepared, ttl=TTL)
    assert not await a.trees.prepare("room", Writer("ann", joined.generation + 1), prepared, ttl=TTL)
    assert not await a.trees.prepare("room", Writer("bob", 5), prepared, ttl=TTL)
    # On the worker that takes the member over.
    ended = [Ended("bob", 1), Ended("ann", joined.generation)]
    assert await b.trees.finish("room", ended, seen=BEFORE_ALL, ttl=TTL) == 2
    tree = await value(b)
    assert list(tree) == ["left"]
    assert tree["left"] > 1_600_000_000_000
    assert await b.trees.finish("room", [Ended("ann", joined.generation)], seen=BEFORE_ALL, ttl=TTL) == 0
    await b.received.until(lambda events: sum(isinstance(event, TreeMessage) for event in events) == 3)
    changes = [read_change(event.envelope) for event in b.received.events if isinstance(event, TreeMessage)]
    assert [change.path for change in changes] == ["peers/ann", "peers/ann", "left"]


async def test_a_member_that_was_put_out_or_whose_rights_have_ended_changes_nothing(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    entry, joined = await join(a, "ann")
    writer, change = Writer("ann", joined.generation), put("x", 1)
    await a.trees.prepare("room", writer, Prepared([change], until=1), ttl=TTL)
    assert await a.trees.finish("room", [Ended("ann", joined.generation)], seen=BEFORE_ALL, ttl=TTL) == 0
    await a.trees.prepare("room", writer, Prepared([change]), ttl=TTL)
    await a.trees.prepare("room", writer, Prepared([]), ttl=TTL)
    assert await a.trees.finish("room", [Ended("ann", joined.generation)], seen=BEFORE_ALL, ttl=TTL) == 0
    await a.trees.prepare("room", writer, Prepared([change]), ttl=TTL)
    await a.presence.leave(entry, hold=0)
    assert await a.trees.finish("room", [Ended("ann", joined.generation)], seen=BEFORE_ALL, ttl=TTL) == 0
    assert await value(a) is None
    # Its worker has the changes itself, and Redis has taken the leave before.
    assert await a.trees.finish("room", [Ended("ann", 0, Prepared([change]))], seen=BEFORE_ALL, ttl=TTL) == 1
    assert await value(a) == {"x": 1}


async def test_the_end_of_an_earlier_membership_leaves_the_changes_of_a_newer_one(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    entry, earlier = await join(a, "ann")
    await a.presence.leave(entry, hold=0)
    _, newer = await join(a, "ann")
    await a.trees.prepare("room", Writer("ann", newer.generation), Prepared([put("x", 1)]), ttl=TTL)
    assert await a.trees.finish("room", [Ended("ann", earlier.generation)], seen=BEFORE_ALL, ttl=TTL) == 0
    assert await a.trees.finish("room", [Ended("ann", newer.generation)], seen=BEFORE_ALL, ttl=TTL) == 1


async def test_a_member_that_has_left_meanwhile_makes_its_recorded_changes_once(make_worker: MakeWorker) -> None:
    """Its worker, or the one that has taken it over, makes them late; a newer membership keeps its own."""
    a = await make_worker("a")
    entry, joined = await join(a, "ann")
    writer, change = Writer("ann", joined.generation), put("x", 1)
    ended = Ended("ann", joined.generation, left=True)
    await a.trees.prepare("room", writer, Prepared([change]), ttl=TTL)
    await a.presence.leave(entry, hold=0)
    assert await a.trees.finish("room", [ended], seen=BEFORE_ALL, ttl=TTL) == 1
    assert await a.trees.finish("room", [ended], seen=BEFORE_ALL, ttl=TTL) == 0
    _, newer = await join(a, "ann")
    await a.trees.prepare("room", Writer("ann", newer.generation), Prepared([change]), ttl=TTL)
    assert await a.trees.finish("room", [ended], seen=BEFORE_ALL, ttl=TTL) == 0
    assert await a.trees.finish("room", [Ended("ann", newer.generation)], seen=BEFORE_ALL, ttl=TTL) == 1


@pytest.mark.parametrize("how", ["kick", "close"])
async def test_members_that_are_put_out_have_nothing_prepared_any_more(make_worker: MakeWorker, how: str) -> None:
    """Their worker may be dead, so that it cannot forget the changes; their client may come back, and ask for them."""
    a, b = await make_worker("a"), await make_worker("b")
    _, joined = await join(a, "ann")
    await a.trees.prepare("room", Writer("ann", joined.generation), Prepared([put("x", 1)]), ttl=TTL)
    if how == "kick":
        assert await b.rules.kick(Kicking(room="room", peer="ann")) == 1
    else:
        assert await b.rules.close("room") == 1
    assert await b.trees.finish("room", [Ended("ann", 0)], seen=BEFORE_ALL, ttl=TTL) == 0
    assert await value(a) is None


async def test_a_part_of_the_tree_is_read_in_the_step_of_a_change(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await join(a, "ann")
    await write(a, "", {"x": {"old": 1}, "y": 2})
    written = await a.trees.write("room", ANN, merge({"new": {".sv": "timestamp"}}, "x"), ttl=TTL, reads="x")
    part = await a.trees.read("room", "x", ttl=TTL)
    assert written.part == part
    assert [path for path, _ in part.leaves] == ["x/new", "x/old"]
    assert (part.id, part.version, part.members) == (written.id, written.id, 1)
    gone = await a.trees.write("room", ANN, put("", None), ttl=TTL, reads="")
    assert gone.part is not None
    assert (gone.part.leaves, gone.part.members) == ([], 1)
    assert (await a.trees.write("room", ANN, put("z", 1), ttl=TTL)).part is None


async def test_a_change_with_many_paths_takes_out_each_of_them(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await write(a, "", {f"k{number}": {"v": number, ".priority": 1} for number in range(200)} | {"k1-": 1, "k10": 2})
    await a.trees.write("room", ANN, merge({f"k{number}": None for number in range(199)}), ttl=TTL)
    assert await value(a) == {"k1-": 1, "k199": {"v": 199, ".priority": 1}}


async def test_a_node_that_loses_its_last_value_loses_its_priority(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await write(a, "x", {"y": {"z": 1, ".priority": 2}, ".priority": 3})
    await write(a, "x/y/z", None)
    assert await value(a) is None
    await write(a, "x/y/z", 1)
    assert await value(a) == {"x": {"y": {"z": 1}}}
    # A node without a value gets no priority.
    await write(a, "none/.priority", 4)
    assert await value(a) == {"x": {"y": {"z": 1}}}
    await write(a, "x", {"w": 1, ".priority": 5})
    await a.trees.write("room", ANN, merge({"w": None, "v": 2}, "x"), ttl=TTL)
    assert await value(a) == {"x": {"v": 2, ".priority": 5}}
    # The bytes of the priorities that are gone are free again.
    await write(a, "", None)
    await write(a, "", "x" * (MAX_BYTES - 2))
    await write(a, "", None)


async def test_values_that_are_too_old_are_not_read_and_not_expected(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await write(a, "old", 1)
    await asyncio.sleep(1.1)
    part = await a.trees.read("room", "", ttl=1.0)
    assert part.leaves == []
    await a.trees.write("room", ANN, put("more", 3), ttl=1.0, expected=Expected("", b""))
    # The tree itself may have ended by now.
    assert await value(a) in (None, {"more": 3})


async def test_little_memory_refuses_large_values_and_none_refuses_all_but_removals(make_worker: MakeWorker) -> None:
    a = await make_worker("a")
    await write(a, "x", 1)
    report_memory(a, 85)
    await write(a, "small", "x")
    with pytest.raises(Refused, match="memory"):
        await write(a, "large", "x" * 100_000)
    report_memory(a, 95)
    with pytest.raises(Refused, match="memory"):
        await write(a, "small", "y")
    await write(a, "x", None)
    assert await value(a) == {"small": "x"}
