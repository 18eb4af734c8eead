"""Fan-out: events from the bus go to the members and observers on this worker.

The hub knows nothing of Redis, of permission to join, or of any client protocol: a member brings its codec along, and a
frame is made once per message and codec key, however many members receive it. An observer is delivered to like a
member.

Delivery runs from the bus to the connections' buffers in one call, without a task and without `await`: nothing can come
between two events of a room, and a task per message or receiver would cost more than the delivery itself.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from relay.backend.stamps import split_previous
from relay.metrics import Metrics
from relay.model.codec import Batch, Encoder, Frame
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import ERRORS, REPLACED, SUPERSEDED
from relay.model.events import (
    Delivery,
    Failure,
    Gap,
    Kicked,
    Loss,
    MemberChanged,
    MemberJoined,
    MemberLeft,
    Message,
    Moved,
    Observing,
    PresenceList,
    Recovered,
    Replay,
    RoomClosed,
    RoomEvent,
    Roster,
    RulesChanged,
    TakenOver,
    Welcome,
)
from relay.rooms.foreign import ForeignEvents
from relay.rooms.member import TREES, Listener, Member, send_to_all
from relay.rooms.notices import PresenceNotices
from relay.rooms.observer import Observer, Sight
from relay.rooms.presence_batch import PresenceBatch
from relay.rooms.registry import LocalRooms
from relay.rooms.replayed import ReplayedFrames
from relay.rooms.room import NOT_BEGUN, LocalRoom
from relay.rooms.room_notices import RoomNotices, is_for

log = logging.getLogger("relay.rooms.hub")

_PRESENCE: Final = (MemberJoined, MemberLeft, MemberChanged)


class Hub:
    """Delivers to the members of this worker's rooms. `deliver` is the bus's sink.

    `on_gap` is called with rooms that may have missed events; their events are buffered until `recover`. `on_count` is
    called with a room whose number of members may have changed, if it has observers that are sent this number.
    `on_new_epoch` is called with a room that only has observers here, and of which Redis has or may have lost members.
    `on_joined` is called with a room that a client has joined on another worker, and that is not known to be watched: a
    member that joins here learns from its own join whether the room is. `on_rules` takes the new rules of a room, and
    returns whether they are news for its members. `on_put_out` is called with a room that has put members out,
    `on_closed` with one that ends.
    """

    def __init__(
        self,
        rooms: LocalRooms,
        notices: PresenceNotices,
        metrics: Metrics,
        *,
        on_gap: Callable[[Sequence[str]], None],
        on_count: Callable[[str], None],
        on_new_epoch: Callable[[str], None],
        on_joined: Callable[[str], None],
        on_rules: Callable[[RulesChanged], bool] = lambda event: True,
        on_put_out: Callable[[str], None] = lambda room: None,
        on_closed: Callable[[str], None] = lambda room: None,
    ) -> None:
        self.rooms = rooms
        self._by_name = rooms.by_name
        self._notices = notices
        self._metrics = metrics
        self._foreign = ForeignEvents(metrics, time.monotonic)
        self._on_gap = on_gap
        self._on_count = on_count
        self._on_new_epoch = on_new_epoch
        self._on_joined = on_joined
        self.room_notices = RoomNotices(rooms, notices, on_rules=on_rules, on_put_out=on_put_out, on_closed=on_closed)
        self._replayed = ReplayedFrames()

    # Events from the bus.

    def deliver(self, batch: Sequence[Delivery]) -> None:
        """Deliver each event to the members that it is for: one room after the other, each room's events in order."""
        rooms: dict[str, list[RoomEvent]] = {}
        for event in batch:
            # First, as nearly all are messages, and the compiled build compares its own classes faster.
            if not isinstance(event, Message) and isinstance(event, Gap):
                # Events before the gap are delivered first: the history is read from the room's last id on.
                self._deliver_rooms(rooms)
                rooms = {}
                self._suspect_gap(event.rooms)
            elif event.room in rooms:
                rooms[event.room].append(event)
            else:
                rooms[event.room] = [event]
        self._deliver_rooms(rooms)

    def _deliver_rooms(self, rooms: Mapping[str, Sequence[RoomEvent]]) -> None:
        for name, events in rooms.items():
            try:
                self._deliver_room(name, events)
            except Exception:
                log.exception("an event of room %s was not delivered; other rooms are not affected", name)

    def _deliver_room(self, name: str, events: Sequence[RoomEvent]) -> None:
        room = self._by_name.get(name)
        if room is None:
            return
        if len(events) == 1:
            # By far the most frequent case: one event, for which looking for a burst would only cost time.
            self._deliver_event(room, events[0])
            return
        burst = room.burst(events)
        if burst is not None:
            self._deliver_burst(room, burst)
            return
        for event in events:
            # Looked up for each event: an event may close the last member's connection, which removes the room here.
            room = self.rooms.get(name)
            if room is not None:
                self._deliver_event(room, event)

    def _deliver_event(self, room: LocalRoom, event: RoomEvent) -> None:
        # A hole in the ids means that an event is missing. The later ones wait in the buffer: if they were delivered
        # now, they would overtake it. Events up to `replayed_to` were read from the history, and need no buffer.
        if room.buffered is not None or not (room.is_next(event) or self._begins_anew(room, event)):
            if event.id.epoch in room.foreign or room.repeats(event):
                return
            if room.doubts(event) or event.id > room.replayed_to:
                self._buffer(room, event)
            return
        if room.joining:
            self._promote(room, room.offer_to_joining(event))
        # A duplicate: a recovery, or the welcome of the first member here, has covered this event.
        if event.id <= room.last:
            return
        room.last = event.id
        if isinstance(event, Message):
            self._deliver_message(room, event)
        elif isinstance(event, TakenOver):
            self._displace(room, event)
            self._look_for_watcher(room, event)
        elif isinstance(event, _PRESENCE):
            room.changed = event.id
            self._notices.add(room, event)
            if not isinstance(event, MemberChanged):
                self._count(room)
            if isinstance(event, MemberJoined):
                self._look_for_watcher(room, event)
                self._note_arrival(room, event.peer)
        else:
            self.room_notices.deliver(room, event)
        if room.joining or room.on_delivered:
            self._advance(room)

    def _look_for_watcher(self, room: LocalRoom, event: MemberJoined | TakenOver) -> None:
        """Have the backend asked whether the room is watched, unless a join here has told or will tell.

        A join tells of all watchers that came before it. While a member waits for its welcome, the event may be that of
        its own join: `_deliver_backlog` and `withdraw` look later.
        """
        if room.watched:
            return
        if not any(not one.welcomed or event.id <= one.since for one in room.of_peer(event.peer)):
            self._on_joined(room.name)

    def withdraw(self, member: Member) -> None:
        """Take out a member that was not admitted; a client with its peer id may have joined on another worker."""
        room = self.rooms.get(member.room)
        self.rooms.remove(member)
        if room is not None and not room.watched and any(_is_arrival(one, member) for one in member.backlog or ()):
            self._on_joined(room.name)

    def _note_arrival(self, room: LocalRoom, peer: str) -> None:
        if room.arrivals is not None:
            for callback in [*room.arrivals.get(peer, ())]:
                callback()

    def _begins_anew(self, room: LocalRoom, event: RoomEvent) -> bool:
        if not room.begins_anew(event):
            return False
        if room.last != NOT_BEGUN:
            self._on_new_epoch(room.name)
        return True

    def _count(self, room: LocalRoom) -> None:
        if room.observers is not None and room.observers.counting:
            self._on_count(room.name)

    def _deliver_message(self, room: LocalRoom, message: Message) -> None:
        if room.unsent is not None:
            self._notices.flush(room)
        targets: Iterable[Listener] = room.members.values()
        if message.to and message.to != TREES:
            # By `dict.fromkeys`, a peer that `to` names twice gets the message once.
            targets = [room.members[peer] for peer in dict.fromkeys(message.to) if peer in room.members]
        if room.observers is not None:
            targets = [*targets, *room.observers.listening]
        # Most members have the same codec as the one before, so that nothing has to be looked up.
        frames: dict[str, Frame] = {}
        last: Encoder | None = None
        frame: Frame | None = None
        for member in targets:
            if member.receives(message):
                codec = member.codec
                if frame is None or codec is not last:
                    if frame is not None and last is not None:
                        frames[last.key] = frame
                    frame = frames.get(codec.key) if frames else None
                    if frame is None:
                        frame = self._encode(codec, message)
                    last = codec
                member.connection.write(frame)

    def _deliver_burst(self, room: LocalRoom, messages: Sequence[Message]) -> None:
        """Deliver several messages for all members, with one write for each member."""
        room.last = messages[-1].id
        room.expect_no_duplicates()
        if room.unsent is not None:
            self._notices.flush(room)
        senders = {message.sender for message in messages}
        batches: dict[str, Batch] = {}
        targets: Iterable[Listener] = room.members.values()
        if room.observers is not None:
            targets = [*targets, *room.observers.listening]
        for member in targets:
            batch = batches.get(member.codec.key)
            if batch is None:
                batch = batches[member.codec.key] = Batch([self._encode(member.codec, message) for message in messages])
            # Nearly all members get every message of the burst: they share the bytes of the batch.
            if member.channels is None and (member.echo or member.peer not in senders):
                member.connection.write_batch(batch)
                continue
            frames = [frame for message, frame in zip(messages, batch.frames, strict=True) if member.receives(message)]
            if frames:
                member.connection.write_batch(Batch(frames))
        if room.on_delivered:
            self._advance(room)

    def _encode(self, codec: Encoder, message: Message) -> Frame:
        """Encode a message. If the codec fails, its members are sent an error, and all others their frames."""
        try:
            return codec.encode(message)
        except Exception:
            log.exception(
                "codec %s cannot write message %s of room %s; its clients are sent messages_lost",
                codec.key, message.id, message.room,
            )  # fmt: skip
            return codec.encode(self._loss(message.room, message.id, "internal"))

    def when_delivered(self, room: str, message_id: MessageId, callback: Callable[[], None]) -> None:
        """Call back when all events up to this id were delivered here; at once if the room has no members here."""
        local = self.rooms.get(room)
        if local is None or message_id <= local.last:
            callback()
        else:
            local.wait_for(message_id, callback)

    def await_arrival(self, room: str, peer: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back each time that a peer joins a room with members here; returns a function that ends this.

        The callback runs while events are delivered, and must not change any room.
        """
        local = self.rooms.get(room)
        if local is None:
            return lambda: None
        local.await_arrival(peer, callback)
        return lambda: local.forget_arrival(peer, callback)

    # Members and observers that come, and members that are replaced.

    def admit(self, member: Member, generation: int, welcome: Welcome, replay: Replay) -> None:
        """Welcome a staged member, whose presence entry was written as of `replay.id`.

        The events of `replay` follow it. If the welcome says that the member `recovered`, they are all that it missed;
        else those since the loss. Then come the events that arrived since it was staged, and from then on all the
        room's events.
        """
        self._displace_local(member, generation)
        self._metrics.members.inc()
        member.generation = generation
        self._welcome(member, welcome, replay, replay.id)

    def admit_observer(self, observer: Observer, welcome: Observing) -> None:
        """Welcome a staged observer; the room's events after the roster of the welcome follow."""
        observer.welcomed = True
        room, late = self.rooms[observer.room], bool(observer.backlog)
        self._welcome(observer, welcome, None, welcome.roster.id)
        if observer.sight is Sight.COUNTS and observer in room.joining:
            # A count has no position in the room's order that the observer would have to wait for.
            room.promote(observer)
        if late:
            self._count(room)

    def _welcome(
        self, listener: Listener, welcome: Welcome | Observing, replay: Replay | None, newest: MessageId
    ) -> None:
        room = self.rooms[listener.room]
        if newest > BEFORE_ALL and room.last.epoch != newest.epoch and room.is_unheard(listener):
            # An event of another epoch arrived ahead of the first welcome: the epoch has begun since, or it is another
            # fleet's. The history shows which.
            listener.backlog = [event for event in listener.backlog or () if event.id.epoch == newest.epoch]
            room.suspect_gap(resubscribed=False)
            # Last: the event of this very join may still arrive, and is no other one with a known id.
            room.begin_at(newest)
        listener.since = newest
        listener.send(welcome)
        if replay is not None:
            replayed = sum(self._deliver_past(listener, event) for event in replay.events)
        if replay is not None and isinstance(welcome, Welcome) and welcome.recovered:
            listener.send(Recovered(room.name, newest, replayed))
            if replay.changed and welcome.roster is not None:
                # The history does not have all changes any more: the list has their result.
                listener.send(PresenceList(room.name, welcome.roster))
        self._deliver_backlog(room, listener)
        if room.last == BEFORE_ALL:
            room.begin_at(newest)
        if listener in room.joining and room.last >= newest:
            self._promote(room, [listener])
        # A gap that was reported before this first welcome had no member that missed anything. Now it has one.
        if room.needs_recovery:
            self._buffer(room)

    def close_replaced(self, member: Member, *, repeated: bool = False) -> None:
        """Close the connection of a member whose peer has a newer connection.

        With `repeated`, see `TakenOver`, the client may try again: if it goes on with this connection and not with the
        newer one, it has the key with which it gets its membership back.
        """
        if self.rooms.remove(member):
            member.connection.close(SUPERSEDED if repeated else REPLACED)

    def _displace(self, room: LocalRoom, event: TakenOver) -> None:
        """Close the peer's connections that are older than its membership."""
        for member in room.of_peer(event.peer):
            if 0 < member.generation < event.generation:
                self.close_replaced(member, repeated=event.repeated)

    def _displace_local(self, newer: Member, generation: int) -> None:
        """The same for connections on this worker, when their client's newer one is admitted here."""
        for member in self.rooms[newer.room].of_peer(newer.peer):
            if 0 < member.generation < generation:
                # The next key is derived from the offered one, so equal keys were offered for equal next keys. A client
                # that keeps its key (`Claim.own_key`) offers it again whenever it comes.
                kept = split_previous(newer.previous_resume)[0] == newer.resume
                repeated = bool(newer.resume) and member.resume == newer.resume and not kept
                self.close_replaced(member, repeated=repeated)

    def _deliver_backlog(self, room: LocalRoom, member: Listener) -> None:
        backlog, member.backlog = member.backlog, None
        newest = member.since
        for event in backlog or ():
            # The replay and the welcome cover older events. After a gap, the backlog may have an event twice.
            if event.id > newest:
                self._deliver_past(member, event)
                newest = event.id
            if event.id > member.since and not room.watched and _is_arrival(event, member):
                self._on_joined(room.name)
            if isinstance(event, TakenOver) and event.peer == member.peer:
                self._displace(room, event)
            elif isinstance(event, Kicked | RoomClosed) and event.id > member.since and isinstance(member, Member):
                self.room_notices.put_out_if_meant(member, event)

    def _deliver_past(self, member: Listener, event: RoomEvent) -> bool:
        """Send one listener an event that the room delivered before; returns whether it was a message for it."""
        if isinstance(event, Message):
            if member.receives(event):
                member.connection.write(self._replayed.frame(member.codec, event, self._encode))
                return True
        elif isinstance(event, RulesChanged | Kicked | RoomClosed | Moved):
            if is_for(event, member):
                member.send(event)
        elif not isinstance(event, TakenOver) and member.presence and event.peer != member.peer:
            batch = PresenceBatch()
            batch.add(event)
            for change in batch.changes(member.room):
                member.send(change)
        return False

    def _promote(self, room: LocalRoom, members: Sequence[Listener]) -> None:
        for member in members:
            # The new watcher's member list includes the changes gathered so far.
            if member.presence and room.unsent is not None:
                room.unsent.latecomers[member] = room.last
            room.promote(member)

    def _advance(self, room: LocalRoom) -> None:
        """Note that the room has reached a new id: promote the members, and call the callbacks, that waited for it."""
        if room.joining:
            self._promote(room, room.due_for_promotion())
        waiting = room.on_delivered
        while waiting and waiting[0][0] <= room.last:
            # Mostly an acknowledgement. Not by `guarded`: each message with a key comes here.
            callback = waiting.popleft()[1]
            try:
                callback()
            except Exception:
                log.exception("the work after a message in room %s failed; please report it", room.name)

    # Gaps.

    def doubts_events(self, room: str) -> bool:
        """Whether events have arrived whose ids the room has passed: more of them may follow."""
        local = self.rooms.get(room)
        return local is not None and local.doubted is not None

    def begin_reading(self, room: str) -> MessageId | None:
        """The id after which the room's history is to be read; None when no gap of it is to be recovered."""
        local = self.rooms.get(room)
        return None if local is None else local.begin_reading()

    def recover(self, room: str, replay: Replay) -> None:
        """End a gap: deliver the events that the history had, and those that were buffered meanwhile.

        If messages are lost, the members are sent an error; nothing is sent about other events that the replay skips.
        In both cases the watchers of the room need a new list, and takeovers may have been missed. Nothing is done if
        the history must be read once more, from an event on that is doubted since.
        """
        local = self.rooms.get(room)
        if local is None or not local.recovering or local.must_ask(replay):
            return
        recovery = local.end_recovery(replay)
        if recovery.foreign:
            self._foreign.note(room, recovery.foreign)
        if recovery.lost:
            self._send_lost(local, recovery.resume_at, recovery.lost)
        elif recovery.replayed:
            self._metrics.gap_recoveries.inc()
        if replay.skipped > local.last and not recovery.lost:
            local.last = local.changed = replay.skipped
        for event in recovery.events:
            # Events of the history may be buffered as well. A hole among these events begins the next recovery; then
            # all that follows is buffered again.
            if local.wants(event):
                self._deliver_event(local, event)
        local.expect_duplicates(recovery)
        self._advance(local)
        if local.needs_recovery:
            self._buffer(local)

    def doubt_observed(self) -> None:
        """Note that Redis may have lost members of the rooms that only have observers here, without an event."""
        for name in self.rooms.names():
            if not self.rooms.has_members(name):
                self._on_new_epoch(name)

    def send_roster(self, room: str, roster: Roster) -> None:
        """Send the watchers of a room the list of its members."""
        local = self.rooms.get(room)
        if local is not None:
            self._notices.flush(local)
            send_to_all(local.watchers, PresenceList(room, roster))
            self._count(local)

    def _suspect_gap(self, rooms: Sequence[str]) -> None:
        self._metrics.room_gaps.inc(len(rooms))
        self._look_for_gaps(rooms, resubscribed=True)

    def doubt(self, rooms: Sequence[str]) -> None:
        """Read the history of these rooms from the last id on: Redis's data may be older than that."""
        self._look_for_gaps(rooms, resubscribed=False)

    def _look_for_gaps(self, rooms: Sequence[str], *, resubscribed: bool) -> None:
        for name in rooms:
            room = self.rooms.get(name)
            if room is not None and room.suspect_gap(resubscribed=resubscribed):
                self._buffer(room)

    def _buffer(self, room: LocalRoom, *events: RoomEvent) -> None:
        if room.buffer(*events):
            self._on_gap([room.name])

    def _send_lost(self, room: LocalRoom, resume_at: MessageId, reason: Loss) -> None:
        """Report to the members from before this id that events are lost, and go on from it."""
        self._notices.flush(room)
        failure = self._loss(room.name, resume_at, reason)
        for member in list(room.welcomed()):
            if member.since < resume_at:
                member.send(failure)
        # The lost events may have changed the members.
        room.last = room.changed = max(room.last, resume_at)
        self._count(room)

    def _loss(self, room: str, message_id: MessageId, reason: Loss) -> Failure:
        """Count a loss, and make the error that reports it."""
        self._metrics.message_losses.labels(reason).inc()
        detail: dict[str, object] = {"reason": reason, "id": str(message_id)}
        return Failure("messages_lost", ERRORS["messages_lost"][1], room=room, detail=detail)


def _is_arrival(event: RoomEvent, member: Listener) -> bool:
    """Whether a client with the member's peer id has joined by this event: this client, or another one."""
    return isinstance(event, MemberJoined | TakenOver) and event.peer == member.peer
