import tracemalloc
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.backend.headroom import Level
from relay.backend.redis.keys import Keys
from relay.backend.redis.publishing import PublishCommands, text_of
from relay.backend.redis.scripts import PUBLISH
from relay.backend.redis.shared_calls import ALONE, STORED, UNSTORED, WITHOUT_HISTORY
from relay.backend.settings import HistorySettings, RoomSettings
from relay.model.commands import NO_IDENTITY, Publish
from relay.model.envelope import MembershipVersion, MessageId
from relay.model.publication import Publication

ROOMS = RoomSettings(state_ttl=60, history=HistorySettings(size=10, ttl=8, repeat_keys=3))
KEYS = Keys("relay")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def commands(clock: Clock | None = None) -> PublishCommands:
    return PublishCommands(KEYS, ROOMS, clock or Clock())


def parsed(command: bytes) -> list[bytes]:
    reader = hiredis.Reader()
    reader.feed(command)
    parts: list[bytes] = reader.gets()
    assert reader.gets() is False
    return parts


def arguments(publication: Publication, writer: PublishCommands | None = None) -> list[bytes]:
    """The arguments after the keys and the Redis channel."""
    parts = parsed((writer or commands()).write(publication))
    head = [b"EVALSHA", PUBLISH.sha.encode(), b"4", *map(str.encode, KEYS.of_room("room")[:4]), b"relay:{room}"]
    assert parts[: len(head)] == head
    return parts[len(head) :]


def publication(command: Publish, **more: Any) -> Publication:
    return Publication(command, "room", "peer", **more)


VERSION, SEEN = MembershipVersion(9, 7), MessageId(7, 8)


def kind(command: Publish, writer: PublishCommands | None = None, **more: Any) -> int:
    """The kind of the call that a message goes into."""
    its_writer, one = writer or commands(), publication(command, **({"version": VERSION, "seen": SEEN} | more))
    return its_writer.kind(one, len(text_of(one)), its_writer.template("room"))


def test_a_message_alone() -> None:
    got = arguments(publication(Publish(b'{"n":1}', channel="c"), generation=5, seen=SEEN))
    assert got == [b'peer \n"c" \n{"n":1,"from":"peer","id":"', b"8", b"10", b"10000", b"5 7 60000 10000 3 8000 0 "]


def test_a_text_is_the_same_for_every_form_of_an_envelope() -> None:
    for envelope, body in (
        (b'{"n":"1"}', b'{"n":"1","from":"peer","id":"'),
        (b'{"n":1}', b'{"n":1,"from":"peer","id":"'),
        (b"{ }", b'{"from":"peer","id":"'),
    ):
        one = publication(Publish(envelope, ("a", "b"), "c\n\u00e9"))
        assert text_of(one) == b'peer a,b\n"c\\n\xc3\xa9" \n' + body


def test_a_plain_message_takes_the_fast_path_with_addressees_or_without() -> None:
    assert kind(Publish(b'{"n":1}', channel="c")) == STORED
    assert kind(Publish(b"{}", to=("q", "r"))) == STORED
    assert kind(Publish(b"{}", stored=False)) == UNSTORED
    writer = commands()
    writer.set_history("room", on=False)
    assert kind(Publish(b"{}"), writer) == WITHOUT_HISTORY


def test_keys_and_another_epoch_take_the_slow_path() -> None:
    assert kind(Publish(b"{}", key="k")) == ALONE
    assert kind(Publish(b"{}", after="k")) == ALONE
    assert kind(Publish(b"{}"), seen=MessageId(8, 1)) == ALONE
    assert kind(Publish(b"{}"), version=MembershipVersion()) == ALONE


def test_a_key_that_is_only_a_mark_is_not_sent() -> None:
    command = Publish(b"{}", key="k", identity=NO_IDENTITY)
    assert kind(command) == STORED
    assert arguments(publication(command, seen=SEEN))[4].endswith(b" 0 ")


def test_no_message_takes_the_fast_path_while_the_memory_is_full() -> None:
    writer = commands()
    writer.set_level(Level.FULL)
    assert kind(Publish(b"{}"), writer) == ALONE
    writer.set_level(Level.LOW)
    assert kind(Publish(b"{}"), writer) == STORED


@pytest.mark.parametrize("level", [Level.LOW, Level.FULL])
def test_a_part_of_the_memory_that_is_short_decides_about_its_own_rooms(level: Level) -> None:
    levels = {"room": Level.AMPLE}
    writer = PublishCommands(KEYS, ROOMS, Clock(), level_of=levels.__getitem__)
    large = publication(Publish(b'{"x":"%b"}' % (b"x" * ROOMS.history.large)), seen=SEEN)
    usual, usual_large = arguments(publication(Publish(b"{}"), seen=SEEN)), parsed(commands().write(large))
    writer.set_level(level)
    assert kind(Publish(b"{}"), writer) == STORED
    assert arguments(publication(Publish(b"{}"), seen=SEEN), writer) == usual
    assert parsed(writer.write(large)) == usual_large
    levels["room"] = level
    assert kind(Publish(b"{}"), writer) == (ALONE if level is Level.FULL else STORED)
    assert (arguments(publication(Publish(b"{}"), seen=SEEN), writer) == usual) == (level is Level.LOW)
    assert parsed(writer.write(large)) != usual_large


@given(st.text(), st.text(), st.lists(st.sampled_from(["a", "b.c", "d-e"])), st.text())
def test_any_keys_addressees_and_channel_arrive_as_they_are(key: str, after: str, to: list[str], channel: str) -> None:
    got = arguments(publication(Publish(b"{}", tuple(to), channel, key, after=after)))
    assert got[5:] == [peer.encode() for peer in to]
    length, _, keys = got[4].split(b" ", 6)[6].partition(b" ")
    assert keys[: int(length)].decode() == key
    assert keys[int(length) :].decode() == after


def test_the_ttl_of_the_history_is_renewed_four_times_while_it_runs() -> None:
    clock = Clock()
    writer = commands(clock)
    writer.add("room")
    renewed = []
    for _ in range(16):
        renewed.append(arguments(publication(Publish(b"{}")), writer)[3] != b"0")
        clock.now += 0.5
    assert renewed == [True, False, False, False] * 4
    writer.remove("room")
    writer.remove("room")
    assert arguments(publication(Publish(b"{}")), writer)[3] == b"10000"


def test_a_room_costs_little_until_its_first_message() -> None:
    writer, rooms = commands(), [f"room-{number}" for number in range(1000)]
    tracemalloc.start()
    for room in rooms:
        writer.add(room)
    idle, _ = tracemalloc.get_traced_memory()
    for room in rooms:
        writer.template(room)
    busy, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert idle < 150 * len(rooms) < 500 * len(rooms) < busy


def test_the_parts_of_a_room_are_kept_while_it_is_there() -> None:
    writer = commands()
    writer.add("room")
    assert writer.template("room") is writer.template("room")
    writer.set_history("room", on=False)
    assert not writer.template("room").stored
    writer.remove("room")
    assert writer.template("room") is not writer.template("room")


def test_members_of_different_versions_alternate() -> None:
    template = commands().template("room")
    for number in (9, 10, 9, 9):
        template.use(MembershipVersion(number, 7))
        claim = b"$12\r\nrelay:{room}\r\n$%d\r\n%d\r\n" % (len(str(number)), number)
        assert (template.claim, template.id_prefix) == (claim, b"7-")


def test_a_large_message_takes_the_slow_path_with_one_more_key_and_the_bound_of_bytes() -> None:
    rooms = RoomSettings(history=HistorySettings(size=1000, bytes=4_096_000))
    writer = PublishCommands(KEYS, rooms, Clock())
    small, large = b'{"n":"%s"}' % (b"x" * 3900), b'{"n":"%s"}' % (b"x" * 4200)
    assert kind(Publish(small), writer) == STORED
    assert kind(Publish(large), writer) == ALONE
    parts = parsed(writer.write(publication(Publish(large, ("q",)), generation=5, seen=SEEN)))
    keys = [*map(str.encode, KEYS.of_room("room")[:4]), b"relay:{room}:large"]
    assert parts[:9] == [b"EVALSHA", PUBLISH.sha.encode(), b"5", *keys, b"relay:{room}"]
    assert parts[10:13] == [b"8", b"1000", b"4096000"]
    assert parts[-1] == b"q"


def test_without_a_history_no_message_is_large() -> None:
    writer = PublishCommands(KEYS, RoomSettings(history=HistorySettings(size=0)), Clock())
    assert kind(Publish(b'{"n":"%s"}' % (b"x" * 100_000)), writer) == STORED
