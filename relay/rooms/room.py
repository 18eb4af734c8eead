"""One room on this worker: its members, and where each of them and the room itself has come to."""

from collections.abc import Callable, Sequence

from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.events import Message, RoomEvent
from relay.rooms.member import Member

_FEW = 4
"""Members among whom it is cheaper to send messages one by one than to put several together first."""


class LocalRoom:
    """One room's members on this worker.

    `joining` are those on the way in: not welcomed yet, or welcomed with an id that the room has not come to. `last` is
    the newest id that was delivered; events up to `passed` may come once more. While what follows `last` is asked for,
    because some of it may be missing, events are `held`; `suspect` says that more may be missing by now.
    """

    __slots__ = (
        "held",
        "joined",
        "joining",
        "last",
        "left",
        "members",
        "name",
        "passed",
        "suspect",
        "told",
        "waiting",
        "watchers",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Member] = {}
        self.joining: dict[Member, None] = {}
        self.watchers: dict[Member, None] = {}
        self.last = BEFORE_ALL
        self.passed = BEFORE_ALL
        self.held: list[RoomEvent] | None = None
        self.suspect = False
        # Joins and leaves not told yet, and who waits for an id to go by.
        self.joined: dict[str, None] = {}
        self.left: dict[str, None] = {}
        self.told = BEFORE_ALL
        self.waiting: list[tuple[MessageId, Callable[[], None]]] = []

    def is_next(self, event: RoomEvent) -> bool:
        """Whether nothing is missing before this event, or it came before; ids have no holes."""
        if event.id <= self.passed:
            return True
        self.passed = BEFORE_ALL
        return self.last in (BEFORE_ALL, (event.id.epoch, event.id.seq - 1))

    def is_followed_by(self, events: Sequence[RoomEvent], newest: MessageId) -> bool:
        """Whether these events are all there are after the last, up to `newest` at least."""
        epoch, seq = self.last
        for event in events:
            seq += 1
            if event.id != (epoch, seq):
                return False
        return newest <= (epoch, seq)

    def resumption(self, events: Sequence[RoomEvent], newest: MessageId) -> MessageId:
        """Where to go on after a loss: ahead of these events, as far as they are of the present epoch."""
        first = next((event.id for event in events if event.id.epoch == newest.epoch), None)
        before = newest if first is None else MessageId(first.epoch, first.seq - 1)
        return max(self.last, min(newest, before))

    def burst(self, events: Sequence[RoomEvent]) -> Sequence[Message] | None:
        """These events, if they are messages for everybody that follow each other and what came before."""
        if len(events) == 1 or self.joining or self.held is not None or len(self.members) < _FEW:
            return None
        epoch, seq = self.last
        messages: list[Message] = []
        for event in events:
            seq += 1
            if not isinstance(event, Message) or event.to or event.id != (epoch, seq):
                return None
            messages.append(event)
        return messages

    @property
    def empty(self) -> bool:
        """Whether nobody is in the room or on the way in."""
        return not self.members and not self.joining
