"""Bodies of requests."""

import json
from typing import Any

from relay.model.webhook_events import WebhookEvent
from relay.webhooks.body import encode_body

JOINED = WebhookEvent(type="joined", room="a%20b", position="17-3", time=1_764_406_380_123, peer="p")
BASE = {"time": 1_764_406_380.123, "room": "a%20b", "position": "17-3"}


def body(*events: WebhookEvent, **more: Any) -> Any:
    return json.loads(encode_body(events, now=5_000, **more))


def test_an_event_has_the_fields_that_say_something() -> None:
    assert body(JOINED) == {"events": [{"id": "a%20b/17-3/joined", "type": "joined", "peer": "p"} | BASE]}


def test_a_member_that_joined_has_its_info_and_subject() -> None:
    event = WebhookEvent(
        type="joined", room="r", position="1-1", time=1, peer="p", info=b'{"a":[1,"x y"]}', subject="s", restored=True
    )
    (told,) = body(event)["events"]
    assert (told["info"], told["subject"], told["restored"]) == ({"a": [1, "x y"]}, "s", True)


def test_rooms_have_no_peer_and_a_leave_has_its_reason() -> None:
    left = WebhookEvent(type="left", room="r", position="1-2", time=1, peer="p", reason="lost")
    closed = WebhookEvent(type="room_closed", room="r", position="1-2", time=1, peer="p")
    first, second = body(left, closed)["events"]
    assert (first["id"], first["peer"], first["reason"]) == ("r/1-2/left", "p", "lost")
    assert second == {"id": "r/1-2/room_closed", "type": "room_closed", "time": 0.001, "room": "r", "position": "1-2"}


def test_dropped_events_are_told_first() -> None:
    first, second = body(JOINED, dropped=7, notice="9-1")["events"]
    assert first == {"id": "/9-1/events_dropped", "type": "events_dropped", "time": 5.0, "count": 7}
    assert second["type"] == "joined"
