"""The frames that a client gets of the events of its rooms."""

import json
from collections.abc import Sequence

import pytest

from relay.gateways.firebase.codec import ChangeFrame, ForeignFrame, TreeEventFrame
from relay.gateways.firebase.listens import Listens
from relay.gateways.firebase.places import Places, TreePlace
from relay.model.envelope import MessageId
from relay.model.tree import json_at
from relay.model.tree_envelopes import ReadChange


def change(seq: int, path: str, value: bytes) -> ChangeFrame:
    return ChangeFrame("room", MessageId(1, seq), ReadChange(path, value, {}))


def texts(frames: object) -> list[str]:
    return [frame.data.decode().partition('"b":')[2][:-2] for frame in frames]  # type: ignore[attr-defined]


def test_events_that_come_while_a_value_is_read_follow_it() -> None:
    listens = Listens(Places())
    listen = listens.add(TreePlace("room", "a"), 0.0)
    assert [listens.frames(change(seq, "a/b", b"%d" % seq)) for seq in (1, 2, 3)] == [[], [], []]
    assert texts(listens.read(listen, MessageId(1, 1))) == ['{"p":"room/a/b","d":2}', '{"p":"room/a/b","d":3}']
    assert listens.frames(change(1, "a/b", b"1")) == []
    assert texts(listens.frames(change(4, "a", b"null"))) == ['{"p":"room/a","d":null}']
    assert listens.frames(change(5, "other", b"1")) == []
    listens.remove(listen.place)
    assert not listens.has(listen)
    assert listens.frames(change(6, "a/b", b"1")) == []


def test_a_frame_is_made_once_for_all_clients_with_the_same_listens() -> None:
    made = []
    frame = change(1, "a", b'{"b":1}')
    for _ in range(2):
        listens = Listens(Places())
        listens.read(listens.add(TreePlace("room", "a/b"), 0.0), MessageId(1, 0))
        made += listens.frames(frame)
    assert made[0] is made[1]
    assert texts(made[:1]) == ['{"p":"room/a/b","d":1}']


def test_a_listen_below_a_change_looks_at_its_own_leaves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else hundreds of listens below thousands of leaves keep the worker busy for half a second, for each client."""
    seen = 0

    def counting(leaves: Sequence[tuple[str, bytes]], path: str) -> bytes:
        nonlocal seen
        seen += len(leaves)
        return json_at(leaves, path)

    monkeypatch.setattr("relay.gateways.firebase.listens.json_at", counting)
    value = {"a": {"b": 1, ".priority": 2}, "a-": 3, "a0": 4, "é": {"xy": 5}, "z": "text"}
    listens = Listens(Places())
    for path in ("d/a", "d/a/b", "d/a0", "d/é", "d/none"):
        listens.read(listens.add(TreePlace("room", path), 0.0), MessageId(1, 0))
    assert texts(listens.frames(change(1, "d", json.dumps(value).encode()))) == [
        '{"p":"room/d/a","d":{"b":1,".priority":2}}',
        '{"p":"room/d/a/b","d":1}',
        '{"p":"room/d/a0","d":4}',
        '{"p":"room/d/é","d":{"xy":5}}',
        '{"p":"room/d/none","d":null}',
    ]
    # With that beside it whose name begins alike.
    assert seen <= 2 + 1 + 1 + 1 + 1


def test_messages_of_others_are_children_at_their_channel() -> None:
    listens = Listens(Places())
    listens.read(listens.add(TreePlace("room", "chat"), 0.0), MessageId(1, 0))
    assert listens.frames(ForeignFrame("room", MessageId(1, 1), "other", b"1")) == []
    assert listens.frames(TreeEventFrame("room", MessageId(1, 1))) == []
    (text,) = texts(listens.frames(ForeignFrame("room", MessageId(1, 2), "chat", b'{"x":1}')))
    assert text.startswith('{"p":"room/chat/-')
    assert text.endswith('","d":{"x":1}}')
