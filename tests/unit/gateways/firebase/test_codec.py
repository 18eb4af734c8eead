"""Frames of the protocol."""

import json

import pytest

from relay.gateways.firebase.codec import IGNORED, PINGED, Asked, ChangeFrame, FirebaseCodec, ForeignFrame, LossFrame
from relay.model.codec import NOTHING, Frame
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame
from relay.model.events import Failure, MemberJoined, Message, TreeMessage

codec = FirebaseCodec()
ID = MessageId(1, 2)


def decoded(frame: object) -> object:
    return codec.decode(Frame(json.dumps(frame).encode()))


def test_requests_and_control_messages() -> None:
    request = {"t": "d", "d": {"r": 3, "a": "p", "b": {"p": "/a", "d": [1, None], "h": "x"}}}
    assert decoded(request) == Asked(3, "p", "/a", [1, None], "x", size=len("[1, null]"))
    assert decoded({"t": "d", "d": {"r": 4, "a": "q", "b": {"p": "/a", "h": "", "q": {"l": 1}}}}).queried  # type: ignore[attr-defined]
    assert not decoded({"t": "d", "d": {"r": 4, "a": "g", "b": {"p": "/a", "q": {}}}}).queried  # type: ignore[attr-defined]
    assert decoded({"t": "c", "d": {"t": "p", "d": {}}}) is PINGED
    assert decoded({"t": "c", "d": {"t": "n", "d": {}}}) is IGNORED
    with pytest.raises(BadFrame, match="binary_frame"):
        codec.decode(Frame(b"{}", is_text=False))


def test_errors_answer_the_request_or_are_logged() -> None:
    denied = json.loads(codec.encode(Failure("not_granted", "no", "request", "7")).data)
    assert denied == {
        "t": "d",
        "d": {"r": 7, "b": {"s": "permission_denied", "d": "Permission denied (not_granted: no)"}},
    }
    full = json.loads(codec.encode(Failure("tree_full", "full", "request", "7")).data)
    assert full["d"]["b"] == {"s": "tree_full", "d": "full"}
    assert json.loads(codec.encode(Failure("bad_json", "what")).data) == {
        "t": "c",
        "d": {"t": "e", "d": "bad_json: what"},
    }


def test_events_of_rooms_are_for_the_session() -> None:
    body = b'{"path":"a","message":1,"from":"x","id":"1-2"'
    tree = codec.encode(TreeMessage("room", ID, "x", (), "", body))
    assert isinstance(tree, ChangeFrame)
    assert tree.change == ("a", b"1", {})
    for envelope, value in ((b'{"message":{"a":1}}', b'{"a":1}'), (b'{"x":1}', b'{"x":1}')):
        sealed = envelope[:-1] + b',"from":"x","id":"1-2"'
        foreign = codec.encode(Message("room", ID, "x", (), "c", sealed))
        assert isinstance(foreign, ForeignFrame)
        assert (foreign.channel, foreign.value, foreign.id, foreign.data) == ("c", value, ID, b"")
    lost = codec.encode(Failure("messages_lost", "", room="room", detail={"id": "1-2"}))
    assert isinstance(lost, LossFrame)
    assert codec.encode(MemberJoined("room", ID, "x")) is NOTHING  # type: ignore[arg-type]
