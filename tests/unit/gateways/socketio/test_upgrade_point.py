"""The bytes of polls and of the WebSocket after them; test_application_connection.py has them in a session."""

from relay.gateways.socketio.upgrade_point import UpgradePoint
from relay.rooms.connection import Transfer

POINT = UpgradePoint(Transfer(100, 80), 50)


def test_nothing_more_has_arrived_before_all_that_no_poll_had_taken() -> None:
    assert POINT.go_on(Transfer(60, 49)) == Transfer(110, 80)


def test_bytes_go_on_from_those_of_the_polls() -> None:
    assert POINT.go_on(Transfer(60, 50)) == Transfer(110, 100)
    assert POINT.go_on(Transfer(60, 60)) == Transfer(110, 110)
