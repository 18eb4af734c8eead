"""The number of replicas that a message waits for."""

import pytest

from relay.backend.redis.in_sync import InSyncReplicas
from relay.model.errors import OutcomeUnknown


def info(written: int, *replicas: tuple[str, int], state: str = "online") -> bytes:
    """Return the reply of a master that has written so many bytes, to replicas by name that have so many of them."""
    lines = [
        f"slave{at}:ip={ip},port=1,state={state},offset={offset},lag=0" for at, (ip, offset) in enumerate(replicas)
    ]
    return "\r\n".join(["# Replication", "role:master", *lines, f"master_repl_offset:{written}", ""]).encode()


@pytest.mark.parametrize(("least", "needed"), [(1, 2), (2, 2), (3, 3)])
def test_messages_wait_for_all_and_for_as_many_as_the_setting_says_at_least(least: int, needed: int) -> None:
    in_sync = InSyncReplicas(least, 3.0)
    assert in_sync.needed == least
    in_sync.count("run", info(10, ("a", 10), ("b", 9)), 1.0)
    assert (in_sync.needed, in_sync.has_spare) == (needed, needed > least)


def test_a_replica_that_does_not_have_all_data_yet_does_not_count() -> None:
    in_sync = InSyncReplicas(1, 3.0)
    in_sync.count("run", info(10, ("a", 10), ("b", 10), state="wait_bgsave"), 1.0)
    assert in_sync.needed == 1


def test_a_replica_that_leaves_counts_for_a_while_and_again_when_it_is_back() -> None:
    in_sync = InSyncReplicas(1, 3.0)
    in_sync.count("run", info(10, ("a", 10), ("b", 10)), 1.0)
    for now, needed in ((2.0, 2), (4.9, 2), (5.0, 1)):
        in_sync.count("run", info(10, ("a", 10)), now)
        assert in_sync.needed == needed
    in_sync.count("run", info(10, ("a", 10), ("b", 10)), 6.0)
    assert in_sync.needed == 2


def test_the_time_counts_from_the_first_count_that_lacks_it() -> None:
    """The master of the past stood still meanwhile."""
    in_sync = InSyncReplicas(1, 3.0)
    in_sync.count("run", info(10, ("a", 10), ("b", 10)), 1.0)
    in_sync.count("run", info(10, ("a", 10)), 100.0)
    assert in_sync.needed == 2


def test_each_replica_has_its_own_time_and_another_one_does_not_stand_in_for_it() -> None:
    in_sync = InSyncReplicas(1, 3.0)
    in_sync.count("run", info(10, ("a", 10), ("b", 10)), 1.0)
    in_sync.count("run", info(10, ("b", 10)), 2.0)
    in_sync.count("run", info(10, ("c", 10)), 4.0)
    assert in_sync.needed == 3
    in_sync.count("run", info(10, ("c", 10)), 5.0)
    assert in_sync.needed == 2
    in_sync.count("run", info(10, ("c", 10)), 7.0)
    assert in_sync.needed == 1


def test_a_replica_that_is_behind_by_more_than_a_second_counts_no_more() -> None:
    in_sync = InSyncReplicas(1, 3.0)
    found = []
    for now in range(10):
        # One second behind, and three.
        in_sync.count("run", info(10 * now, ("a", max(0, 10 * now - 10)), ("b", max(0, 10 * now - 30))), float(now))
        found.append(in_sync.needed)
    assert found == [2] * 5 + [1] * 5


def test_another_run_has_replicas_of_its_own() -> None:
    in_sync = InSyncReplicas(1, 3.0)
    in_sync.count("run", info(10, ("a", 10), ("b", 10)), 1.0)
    in_sync.count("other", info(5), 2.0)
    assert in_sync.needed == 1
    in_sync.count("other", info(5, ("a", 5), ("c", 5)), 3.0)
    assert in_sync.needed == 2


@pytest.mark.parametrize("reply", [Exception("NOPERM"), OutcomeUnknown(), b"", b"\xff", "OK", None, b"role:slave\r\n"])
def test_a_reply_that_does_not_tell_them_changes_nothing(reply: object) -> None:
    in_sync = InSyncReplicas(1, 3.0)
    in_sync.count("run", info(10, ("a", 10), ("b", 10)), 1.0)
    in_sync.count("other", reply, 50.0)
    assert in_sync.needed == 2
