"""The number of replicas that a message waits for."""

import pytest

from relay.backend.redis.in_sync import InSyncReplicas
from relay.model.errors import OutcomeUnknown


def info(*replicas: tuple[str, int]) -> bytes:
    lines = [f"slave{at}:ip=::1,port=1,state={state},offset=7,lag={lag}" for at, (state, lag) in enumerate(replicas)]
    return "\r\n".join(["# Replication", "role:master", *lines, "master_repl_offset:7", ""]).encode()


@pytest.mark.parametrize(
    ("replicas", "needed"),
    [
        ([], 1),
        ([("online", 0)], 1),
        ([("online", 0), ("online", 1), ("online", 2)], 3),
        ([("online", 0), ("online", 3)], 1),
        ([("online", 0), ("wait_bgsave", 0), ("send_bulk", 0)], 1),
    ],
)
def test_messages_wait_for_replicas_that_have_all_data_and_answer(replicas: list[tuple[str, int]], needed: int) -> None:
    in_sync = InSyncReplicas(1, 3.0)
    in_sync.count("run", info(*replicas))
    assert (in_sync.needed, in_sync.has_spare) == (needed, needed > 1)


def test_they_wait_for_as_many_as_the_setting_says_at_least() -> None:
    in_sync = InSyncReplicas(2, 3.0)
    in_sync.count("run", info(("online", 0)))
    assert (in_sync.needed, in_sync.has_spare) == (2, False)
    in_sync.count("run", info(*[("online", 0)] * 3))
    in_sync.lack(0)
    assert in_sync.needed == 2


def test_a_replica_that_leaves_counts_until_a_message_lacks_it() -> None:
    in_sync = InSyncReplicas(1, 3.0)
    in_sync.count("run", info(("online", 0), ("online", 0)))
    in_sync.count("run", info(("online", 0)))
    assert in_sync.needed == 2
    in_sync.lack(1)
    assert in_sync.needed == 1
    in_sync.count("run", info(("online", 0), ("online", 0)))
    assert in_sync.needed == 2


def test_another_run_has_replicas_of_its_own() -> None:
    in_sync = InSyncReplicas(1, 3.0)
    in_sync.count("run", info(("online", 0), ("online", 0)))
    in_sync.count("other", info())
    assert in_sync.needed == 1


@pytest.mark.parametrize("reply", [Exception("NOPERM"), OutcomeUnknown(), b"", b"\xff", "OK", None])
def test_a_reply_that_does_not_tell_them_changes_nothing(reply: object) -> None:
    in_sync = InSyncReplicas(1, 3.0)
    in_sync.count("run", info(("online", 0), ("online", 0)))
    in_sync.count("run", reply)
    assert in_sync.needed == 2
