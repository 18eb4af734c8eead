"""A batch of presence: what it takes, and the change that it becomes."""

from relay.model.envelope import MessageId
from relay.model.events import MemberChanged, MemberJoined, MemberLeft, PresenceChange
from relay.rooms.presence_batch import PresenceBatch, PresenceEvent


def joined(peer: str, seq: int = 1) -> MemberJoined:
    return MemberJoined("room", MessageId(1, seq), peer)


def left(peer: str, seq: int = 1) -> MemberLeft:
    return MemberLeft("room", MessageId(1, seq), peer)


def changed(peer: str, info: bytes, seq: int = 1) -> MemberChanged:
    return MemberChanged("room", MessageId(1, seq), peer, info)


def batch_of(*events: PresenceEvent) -> PresenceBatch:
    batch = PresenceBatch()
    for event in events:
        assert batch.takes(event)
        batch.add(event)
    return batch


def test_events_become_one_change() -> None:
    batch = batch_of(joined("a", 6), joined("b", 7), left("c", 8))
    assert batch.as_change("room") == PresenceChange("room", MessageId(1, 8), ("a", "b"), ("c",))


def test_of_several_infos_of_a_peer_the_newest_is_reported() -> None:
    batch = batch_of(
        changed("a", b"{}", 1), changed("b", b'{"b":1}', 2), changed("a", b'{"a":2}', 3), changed("c", b"", 4)
    )
    info = {"a": b'{"a":2}', "b": b'{"b":1}', "c": b""}
    assert batch.as_change("room") == PresenceChange("room", MessageId(1, 4), (), (), ("a", "b", "c"), info)


def test_the_info_of_a_peer_that_joins_is_no_change() -> None:
    batch = batch_of(joined("a", 1), changed("a", b"{}", 2), changed("b", b"{}", 3))
    expected = PresenceChange("room", MessageId(1, 3), ("a",), (), ("b",), {"a": b"{}", "b": b"{}"})
    assert batch.as_change("room") == expected


def test_a_peer_that_left_has_no_info() -> None:
    assert batch_of(changed("a", b"{}", 1), left("a", 2)).as_change("room") == PresenceChange(
        "room", MessageId(1, 2), (), ("a",)
    )


def test_a_peer_that_leaves_and_joins_needs_two_batches() -> None:
    for first in (joined("a"), left("a")):
        batch = batch_of(first)
        assert [batch.takes(event) for event in (joined("a"), left("a"), joined("b"))] == [False, False, True]
    assert not batch_of(left("a")).takes(changed("a", b"{}"))


def test_the_infos_of_a_batch_have_a_bound() -> None:
    info = b'{"a":"%b"}' % (b"x" * 1000)
    batch = batch_of(*[changed(f"p{number}", info) for number in range(64)])
    assert not batch.takes(changed("one more", info))
    assert batch.takes(joined("one more"))


def test_the_peer_ids_of_a_batch_have_a_bound() -> None:
    batch = batch_of(*[joined(f"{number:02}" + "%D1%8F" * 341) for number in range(31)])
    batch.add(joined("x" * 2000))
    assert not batch.takes(joined("%D1%8F" * 341))
    assert not batch.takes(left("%D1%8F" * 341))
    assert batch.takes(left("short"))
