from relay.gateways.websync.ended import EndedSessions
from relay.model.errors import GOING_AWAY, KICKED, REPLACED


def test_only_ends_for_good_are_remembered_and_told_once() -> None:
    ends = EndedSessions()
    for name, reason in (("kicked", KICKED), ("moved", GOING_AWAY), ("replaced", REPLACED)):
        ends.note(name, reason)
    assert [ends.take(name) for name in ("kicked", "moved", "replaced", "kicked")] == [KICKED, None, None, None]


def test_the_oldest_are_forgotten() -> None:
    ends = EndedSessions()
    for number in range(1001):
        ends.note(str(number), KICKED)
    assert ends.take("0") is None
    assert ends.take("1") is KICKED
