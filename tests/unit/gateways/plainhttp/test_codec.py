from typing import Any

import msgspec
import pytest

from relay.gateways.plainhttp.codec import END_ID, EventsCodec, PollCodec, PollFrame, closing_block, refusal_block
from relay.model.codec import Frame
from relay.model.envelope import MessageId
from relay.model.errors import GOING_AWAY, KICKED, SLOW, BadFrame, Refused
from relay.model.events import Event, Failure, Message, PresenceChange, Welcome

ID = MessageId(17, 4)


def message(body: bytes) -> Message:
    return Message("room", ID, "alice", (), "", body)


def parsed(block: bytes) -> dict[str, str]:
    """The fields of one block, as a browser reads them."""
    assert block.endswith(b"\n\n")
    fields: dict[str, str] = {}
    for line in block.decode().strip("\n").split("\n"):
        name, _, value = line.partition(": ")
        fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
    return fields


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'{"a":1', '{"a":1}'),
        (b'{\n"a":1', '{\n"a":1}'),
        (b'{\r\n "a":\r1', '{\n "a":\n1}'),
        ('{"a":"é \u2028'.encode() + b'"', '{"a":"é \u2028"}'),
    ],
)
def test_a_message_is_an_event_without_a_name(body: bytes, data: str) -> None:
    assert parsed(EventsCodec().encode(message(body)).data) == {"id": "17-4", "data": data}


def test_an_event_has_its_type_as_its_name() -> None:
    block = parsed(EventsCodec().encode(PresenceChange("room", ID, ["bob"], [])).data)
    assert (block["event"], block["id"]) == ("presence", "17-4")
    assert msgspec.json.decode(block["data"])["joined"] == ["bob"]
    lost = parsed(EventsCodec().encode(Failure("messages_lost", "gone")).data)
    assert lost["event"] == "lost"


def test_a_welcome_tells_of_losses_and_that_there_is_no_history() -> None:
    welcome = Welcome("room", "alice", ID, "key", recovered=False, reason="trimmed")
    first, second = EventsCodec(lossy=True).encode(welcome).data.removesuffix(b"\n\n").split(b"\n\n")
    fields = msgspec.json.decode(parsed(first + b"\n\n")["data"])
    assert (fields["resume"], fields["lossy"]) == ("key", True)
    assert parsed(second + b"\n\n") == {"event": "lost", "data": '{"type":"lost","reason":"trimmed"}'}
    assert b"lossy" not in EventsCodec().encode(welcome).data


@pytest.mark.parametrize(
    ("reason", "ends", "retry"), [(GOING_AWAY, None, "1000"), (SLOW, None, "5000"), (KICKED, END_ID, None)]
)
def test_the_end_of_a_stream_says_whether_to_come_back(reason: Any, ends: str | None, retry: str | None) -> None:
    block = parsed(closing_block(reason))
    assert (block["event"], block.get("id"), block.get("retry")) == ("close", ends, retry)
    assert msgspec.json.decode(block["data"])["reconnect"] is reason.reconnect


def test_a_refusal_that_passes_is_a_stream() -> None:
    block = parsed(refusal_block(Refused("worker_full")))
    assert (block["event"], block["retry"]) == ("error", "5000")
    assert msgspec.json.decode(block["data"])["code"] == "worker_full"


@pytest.mark.parametrize(
    ("event", "cursor"),
    [(message(b'{"a":1'), "17-4"), (PresenceChange("room", ID, ["bob"], []), "17-4"), (Failure("too_fast", ""), "")],
)
def test_items_of_a_poll_know_the_cursor_after_them(event: Event, cursor: str) -> None:
    frame = PollCodec().encode(event)
    assert isinstance(frame, PollFrame)
    assert frame.cursor == cursor
    assert (frame.fields is None) is isinstance(event, Message)


def test_there_are_no_frames_to_read() -> None:
    for codec in (EventsCodec(), PollCodec()):
        with pytest.raises(BadFrame):
            codec.decode(Frame(b"{}"))
