import json
from datetime import UTC, datetime
from typing import Any

from relay.gateways.websync.codec import WebSyncCodec
from relay.gateways.websync.connection import DeliveryConnection, SentFrame
from relay.model.codec import NOTHING, Batch, Frame
from relay.model.envelope import MessageId, seal, splice
from relay.model.errors import CloseReason
from relay.model.events import Message, PresenceChange, PresenceList, Present, Roster, ServerEvent, Welcome
from relay.rooms.connection import Transfer

ID = MessageId(1, 9)
CHAT = b'{"websync":{"channels":["/chat"],"records":{"k":"v"}}}'
TIME = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Inner:
    """A connection that keeps its frames."""

    reason: CloseReason | None = None
    lost = False

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def write(self, frame: Frame) -> None:
        self.frames.append(frame)

    def write_batch(self, batch: Batch) -> None:
        self.frames += batch.frames

    def close(self, reason: CloseReason) -> None:
        self.reason = reason

    def pause_reading(self, *, paused: bool) -> None:
        """Do nothing."""

    def transfer(self) -> Transfer | None:
        return None

    def take(self) -> list[Any]:
        frames, self.frames = self.frames, []
        assert all(isinstance(frame, SentFrame) and frame.id == ID for frame in frames)
        return [json.loads(frame.data) for frame in frames]


CODEC = WebSyncCodec("/chat", lambda: TIME)


def connected(*members: Present) -> tuple[DeliveryConnection, Inner]:
    inner = Inner()
    connection = DeliveryConnection(inner, "/chat", lambda: TIME)
    connection.write(CODEC.encode(Welcome("r", "me", ID, "", roster=Roster(len(members), members, ID))))
    return connection, inner


def message(channel: str, sender: str, to: tuple[str, ...] = ()) -> Frame:
    envelope = json.dumps({"channel": channel, "message": 1}).encode()
    return CODEC.encode(Message("r", ID, sender, to, channel, seal(splice(envelope, sender), ID)))


def change(event: ServerEvent) -> Frame:
    return CODEC.encode(event)


def test_deliveries_name_their_publisher_with_its_records() -> None:
    connection, inner = connected(Present("ann", info=CHAT))
    connection.subscriptions.subscribe(["/chat"], "", 10)
    connection.write_batch(Batch([message("/chat", "ann"), message("/other", "ann"), NOTHING]))
    [delivery] = inner.take()
    publisher = delivery["ext"]["fm.publishing"]
    assert publisher["clientId"].endswith(".ann")
    assert publisher["boundRecords"] == {"k": "v"}
    assert (delivery["channel"], delivery["data"]) == ("/chat", 1)


def test_the_own_publication_has_the_own_records() -> None:
    connection, inner = connected()
    connection.subscriptions.subscribe(["/x"], "", 10)
    connection.write(message("/x", "me"))
    [delivery] = inner.take()
    assert delivery["ext"]["fm.publishing"]["boundRecords"] == {}


def test_a_notification_needs_no_subscription() -> None:
    connection, inner = connected()
    connection.write(message("/meta/notify", "bob", ("me",)))
    [delivery] = inner.take()
    assert (delivery["channel"], "fm.notifying" in delivery["ext"]) == ("/meta/notify", True)


def test_changes_of_subscribers_are_told_on_their_channel_alone() -> None:
    connection, inner = connected()
    connection.write(change(PresenceChange("r", ID, joined=["ann"], info={"ann": CHAT})))
    assert not inner.take()
    connection.subscriptions.subscribe(["/fm/subscribers/chat"], "", 10)
    connection.write(change(PresenceChange("r", ID, left=["ann"])))
    connection.write(change(PresenceList("r", Roster(1, (Present("ben", info=CHAT),), ID))))
    told = [one["data"] for one in inner.take()]
    assert [(one["type"], one["client"]["boundRecords"]) for one in told] == [
        ("unsubscribe", {"k": "v"}),
        ("subscribe", {"k": "v"}),
    ]
