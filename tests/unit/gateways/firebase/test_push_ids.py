"""Keys of messages of other protocols."""

from relay.gateways.firebase.push_ids import push_id
from relay.model.envelope import MessageId


def test_keys_sort_by_time_and_are_those_of_their_messages() -> None:
    keys = [
        push_id(MessageId(1_700_000_000_000, seq), 1_700_000_000 + later)
        for later in (0, 0.001, 9)
        for seq in (1, 2, 70)
    ]
    assert keys == sorted(set(keys))
    assert {len(key) for key in keys} == {20}
    assert all(key.startswith("-N") for key in keys)
