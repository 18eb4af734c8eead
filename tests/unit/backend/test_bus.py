import pytest

from relay.backend.bus import Stretches, envelope_bytes, no_such_peer, replay_of
from relay.backend.settings import HistorySettings
from relay.model.envelope import MessageId
from relay.model.events import MemberJoined, Message, RoomEvent

FIRST, LAST = MessageId(7, 1), MessageId(7, 3)
EVENTS: list[RoomEvent] = [
    Message("r", MessageId(7, 2), "p", (), "", b"x" * 100),
    MemberJoined("r", LAST, "q"),
]
HISTORY = HistorySettings(size=10, replay_bytes=100)


def test_a_replay_has_all_events_in_between() -> None:
    replay = replay_of(FIRST, LAST, EVENTS, Stretches(), HISTORY)
    assert (replay.id, list(replay.events), replay.lost) == (LAST, EVENTS, "")


@pytest.mark.parametrize(
    ("after", "events", "history", "lost"),
    [
        (MessageId(6, 1), EVENTS, HISTORY, "epoch"),
        (FIRST, EVENTS, HistorySettings(size=10, replay_bytes=99), "too_much"),
        (FIRST, EVENTS[1:], HISTORY, "trimmed"),
        (FIRST, [], HistorySettings(size=0), "off"),
    ],
)
def test_a_replay_that_is_incomplete_has_a_reason_and_no_events(
    after: MessageId, events: list[RoomEvent], history: HistorySettings, lost: str
) -> None:
    replay = replay_of(after, LAST, events, Stretches(), history)
    assert (replay.id, list(replay.events), replay.lost) == (LAST, [], lost)


@pytest.mark.parametrize(
    ("events", "stretches", "skipped"),
    [
        (EVENTS[1:], [(2, 2)], 2),
        (EVENTS[1:], [(9, 9), (1, 3)], 2),
        ([], [(2, 3)], 3),
        ([], [(2, 2), (3, 3)], 0),
        (EVENTS[1:], [(3, 3)], 0),
        (EVENTS[:1], [(1, 3)], 0),
    ],
)
def test_dropped_events_without_a_message_are_skipped(
    events: list[RoomEvent], stretches: list[tuple[int, int]], skipped: int
) -> None:
    replay = replay_of(FIRST, LAST, events, Stretches(stretches, changed=2), HISTORY)
    if skipped:
        assert (replay.lost, list(replay.events)) == ("", events)
        assert (replay.skipped, replay.changed) == (MessageId(7, skipped), True)
    else:
        assert (replay.lost, list(replay.events), replay.skipped) == ("trimmed", [], MessageId(0, 0))


def test_only_envelopes_have_bytes() -> None:
    assert envelope_bytes(EVENTS) == 100


def test_the_error_for_absent_peers_names_some_and_has_all() -> None:
    peers = [f"p{number}" for number in range(100)]
    error = no_such_peer(peers)
    assert (error.code, error.detail) == ("no_such_peer", {"peers": peers})
    assert "p9" in error.text
    assert "p10" not in error.text
