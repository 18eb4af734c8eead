"""Rooms in memory: which data is forgotten, and when; and how events reach listeners."""

import asyncio

from relay.backend.bus import replay_of
from relay.backend.headroom import Level
from relay.backend.memory import state as state_module
from relay.backend.memory.presence import MemoryLeases, MemoryPresence
from relay.backend.memory.state import MemoryEntry, MemoryRooms
from relay.backend.presence import JoinAttempt, LeaseName, PresenceEntry
from relay.backend.settings import HistorySettings, LeaseSettings, RoomSettings
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.events import MemberJoined, Message


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def rooms_of(clock: Clock, **history) -> MemoryRooms:
    return MemoryRooms(clock, clock, HistorySettings(**history))


def emit(rooms: MemoryRooms, name: str = "room") -> MemberJoined:
    event = MemberJoined(name, rooms.room(name).next_id(), "x")
    rooms.emit(event)
    return event


async def test_the_history_of_a_silent_room_expires_although_it_has_members() -> None:
    clock = Clock()
    rooms = rooms_of(clock, ttl=60)
    presence = MemoryPresence(rooms, LeaseName("w"), RoomSettings())
    leases = MemoryLeases(rooms, LeaseName("w"), LeaseSettings())
    await presence.join(JoinAttempt(room="room", peer="peer", offered="", fresh="f"))
    state = rooms.room("room")
    for _ in range(3):
        emit(rooms)
    clock.now += 59
    await leases.beat()
    assert len(state.history) == 3
    clock.now += 5
    await leases.beat()
    assert len(state.history) == 0
    assert state.id > BEFORE_ALL
    assert "peer" in state.members


async def test_the_room_that_is_idle_for_longest_is_dropped_unless_it_has_members(monkeypatch) -> None:
    monkeypatch.setattr(state_module, "_IDLE_ROOMS", 2)
    rooms = rooms_of(Clock())
    rooms.room("occupied").members["p"] = MemoryEntry(1, "w/1", "f", "", BEFORE_ALL)
    for name in ("a", "b", "c"):
        rooms.room(name)
    assert [name for name in ("occupied", "a", "b", "c") if rooms.peek(name)] == ["occupied", "b", "c"]
    rooms.mark_idle("b")
    rooms.room("d")
    assert [name for name in ("b", "c", "d") if rooms.peek(name)] == ["b", "d"]
    assert rooms.occupied() == [("occupied", 1)]


async def test_keys_are_bounded_in_number_and_expire() -> None:
    clock = Clock()
    rooms = rooms_of(clock, repeat_keys=2, ttl=60)
    room = rooms.room("room")
    for key in ("a", "b", "c"):
        rooms.remember(room, "peer", key, MessageId(1, 1))
    assert [rooms.known(room, "peer", key) is not None for key in ("a", "b", "c")] == [False, True, True]
    clock.now += 61
    assert rooms.known(room, "peer", "c") is None


async def test_generations_grow_with_the_clock_and_without_it() -> None:
    clock = Clock()
    rooms = rooms_of(clock)
    first, second = rooms.next_generation(), rooms.next_generation()
    clock.now += 1
    third = rooms.next_generation()
    clock.now -= 100
    assert first < second < third < rooms.next_generation()


async def test_a_listener_gets_the_events_of_one_turn_in_one_call() -> None:
    rooms, batches = rooms_of(Clock()), []
    listener = batches.append
    rooms.listen(["room", "other"], listener)
    rooms.listen(["room"], listener)
    events = [emit(rooms), emit(rooms, "other"), emit(rooms)]
    emit(rooms, "elsewhere")
    assert batches == []
    await asyncio.sleep(0)
    assert batches == [events]
    rooms.ignore(["room", "never"], listener)
    other = emit(rooms, "other")
    emit(rooms)
    await asyncio.sleep(0)
    assert batches == [events, [other]]


async def test_a_room_that_lacks_an_id_that_was_seen_begins_a_new_epoch() -> None:
    rooms = rooms_of(Clock(), size=2)
    for _ in range(3):
        last = emit(rooms)
    newest, events, _ = rooms.since("room", MessageId(last.id.epoch, 1))
    assert (newest, [event.id.seq for event in events]) == (last.id, [2, 3])
    ahead = MessageId(last.id.epoch, 4)
    newest, events, _ = rooms.since("room", ahead)
    assert (newest > ahead, newest.seq, events) == (True, 0, [])


async def test_all_histories_together_have_a_bound_and_messages_beyond_it_are_delivered() -> None:
    clock = Clock()
    rooms = MemoryRooms(clock, clock, HistorySettings(ttl=60), limit=100_000)
    received: list[int] = []
    rooms.listen(["a", "b"], lambda events: received.extend(event.id.seq for event in events))
    sent = []
    for number in range(30):
        name = "ab"[number % 2]
        room = rooms.room(name)
        sent.append(room.next_id())
        rooms.emit(Message(name, sent[-1], "p", (), "", b"x" * 10_000))
    await asyncio.sleep(0)
    assert len(received) == 30
    stored = [event for name in "ab" for _, event in rooms.room(name).history]
    assert 5 <= len(stored) <= 9
    newest, events, stretches = rooms.since("a", sent[0])
    replay = replay_of(sent[0], newest, events, stretches, HistorySettings())
    assert replay.lost == "trimmed"
    rooms.forget_expired()
    assert rooms.headroom.level is Level.FULL
    clock.now += 100
    rooms.forget_expired()
    assert rooms.headroom.level is Level.AMPLE
    assert rooms.headroom.share == 0


async def test_a_room_without_members_is_forgotten_after_a_while() -> None:
    clock = Clock()
    rooms = rooms_of(clock, ttl=60)
    presence = MemoryPresence(rooms, LeaseName("w"), RoomSettings())
    joined = [await presence.join(JoinAttempt(room="room", peer=peer, offered="", fresh="f")) for peer in "ab"]
    for peer, one in zip("ab", joined, strict=True):
        assert await presence.leave(PresenceEntry("room", peer, one.generation))
    assert len(rooms.room("room").history) == 3
    clock.now += 11
    rooms.forget_expired()
    assert len(rooms.room("room").history) == 0
    clock.now += 60
    rooms.forget_expired()
    assert rooms.peek("room") is None
