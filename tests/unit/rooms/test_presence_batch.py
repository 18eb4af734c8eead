"""A batch of presence: the events that it takes, and the change that it becomes."""

import random

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
    assert batch.changes("room") == [PresenceChange("room", MessageId(1, 8), ("a", "b"), ("c",))]


def test_of_several_infos_of_a_peer_the_newest_is_reported() -> None:
    batch = batch_of(
        changed("a", b"{}", 1), changed("b", b'{"b":1}', 2), changed("a", b'{"a":2}', 3), changed("c", b"", 4)
    )
    info = {"a": b'{"a":2}', "b": b'{"b":1}', "c": b""}
    assert batch.changes("room") == [PresenceChange("room", MessageId(1, 4), (), (), ("a", "b", "c"), info)]


def test_the_info_of_a_peer_that_joins_is_no_change() -> None:
    batch = batch_of(joined("a", 1), changed("a", b"{}", 2), changed("b", b"{}", 3))
    expected = PresenceChange("room", MessageId(1, 3), ("a",), (), ("b",), {"a": b"{}", "b": b"{}"})
    assert batch.changes("room") == [expected]


def test_a_peer_that_left_has_no_info() -> None:
    batch = batch_of(changed("a", b"{}", 1), left("a", 2))
    assert batch.changes("room") == [PresenceChange("room", MessageId(1, 2), (), ("a",))]


def test_a_peer_that_joins_and_leaves_again_is_not_reported() -> None:
    batch = batch_of(*[event for seq in range(1, 1000, 2) for event in (joined("a", seq), left("a", seq + 1))])
    assert batch.changes("room") == []
    batch.add(joined("b", 1001))
    assert batch.changes("room") == [PresenceChange("room", MessageId(1, 1001), ("b",))]


def test_a_peer_that_leaves_and_joins_is_another_client_and_two_changes() -> None:
    batch = batch_of(left("a", 5), left("b", 6), joined("a", 7), changed("a", b"{}", 8))
    before, after = PresenceChange("room", MessageId(1, 4), (), ("a",)), ("a",)
    assert batch.changes("room") == [
        before,
        PresenceChange("room", MessageId(1, 8), after, ("b",), (), {"a": b"{}"}),
    ]
    batch.add(left("a", 9))
    assert batch.changes("room") == [PresenceChange("room", MessageId(1, 9), (), ("a", "b"))]


def test_a_latecomer_is_told_of_changes_that_its_list_lacks() -> None:
    batch = batch_of(joined("a", 5), joined("b", 6), left("a", 7), joined("c", 8), left("d", 9))
    assert batch.changes("room", MessageId(1, 9)) == []
    assert batch.changes("room", MessageId(1, 8)) == [PresenceChange("room", MessageId(1, 9), (), ("d",))]
    assert batch.changes("room", MessageId(1, 6)) == [PresenceChange("room", MessageId(1, 9), ("c",), ("d", "a"))]
    batch.add(joined("a", 10))
    assert batch.changes("room", MessageId(1, 6)) == [
        PresenceChange("room", MessageId(1, 6), (), ("a",)),
        PresenceChange("room", MessageId(1, 10), ("c", "a"), ("d",)),
    ]


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


def test_the_changes_for_a_latecomer_add_up_from_every_list() -> None:
    """No change names a peer as left that the latecomer's list lacks, or as joined that it has."""
    draw = random.Random(5)
    for _ in range(200):
        members = {peer for peer in "abc" if draw.random() < 0.5}
        batch, lists = PresenceBatch(), {10: set(members)}
        for seq in range(11, 11 + draw.randrange(1, 14)):
            peer = draw.choice("abc")
            batch.add(left(peer, seq) if peer in members else joined(peer, seq))
            members ^= {peer}
            lists[seq] = set(members)
        for seq, known in lists.items():
            for change in batch.changes("room", MessageId(1, seq)):
                assert set(change.left) <= known
                known -= set(change.left)
                assert not set(change.joined) & known
                known |= set(change.joined)
            assert known == members
