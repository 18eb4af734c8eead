import pytest

from relay.gateways.xmpp.checkpoint import Checkpoint, RoomReached
from relay.gateways.xmpp.codec import RoomFrame, XmppCodec
from relay.gateways.xmpp.reading import read
from relay.gateways.xmpp.resumption import (
    ResumeRequest,
    RoomReplay,
    enabled,
    failed,
    joins_of,
    keyed,
    membership_key,
    read_request,
)
from relay.model import events
from relay.model.commands import Join
from relay.model.envelope import MessageId, seal, splice

CODEC = XmppCodec("localhost")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('previd="k" h="3"', ResumeRequest("k", 3, 1.5)),
        ('previd="" h="3"', None),
        ('previd="k"', None),
        ('previd="k" h="-1"', None),
        ('previd="k" h="99999999999"', None),
        (f'previd="{"k" * 65}" h="3"', None),
    ],
)
def test_reads_the_request(attributes: str, expected: object) -> None:
    assert read_request(read(f'<resume xmlns="urn:xmpp:sm:3" {attributes}/>'.encode()).root, 1.5) == expected


def test_the_key_of_a_membership_is_of_this_stream_room_and_peer() -> None:
    keys = {membership_key(*one) for one in (("k", "r", "p"), ("l", "r", "p"), ("k", "s", "p"), ("k", "r", "q"))}
    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)
    join = keyed(Join("r", peer="p"), "k")
    assert (join.resume, join.own_key, join.next_key) == (membership_key("k", "r", "p"), True, "")
    join = keyed(Join("r", peer="p"), "k", "former")
    assert (join.resume, join.next_key) == (membership_key("former", "r", "p"), membership_key("k", "r", "p"))
    checkpoint = Checkpoint("u", "res", "localhost", "", 0, 0, 0, [RoomReached("r", "p", 1, 2)], [])
    (join,) = joins_of(checkpoint, ResumeRequest("k", 0, 1.5))
    assert (join.room, join.peer, join.since, join.resume) == ("r", "p", "1-2", membership_key("k", "r", "p"))
    assert join.arrived == 1.5


def take(replay: RoomReplay, event: events.Event) -> None:
    frame = CODEC.encode(event)
    assert isinstance(frame, RoomFrame)
    replay.take(frame)


def test_a_replay_is_complete_when_each_room_is_recovered() -> None:
    replay, identifier = RoomReplay(10_000), MessageId(1, 3)
    take(replay, events.Welcome("r", "p", MessageId(1, 2), "k", resumed=True, recovered=True))
    take(replay, events.Message("r", identifier, "ben", (), "", seal(splice(b"{}", "ben"), identifier)))
    take(replay, events.PresenceChange("r", MessageId(1, 5), joined=["a"], left=["b"]))
    assert [(one.id.seq, one.logged) for one in replay.stanzas["r"]] == [(3, True), (5, False), (5, False)]
    assert replay.is_complete({"r": 1})
    assert not replay.is_complete({"r": 1, "s": 1})
    take(replay, events.Welcome("s", "p", MessageId(1, 2), "k", resumed=True, recovered=False))
    assert not replay.is_complete({"r": 1, "s": 1})


def test_a_replay_is_bounded_in_bytes() -> None:
    replay = RoomReplay(1000)
    take(replay, events.Welcome("r", "p", MessageId(1, 2), "k", resumed=True, recovered=True))
    for number in range(3, 100):
        take(replay, events.PresenceChange("r", MessageId(1, number), joined=["a"]))
    assert len(replay.stanzas["r"]) < 4
    assert not replay.is_complete({"r": 1})


def test_the_answers() -> None:
    assert enabled("k", 15).text == '<enabled xmlns="urn:xmpp:sm:3" id="k" resume="true" max="15"/>'
    assert enabled("", 15).text == '<enabled xmlns="urn:xmpp:sm:3"/>'
    assert "<item-not-found" in failed("item-not-found").text
