"""The state of one room on this worker: its members and observers, its position in the room's order, and its gaps.

Pure state: nothing here writes to a connection or waits for Redis. The hub acts on the results of these methods.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.events import Loss, Message, Replay, RoomEvent
from relay.rooms.member import Listener, Member
from relay.rooms.observer import Observer, RoomObservers
from relay.rooms.presence_batch import PresenceBatch

NOT_BEGUN: Final = MessageId(0, 1)
"""The position of a room of which Redis has no state, and which only has observers here."""

_FEW: Final = 4
"""Up to this many members, writing message by message is cheaper than joining the messages of a burst first."""

_MOST_BUFFERED = 5000
"""Events of a room that are buffered while a gap is recovered."""

_MOST_MARKS = 500
"""Events that were read from the history, and are remembered until the first event that follows them."""

_MOST_FOREIGN = 4
"""Epochs of other fleets that are remembered; events of one that is not remembered cost a look into the history."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a gap ends: `events` are to be delivered, those read from the history (`replayed` of them) come first.

    If something is `lost`, the members are sent an error, and the room goes on from `resume_at`. `newest` is the newest
    id that the history knew.
    """

    events: Sequence[RoomEvent]
    replayed: int
    newest: MessageId
    lost: Loss
    resume_at: MessageId
    foreign: Collection[int] = ()
    """Epochs of other fleets, whose events were buffered as well; they are not among `events`."""


class Budget:
    """How many deliveries of a room are left, negative if some are owed, and when that was so; see `FanOut`."""

    __slots__ = ("left", "updated")

    def __init__(self, left: float, updated: float) -> None:
        self.left = left
        self.updated = updated


class LocalRoom:
    """One room's members and observers on this worker.

    Both are `joining` until the room has reached the id of their welcome: before their welcome, events are kept in
    their backlog; after it, events up to that id are not for them. `watchers` are those that asked for presence.
    `watched` tells whether there are any, here or on another worker.
    `observers` is None for a room without observers here.

    `last` is the newest id that was delivered. Ids have no holes, so the next event has to be the one after it. When it
    is not, or the bus reports a gap, a *gap recovery* reads the missing events from the history. Until that is done,
    events are `buffered` (None: no recovery is under way); `gap_suspected` means that the bus reported a gap since the
    history was last read, so that it has to be read once more. Events up to `replayed_to` were read from the history,
    and may arrive over the bus as well; `marks` tell whether they are the same. `changed` is the newest id at which
    members or infos changed.

    After a failover, a master of the past may go on for a moment, and give ids to other events. Such an event is
    `doubted`: its id was passed already. The history shows which events are the room's; it is `asked` once it is read
    from the doubted event on.
    """

    __slots__ = (
        "arrivals",
        "asked",
        "budget",
        "buffered",
        "changed",
        "doubted",
        "foreign",
        "gap_suspected",
        "joining",
        "last",
        "marks",
        "members",
        "name",
        "observers",
        "on_delivered",
        "presence_due",
        "read_with",
        "replayed_to",
        "unsent",
        "watched",
        "watchers",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Member] = {}
        self.joining: dict[Listener, None] = {}
        self.watchers: dict[Listener, None] = {}
        self.watched = False
        self.observers: RoomObservers | None = None
        self.last = BEFORE_ALL
        self.changed = BEFORE_ALL
        self.replayed_to = BEFORE_ALL
        self.marks: dict[MessageId, int] | None = None
        self.buffered: list[RoomEvent] | None = None
        self.gap_suspected = False
        self.doubted: RoomEvent | None = None
        self.asked = False
        # Epochs of other fleets on this room's Redis channel, and how many events were buffered when reading began.
        self.foreign: tuple[int, ...] = ()
        self.read_with = 0
        # Presence that the watchers were not sent yet.
        self.unsent: PresenceBatch | None = None
        # When they may be sent the next changes, on the worker's clock.
        self.presence_due = 0.0
        # The budget of deliveries; None while the room is small.
        self.budget: Budget | None = None
        # Callbacks that wait for an id to be delivered, in the order of these ids. An empty deque takes 700 bytes, and
        # most rooms are idle: it is made on first use.
        self.on_delivered: deque[tuple[MessageId, Callable[[], None]]] | None = None
        # Callbacks that wait for peers to join, by peer id; None while there are none.
        self.arrivals: dict[str, dict[Callable[[], None], None]] | None = None

    # Members and observers.

    @property
    def empty(self) -> bool:
        """Whether the room has neither members nor observers here, not even joining ones."""
        return not self.members and not self.joining and self.observers is None

    @property
    def has_members(self) -> bool:
        """Whether the room has members here, welcomed or joining."""
        return bool(self.members) or any(isinstance(listener, Member) for listener in self.joining)

    def welcomed(self) -> Iterator[Listener]:
        """Every welcomed member, and every welcomed observer that sees more than the number of members."""
        yield from self.members.values()
        if self.observers is not None:
            yield from self.observers.listening
        yield from (listener for listener in self.joining if listener.welcomed)

    def welcomed_members(self) -> Iterator[Member]:
        """Every welcomed member."""
        yield from self.members.values()
        yield from (listener for listener in self.joining if isinstance(listener, Member) and listener.welcomed)

    def of_peer(self, peer: str) -> list[Member]:
        """The members with this peer id, joining ones included: more than one while a newer connection takes over."""
        joining = [one for one in self.joining if isinstance(one, Member) and one.peer == peer]
        member = self.members.get(peer)
        return joining if member is None else [member, *joining]

    def has(self, member: Member) -> bool:
        """Whether the member was welcomed, and has neither left nor been replaced since."""
        return self.members.get(member.peer) is member or (member in self.joining and member.welcomed)

    def stage(self, listener: Listener) -> None:
        """Add a member or an observer that waits for its welcome."""
        self.joining[listener] = None
        if isinstance(listener, Observer):
            self.observers = self.observers or RoomObservers()
            self.observers.size += 1

    def promote(self, listener: Listener) -> None:
        """Move a listener out of `joining`: the room has reached the id of its welcome; later events are for it."""
        del self.joining[listener]
        if isinstance(listener, Member):
            self.members[listener.peer] = listener
        elif isinstance(listener, Observer) and self.observers is not None:
            self.observers.add(listener)
        if listener.presence:
            self.watchers[listener] = None

    def remove(self, member: Member) -> bool:
        """Take a member out; False if it was not welcomed, or has left before."""
        was_member = self.has(member)
        self.watchers.pop(member, None)
        self.joining.pop(member, None)
        if self.members.get(member.peer) is member:
            del self.members[member.peer]
        return was_member

    def remove_observer(self, observer: Observer) -> bool:
        """Take an observer out; False if it was taken out before."""
        observers = self.observers
        if observers is None or not (observer in self.joining or observer in observers):
            return False
        self.watchers.pop(observer, None)
        self.joining.pop(observer, None)
        observers.remove(observer)
        if not observers.size:
            self.observers = None
        return True

    def offer_to_joining(self, event: RoomEvent) -> list[Listener]:
        """Keep an event that is about to be delivered for listeners that wait for their welcome.

        Returns the listeners whose welcome has an earlier id; the hub promotes them first.
        """
        due = []
        for listener in self.joining:
            # Until the welcome its id is not known, so any event may be newer than it.
            if not listener.welcomed:
                listener.keep(event)
            elif event.id > listener.since:
                due.append(listener)
        return due

    def due_for_promotion(self) -> list[Listener]:
        """The joining members and observers whose welcome has an id that the room has reached."""
        return [listener for listener in self.joining if listener.welcomed and self.last >= listener.since]

    # Order.

    def wait_for(self, message_id: MessageId, callback: Callable[[], None]) -> None:
        """Note a callback that waits until the events up to this id are delivered."""
        if self.on_delivered is None:
            self.on_delivered = deque()
        waiting = self.on_delivered
        # Redis answers in the order of ids, so that nearly all are added at the end.
        at = len(waiting)
        while at and waiting[at - 1][0] > message_id:
            at -= 1
        waiting.insert(at, (message_id, callback))

    def await_arrival(self, peer: str, callback: Callable[[], None]) -> None:
        """Note a callback that is called each time that this peer joins, until `forget_arrival`."""
        if self.arrivals is None:
            self.arrivals = {}
        self.arrivals.setdefault(peer, {})[callback] = None

    def forget_arrival(self, peer: str, callback: Callable[[], None]) -> None:
        """Forget a callback of `await_arrival`."""
        waiting = (self.arrivals or {}).get(peer)
        if self.arrivals is not None and waiting is not None:
            waiting.pop(callback, None)
            if not waiting:
                del self.arrivals[peer]
            if not self.arrivals:
                self.arrivals = None

    def begin_at(self, message_id: MessageId) -> None:
        """Begin at the id of the first welcome here: events up to it that still arrive are for no listener here.

        `BEFORE_ALL`: Redis has no state of the room, and an observer waits for its beginning.
        """
        if message_id == BEFORE_ALL:
            self.last = NOT_BEGUN
        else:
            self.last = self.replayed_to = message_id

    def is_next(self, event: RoomEvent) -> bool:
        """Whether nothing is missing before this event, or it was replayed before."""
        if event.id <= self.replayed_to:
            return not self._differs(event)
        # Events of an epoch arrive in order: no replayed one can follow any more. One of another fleet says nothing.
        if self.replayed_to is not BEFORE_ALL and event.id.epoch == self.replayed_to.epoch:
            self.expect_no_duplicates()
        epoch, seq = event.id
        last = self.last
        if (last[1] == seq - 1 and last[0] == epoch) or last == BEFORE_ALL:
            return True
        # The first welcome here tells which of two epochs is the room's; until then, none of them has a hole.
        return epoch != last.epoch and self.is_unheard()

    def is_unheard(self, welcoming: Listener | None = None) -> bool:
        """Whether events arrived for listeners none of which has been welcomed yet, but for one that is right now."""
        return (
            bool(self.joining)
            and self.last > BEFORE_ALL
            and self.last != NOT_BEGUN
            and not self.members
            and self.observers is None
            and not any(one.welcomed for one in self.joining if one is not welcoming)
        )

    def begins_anew(self, event: RoomEvent) -> bool:
        """Whether nothing is missing before this event since it is the first of a new epoch, and no member is here.

        Redis forgets a room that has no members for long, and its observers do not renew it. All its events up to then
        have arrived here, unless the bus reported a gap.
        """
        return event.id.seq == 1 and event.id > self.last and not self.members and not self.gap_suspected

    def wants(self, event: RoomEvent) -> bool:
        """Whether an event is needed: it is to be buffered, or was not delivered before."""
        return self.recovering or event.id > self.last

    def burst(self, events: Sequence[RoomEvent]) -> Sequence[Message] | None:
        """These events, if they are messages for all members that follow each other and the last one delivered."""
        if self.joining or self.buffered is not None or len(self.members) < _FEW:
            return None
        # Any hole, join or addressed message in between needs the general way, one event at a time.
        epoch, seq = self.last
        messages: list[Message] = []
        for event in events:
            seq += 1
            if not isinstance(event, Message) or event.to or event.id != (epoch, seq):
                return None
            messages.append(event)
        return messages

    # Gaps.

    def suspect_gap(self, *, resubscribed: bool) -> bool:
        """Note that events may be missing. Returns whether a recovery is to begin now.

        Duplicates that are expected from the old subscription cannot arrive any more if the bus has `resubscribed`.
        Else those that are known may, and other events whose ids were passed are doubted.
        """
        self.gap_suspected = True
        # A recovery under way reads the history once more; see `begin_reading`.
        if self.buffered is not None:
            return False
        if resubscribed:
            self.expect_no_duplicates()
        self.replayed_to = BEFORE_ALL
        # Before the first welcome there is nothing that a member has missed; `needs_recovery` is asked after it.
        return self.last != BEFORE_ALL

    def expect_duplicates(self, recovery: Recovery) -> None:
        """Note that the events of a recovery that were read from the history may arrive over the bus as well."""
        read = {event.id: _mark(event) for event in recovery.events[: recovery.replayed]}
        self.marks = dict(list({**(self.marks or {}), **read}.items())[-_MOST_MARKS:])
        self.replayed_to = max(self.replayed_to, recovery.newest)

    def expect_no_duplicates(self) -> None:
        """Note that no event that was read from the history can arrive over the bus any more."""
        self.replayed_to, self.marks = BEFORE_ALL, None

    def repeats(self, event: RoomEvent) -> bool:
        """Whether an event was read from the history, and delivered: the very same one arrives over the bus."""
        return event.id <= self.last and self.marks is not None and self.marks.get(event.id) == _mark(event)

    def doubts(self, event: RoomEvent) -> bool:
        """Whether the id of an event was passed with another event, or with one that is not known; note that."""
        if event.id > self.last or event.id.epoch != self.last.epoch:
            return False
        if event.id <= self.replayed_to and not self._differs(event):
            return False
        if self.doubted is None:
            self.doubted = event
        self.gap_suspected = True
        return True

    def _differs(self, event: RoomEvent) -> bool:
        return self.marks is not None and self.marks.get(event.id, mark := _mark(event)) != mark

    def buffer(self, *events: RoomEvent) -> bool:
        """Keep events until the ones before them are known. Returns whether that begins a recovery."""
        begins = self.buffered is None
        if self.buffered is None:
            self.buffered = []
        self.buffered.extend(events)
        if len(self.buffered) > _MOST_BUFFERED:
            # They are in the history as well, which has to be read again then.
            self.buffered.clear()
            self.read_with = 0
            self.gap_suspected = True
        return begins

    @property
    def recovering(self) -> bool:
        """Whether a gap is being recovered, and events are buffered."""
        return self.buffered is not None

    @property
    def needs_recovery(self) -> bool:
        """Whether a gap is suspected that no recovery looks for."""
        return self.gap_suspected and self.buffered is None

    def begin_reading(self) -> MessageId | None:
        """The id after which the history is to be read; None when no recovery is under way."""
        if self.buffered is None:
            return None
        # Reset ahead of the reading: a gap that is reported meanwhile may not be covered by it.
        self.gap_suspected = False
        self.read_with = len(self.buffered)
        self.asked = self.doubted is not None
        if self.last == NOT_BEGUN and self.buffered:
            # The room has begun meanwhile, with the epoch of these events.
            return MessageId(self.buffered[0].id.epoch, 0)
        if self.doubted is not None:
            return MessageId(self.doubted.id.epoch, self.doubted.id.seq - 1)
        return self.last

    def must_ask(self, replay: Replay) -> bool:
        """Whether the history is to be read once more: an event is doubted since, and nothing is lost anyway."""
        return self.doubted is not None and not self.asked and not replay.lost

    def end_recovery(self, replay: Replay) -> Recovery:
        """Put the events of the history and the buffered ones together, and decide whether any are lost."""
        buffered, self.buffered = self.buffered or [], None
        lost, newest, replayed = replay.lost or self._went_back(replay), replay.id, replay.events
        foreign = self._foreign_in(buffered, replay)
        if self.doubted is not None and not lost:
            # The history has another event in the place of the doubted one, which is of a master of the past. All that
            # had arrived when the history was read is in there, if it is the room's.
            buffered = [event for event in buffered[self.read_with :] if event.id > self.last]
        self.doubted = None
        if foreign:
            self.foreign = (*self.foreign, *foreign)[-_MOST_FOREIGN:]
            # An event of the history may have been buffered again behind a foreign one: that is no step back in time.
            buffered = [event for event in buffered if event.id.epoch not in foreign and event.id > self.last]
        if buffered and buffered[0].id <= self.last:
            # An event after the last one has an older id: the room's state in Redis went back, and forward again since.
            lost = lost or "epoch"
        if lost == "off":
            # There is no history. But all that was published has arrived by now, and perhaps nothing is missing.
            replayed = ()
            if self._is_followed_by(buffered, newest):
                lost, newest = "", self.last
        events = [*replayed, *buffered]
        resume_at = self._resume_at(events, newest) if lost else self.last
        return Recovery(events, len(replayed), newest, lost, resume_at, foreign)

    def _went_back(self, replay: Replay) -> Loss:
        """Return "epoch" if the doubted event is the room's: it is another one than the event that was delivered."""
        if self.doubted is None or not replay.events or _mark(replay.events[0]) != _mark(self.doubted):
            return ""
        return "epoch"

    def _foreign_in(self, buffered: Sequence[RoomEvent], replay: Replay) -> Collection[int]:
        """Return the epochs of events that had arrived when the history was read, and that Redis does not know.

        If the room had begun such an epoch, or had been in it, its epoch would not be the one of the last event here.
        """
        if replay.lost == "internal" or replay.id.epoch != self.last.epoch:
            return ()
        return {event.id.epoch for event in buffered[: self.read_with]} - {self.last.epoch}

    def _is_followed_by(self, events: Sequence[RoomEvent], newest: MessageId) -> bool:
        """Whether these events are all there are after the last, up to `newest` at least."""
        epoch, seq = self.last
        for event in events:
            seq += 1
            if event.id != (epoch, seq):
                return False
        return newest <= (epoch, seq)

    def _resume_at(self, events: Sequence[RoomEvent], newest: MessageId) -> MessageId:
        """The id to go on from after a loss: the one before the first of these events that is of the present epoch."""
        first = next((event.id for event in events if event.id.epoch == newest.epoch), None)
        before = newest if first is None else MessageId(first.epoch, first.seq - 1)
        return max(self.last, min(newest, before))


def _mark(event: RoomEvent) -> int:
    """Return a number that differs for events that differ."""
    return hash((event.id, event.sender, event.to, event.body) if isinstance(event, Message) else repr(event))
