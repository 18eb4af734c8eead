"""The option `previous`: each frame names the id before it, so that a client can check that it has missed none.

The id before a frame differs for each client. So the codec, which makes one frame for many clients, only marks the
frame with its id, and the client's connection adds the field. Clients without the option share other frames.
"""

from relay.gateways.base.wrapped_connection import WrappedConnection
from relay.gateways.native.codec import NativeCodec
from relay.model import events
from relay.model.codec import Frame
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.rooms.connection import Connection


class MarkedFrame(Frame):
    """The frame of an event that has an id in a room; `begins` if a client's position begins with it."""

    __slots__ = ("begins", "id", "room")

    def __init__(self, data: bytes, room: str, message_id: MessageId, *, begins: bool) -> None:
        super().__init__(data)
        self.room = room
        self.id = message_id
        self.begins = begins


class MarkingCodec(NativeCodec):
    """A `NativeCodec` whose frames are marked with their ids; for a `PreviousConnection`."""

    def __init__(self, *, tagged: bool = False) -> None:
        super().__init__(tagged=tagged)
        self.key += "+previous"

    def encode(self, event: events.Event) -> Frame:
        """Write an event; mark it if it has an id."""
        frame = super().encode(event)
        message_id = _id_of(event)
        if message_id is None or message_id == BEFORE_ALL:
            return frame
        begins = isinstance(event, events.Welcome | events.Observing | events.Failure)
        return MarkedFrame(frame.data, event.room, message_id, begins=begins)


class PreviousConnection(WrappedConnection):
    """A `Connection` that adds `previous` to marked frames: the position that the client had before the frame.

    A welcome and `messages_lost` get no such field: with them the client's position begins.
    """

    def __init__(self, inner: Connection) -> None:
        super().__init__(inner)
        self._positions: dict[str, MessageId] = {}

    def write(self, frame: Frame) -> None:
        """Write a frame; one that is marked is written with its `previous`."""
        self._inner.write(self._completed(frame) if isinstance(frame, MarkedFrame) else frame)

    def _completed(self, frame: MarkedFrame) -> Frame:
        before = self._positions.get(frame.room)
        if frame.begins or before is None:
            self._positions[frame.room] = frame.id
            return frame
        self._positions[frame.room] = max(before, frame.id)
        return Frame(b'%s,"previous":"%s"}' % (frame.data[:-1], before.encode()))


def _id_of(event: events.Event) -> MessageId | None:
    """Return the id in an event's frame."""
    match event:
        case events.Message() | events.PresenceChange() | events.Ack() | events.Pong():
            return event.id
        case events.Welcome() | events.Recovered():
            return event.id
        case events.RulesChanged() | events.Kicked() | events.RoomClosed() | events.Moved():
            return event.id
        case events.PresenceList() | events.Observing():
            return event.roster.id
        case events.Failure(detail={"id": str(text)}):
            return MessageId.parse(text)
    return None
