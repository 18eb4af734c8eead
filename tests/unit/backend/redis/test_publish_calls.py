import asyncio
import gc
from dataclasses import dataclass
from typing import Any

import hiredis
import pytest

from relay.backend.headroom import Level
from relay.backend.redis.fence import Fenced
from relay.backend.redis.keys import Keys
from relay.backend.redis.publish_calls import PublishCalls
from relay.backend.redis.publishing import PublishCommands
from relay.backend.redis.scripts import PUBLISH, PUBLISH_TOGETHER
from relay.backend.redis.shared_calls import RoomMessages, SharedCall
from relay.backend.settings import HistorySettings, RoomSettings
from relay.model.commands import Publish
from relay.model.envelope import MembershipVersion, MessageId
from relay.model.errors import NotMember, OutcomeUnknown, RelayError, Replaced, Unavailable
from relay.model.publication import Publication, Receipt
from tests.unit.backend.redis.test_publishing import parsed

VERSION, SEEN = MembershipVersion(9, 7), MessageId(7, 8)
NOSCRIPT = hiredis.ReplyError("NOSCRIPT No matching script")


class FakeRedis:
    """Records what is sent; a test answers."""

    def __init__(self, *, clustered: bool = False) -> None:
        self.clustered = clustered
        self.sent: list[tuple[Any, Any]] = []
        self.resent: list[tuple[Any, Any]] = []
        self.flushes = 0
        self.late = False
        self.on_command: Any = None

    def at_room(self, room: str) -> "FakeRedis":
        return self

    def send(self, command: bytes, done: Any) -> None:
        self.sent.append((command if isinstance(command, Fenced) else parsed(command), done))

    def resend(self, command: bytes, done: Any, *, late: bool = False) -> None:
        self.resent.append((command if late else parsed(command), done))
        self.late = late

    def flush(self) -> None:
        self.flushes += 1

    def script_error(self, reply: Any) -> RelayError:
        return reply if isinstance(reply, RelayError) else OutcomeUnknown(str(reply))

    def texts(self) -> list[list[bytes]]:
        """The envelopes of each call."""
        return [bodies(command) for command, _ in self.sent]


@dataclass
class RoomArguments:
    """The arguments of one room in a shared call."""

    keys: list[bytes]
    channel: bytes
    version: bytes
    told: bytes
    rest: bytes
    texts: list[bytes]
    addressees: list[bytes]


def rooms_of(command: list[bytes]) -> list[RoomArguments]:
    assert command[1] == PUBLISH_TOGETHER.sha.encode()
    keys = command[3 : 3 + int(command[2])]
    number, _, _, _, *left = command[3 + len(keys) :]
    assert len(keys) == 4 * int(number)
    found = []
    for at in range(0, len(keys), 4):
        channel, version, counts, told, rest, *left = left
        messages, *more = map(int, counts.split(b" "))
        addressees = more[0] if more else 0
        texts, to, left = left[:messages], left[messages : messages + addressees], left[messages + addressees :]
        found.append(RoomArguments(keys[at : at + 4], channel, version, told, rest, texts, to))
    assert left == []
    return found


def bodies(command: list[bytes]) -> list[bytes]:
    if command[1] == PUBLISH.sha.encode():
        texts = [command[8 if command[2] == b"4" else 9]]
    else:
        texts = [text for room in rooms_of(command) for text in room.texts]
    return [text.split(b"\n")[2].partition(b',"from"')[0] + b"}" for text in texts]


class World:
    """Calls over a fake Redis, and the outcomes by the envelope's text."""

    def __init__(self, *, fenced: bool = False, clustered: bool = False, **history: Any) -> None:
        self.redis = FakeRedis(clustered=clustered)
        self.writer = PublishCommands(
            Keys("relay"), RoomSettings(history=HistorySettings(**history)), self.clock, self.unstored, fenced=fenced
        )
        self.calls = PublishCalls(self.writer, self.redis)  # type: ignore[arg-type]
        self.outcomes: dict[bytes, Any] = {}
        self.number_unstored = 0
        # The number of the call of `unstored` that raises.
        self.fails_at = 0
        self.fails = False

    def clock(self) -> float:
        if self.fails:
            raise RuntimeError("a mistake of this test")
        return 0.0

    def unstored(self) -> None:
        self.number_unstored += 1
        if self.number_unstored == self.fails_at:
            raise RuntimeError("a mistake of this test")

    def add(
        self,
        text: bytes,
        *,
        room: str = "room",
        version: MembershipVersion = VERSION,
        seen: MessageId = SEEN,
        generation: int = 5,
        **more: Any,
    ) -> None:
        publication = Publication(Publish(text, **more), room, "peer", generation, version, seen)
        self.calls.add(publication, lambda outcome: self.outcomes.update({text: outcome}))


def texts(number: int, first: int = 0) -> list[bytes]:
    return [b'{"n":%d}' % n for n in range(first, first + number)]


async def turn() -> None:
    await asyncio.sleep(0)


async def test_messages_of_one_turn_share_a_call_and_leave_at_its_end() -> None:
    world = World()
    for text in texts(4):
        world.add(text)
    world.add(b'{"other":1}', room="other", version=MembershipVersion(11, 7), seen=MessageId(7, 30), generation=6)
    world.add(b'{"n":4}')
    assert world.redis.sent == []
    await turn()
    assert world.redis.texts() == [[*texts(5), b'{"other":1}']]
    assert world.redis.flushes == 1
    world.add(b"{}")
    await turn()
    assert len(world.redis.sent) == 2
    (shared, _), *_ = world.redis.sent
    assert shared[11:15] == [b"2", b"1000", b"3600000 150000 10000 120000 0 ", b"1"]
    room, other = rooms_of(shared)
    assert (room.keys, room.channel) == ([*map(str.encode, Keys("relay").of_room("room")[:4])], b"relay:{room}")
    assert (room.version, room.told, room.rest) == (b"9", b"13", b"7-8 150000 - 5 5 5 5 5 ")
    assert [text.split(b" ")[:3] for text in room.texts] == [[b"m", b"7-%d" % seq, b"peer"] for seq in range(9, 14)]
    assert room.texts[0] == b'm 7-9 peer \n"" \n{"n":0,"from":"peer","id":"7-9"'.replace(b'0,"from"', b'0,"from"')
    assert (other.channel, other.version, other.told, other.rest) == (
        b"relay:{other}",
        b"11",
        b"31",
        b"7-30 150000 - 6 ",
    )


async def test_a_call_to_a_cluster_is_about_one_room() -> None:
    world = World(clustered=True)
    for n, text in enumerate(texts(6)):
        world.add(text, room=f"room{n % 2}")
    await turn()
    assert world.redis.texts() == [texts(6)[::2], texts(6)[1::2]]


async def test_messages_of_a_room_do_not_overtake_each_other() -> None:
    world = World()
    world.add(b'{"n":0}')
    world.add(b'{"key":0}', key="k")
    world.add(b'{"other":0}', room="other")
    world.add(b'{"n":1}')
    world.add(b'{"other":1}', room="other")
    world.add(b'{"key":1}', key="k", room="other")
    world.add(b'{"n":2}')
    world.add(b'{"other":2}', room="other")
    await turn()
    assert world.redis.texts() == [
        [b'{"n":0}', b'{"other":0}', b'{"other":1}'],
        [b'{"key":0}'],
        [b'{"n":1}', b'{"n":2}'],
        [b'{"key":1}'],
        [b'{"other":2}'],
    ]


async def test_the_messages_of_a_call_are_stored_or_none_is() -> None:
    world = World()
    world.writer.set_history("off", on=False)
    for n in range(2):
        world.add(b'{"stored":%d}' % n)
        world.add(b'{"off":%d}' % n, room="off")
        world.add(b'{"unstored":%d}' % n, room="room2", stored=False)
    await turn()
    kinds = [command[3 + int(command[2]) + 1] for command, _ in world.redis.sent]
    assert [kind == b"0" for kind in kinds] == [
        b"stored" not in text[0] or b"unstored" in text[0] for text in world.redis.texts()
    ]
    for (command, _), together in zip(world.redis.sent, world.redis.texts(), strict=True):
        assert len({text.partition(b":")[0] for text in together}) == 1, command


@pytest.mark.parametrize(
    "more",
    [
        {"key": "k"},
        {"after": "k"},
        {"version": MembershipVersion()},
        {"version": MembershipVersion(10, 7)},
        {"seen": MessageId(8, 1)},
        {"stored": False},
    ],
)
async def test_a_message_that_cannot_share_has_a_call_of_its_own_in_its_place(more: dict[str, Any]) -> None:
    world = World()
    world.add(b'{"n":0}')
    world.add(b'{"n":1}')
    world.add(b'{"apart":1}', **more)
    world.add(b'{"n":2}')
    world.add(b'{"n":3}')
    await turn()
    assert world.redis.texts() == [texts(2), [b'{"apart":1}'], texts(2, 2)]


async def test_the_messages_of_a_call_are_bounded() -> None:
    world = World()
    for text in texts(40):
        world.add(text)
    await turn()
    assert world.redis.texts() == [texts(16), texts(16, 16), texts(8, 32)]


@pytest.mark.parametrize("history", [{}, {"size": 0}])
async def test_a_long_message_goes_alone_and_the_others_keep_their_order(history: dict[str, Any]) -> None:
    world = World(**history)
    sent = [b'{"n":0}', b'{"long":"%s"}' % (b"x" * 5000), b'{"n":1}']
    for text in sent:
        world.add(text)
    await turn()
    assert world.redis.texts() == [[text] for text in sent]


async def test_the_addressees_of_a_call_are_bounded() -> None:
    world = World()
    for text in texts(3):
        world.add(text, to=tuple(f"p{n}" for n in range(40)))
    for text in texts(2, 3):
        world.add(text, to=("q",), room="other")
    await turn()
    assert world.redis.texts() == [texts(2), [*texts(1, 2), *texts(2, 3)]]
    assert [room.addressees for room in rooms_of(world.redis.sent[-1][0])] == [
        [f"p{n}".encode() for n in range(40)],
        [b"q", b"q"],
    ]


async def test_another_command_does_not_overtake_what_was_published_before() -> None:
    world = World()
    for text in texts(2):
        world.add(text)
    world.redis.on_command()
    assert world.redis.texts() == [texts(2)]
    for text in texts(2, 2):
        world.add(text)
    await turn()
    assert world.redis.texts() == [texts(2), texts(2, 2)]


async def test_each_publisher_gets_its_own_outcome() -> None:
    world = World()
    for text in texts(5):
        world.add(text)
    await turn()
    world.redis.sent[0][1]([[b"7-9", [b"replaced"], hiredis.ReplyError("ERR x"), [b"sent", b"7-10", b"11"], b"7-11"]])
    assert list(world.outcomes) == texts(5)
    first, second, third, fourth, fifth = world.outcomes.values()
    assert (first, fifth) == (Receipt(b"7-9"), Receipt(b"7-11"))
    assert isinstance(second, Replaced)
    assert isinstance(third, OutcomeUnknown)
    assert fourth == Receipt(b"7-10", version=MembershipVersion(11, 7))


async def test_what_a_call_has_kept_is_freed_with_its_outcome_and_not_by_the_garbage_collector() -> None:
    world = World()
    gc.collect()
    gc.disable()
    try:
        for text in texts(2):
            world.add(text)
        await turn()
        assert any(type(one) is RoomMessages for one in gc.get_objects())
        world.redis.sent.pop()[1]([[b"7-9", b"7-10"]])
        assert not any(type(one) in {RoomMessages, SharedCall} for one in gc.get_objects())
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "reply", [OutcomeUnknown(), hiredis.ReplyError("OOM"), [], [11, 12], [[b"7-9"]], [b"7-9x"], b"7-9x", 11, None]
)
async def test_a_reply_that_is_no_list_of_results_is_one_for_all(reply: Any) -> None:
    world = World()
    for text in texts(2):
        world.add(text)
    await turn()
    world.redis.sent[0][1](reply)
    assert len(world.outcomes) == 2
    assert all(isinstance(outcome, OutcomeUnknown) for outcome in world.outcomes.values())


async def test_an_error_of_one_publisher_leaves_the_others_their_outcomes(caplog: pytest.LogCaptureFixture) -> None:
    world = World()

    def fails(outcome: Any) -> None:
        raise RuntimeError("a mistake of this test")

    world.calls.add(Publication(Publish(b"{}"), "room", "peer", 5, VERSION, SEEN), fails)
    world.add(b'{"n":1}')
    await turn()
    world.redis.sent[0][1]([10])
    assert world.outcomes == {b'{"n":1}': Receipt(b"7-10")}
    assert "a mistake of this test" in caplog.text


async def test_a_call_that_meets_a_redis_without_scripts_is_sent_again_whole() -> None:
    world = World()
    for text in texts(3):
        world.add(text)
    await turn()
    world.redis.sent[0][1](NOSCRIPT)
    ((command, done),) = world.redis.resent
    assert bodies(command) == texts(3)
    done([11])
    assert [outcome.id.seq for outcome in world.outcomes.values()] == [9, 10, 11]


@pytest.mark.parametrize("number", [1, 3])
async def test_a_call_that_redis_took_too_late_is_sent_again_without_a_fence(number: int) -> None:
    world = World(fenced=True)
    for text in texts(number):
        world.add(text)
    await turn()
    ((command, taken),) = world.redis.sent
    assert isinstance(command, Fenced)
    taken([b"given up"])
    ((again, done),) = world.redis.resent
    assert world.redis.late
    assert not isinstance(again, Fenced)
    assert parsed(again)[-1] == b"0" * 13
    done([8 + number])
    assert [outcome.id.seq for outcome in world.outcomes.values()] == [9, 10, 11][:number]


@pytest.mark.parametrize("number", [1, 3])
async def test_a_call_that_was_lost_and_then_came_too_late_is_sent_once_more(number: int) -> None:
    world = World(fenced=True)
    for text in texts(number):
        world.add(text)
    await turn()
    ((_, taken),) = world.redis.sent
    taken(NOSCRIPT)
    world.redis.resent.pop()[1]([b"given up"])
    ((again, done),) = world.redis.resent
    assert world.redis.late
    assert parsed(again)[-1] == b"0" * 13
    done([8 + number])
    assert [outcome.id.seq for outcome in world.outcomes.values()] == [9, 10, 11][:number]


async def test_each_publisher_is_told_once_when_one_of_several_messages_cannot_be_sent() -> None:
    world = World()
    world.writer.set_level(Level.FULL)
    world.fails_at = 2
    for text in texts(3):
        world.add(text)
    await turn()
    for _, done in world.redis.sent:
        done(b"7-9")
    assert [type(world.outcomes[text]) for text in texts(3)] == [Receipt, Unavailable, Receipt]


async def test_each_publisher_is_told_once_when_one_of_several_messages_cannot_be_sent_again() -> None:
    world = World()
    for text in texts(3):
        world.add(text)
    await turn()
    world.writer.set_level(Level.FULL)
    world.fails_at = 2
    world.redis.sent[0][1](NOSCRIPT)
    for _, done in world.redis.resent:
        done(b"7-9")
    assert [type(world.outcomes[text]) for text in texts(3)] == [Receipt, Unavailable, Receipt]


@pytest.mark.parametrize("failing", ["writing", "sending"])
async def test_each_publisher_is_told_when_a_call_cannot_be_sent_again(
    failing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    for text in texts(3):
        world.add(text)
    await turn()

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("a mistake of this test")

    if failing == "writing":
        world.fails = True
    else:
        monkeypatch.setattr(world.redis, "resend", fail)
    world.redis.sent[0][1](NOSCRIPT)
    assert [type(world.outcomes[text]) for text in texts(3)] == [Unavailable] * 3
    assert "a mistake of this test" in caplog.text


async def test_the_publisher_is_told_when_its_message_cannot_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.add(b"{}", key="k")
    await turn()

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("a mistake of this test")

    monkeypatch.setattr(world.redis, "resend", fail)
    world.redis.sent[0][1](NOSCRIPT)
    assert isinstance(world.outcomes[b"{}"], Unavailable)


@pytest.mark.parametrize(
    "result", [[b"sent", b"7-9", b"x"], [b"sent", b"7", b"9"], [b"absent", [b"\xff"]], [b"absent", [1]]]
)
async def test_a_publisher_whose_result_cannot_be_read_is_told_and_so_are_the_others(result: Any) -> None:
    world = World()
    world.add(b'{"n":0}', key="k")
    for text in texts(3, 1):
        world.add(text)
    await turn()
    (_, alone), (_, together) = world.redis.sent
    alone(result)
    together([[b"7-9", result, b"7-10"]])
    assert [type(world.outcomes[text]) for text in texts(4)] == [OutcomeUnknown, Receipt, OutcomeUnknown, Receipt]


async def test_a_message_that_cannot_be_written_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.add(b'{"n":0}')
    world.add(b'{"n":1}', key="\ud800", room="other")
    world.add(b'{"n":2}')
    await turn()
    assert world.redis.texts() == [[b'{"n":0}', b'{"n":2}']]
    assert isinstance(world.outcomes[b'{"n":1}'], Unavailable)
    assert "could not be sent" in caplog.text


async def test_each_message_that_is_not_stored_is_counted() -> None:
    world = World()
    for text in texts(3):
        world.add(text, stored=False)
    await turn()
    assert world.redis.texts() == [texts(3)]
    assert world.number_unstored == 3
    assert world.redis.sent[0][0][8] == b"0"


async def test_each_room_of_a_call_has_results_of_its_own() -> None:
    world = World()
    for n, text in enumerate(texts(6)):
        world.add(text, room=f"room{n // 2}")
    await turn()
    world.redis.sent[0][1]([10, [[b"unknown"], b"7-9"], hiredis.ReplyError("ERR x")])
    outcomes = [world.outcomes[text] for text in texts(6)]
    assert outcomes[:2] == [Receipt(b"7-9"), Receipt(b"7-10")]
    assert isinstance(outcomes[2], NotMember)
    assert outcomes[3] == Receipt(b"7-9")
    assert all(isinstance(outcome, OutcomeUnknown) for outcome in outcomes[4:])


def told(world: World, number: int = -1) -> bytes:
    """The number that a call told of the last message of its first room."""
    return rooms_of(world.redis.sent[number][0])[0].told


@pytest.mark.parametrize("size", [0, 900, 1024, 4000])
async def test_a_message_that_is_the_only_one_of_its_room_is_written_as_those_of_rooms_with_several(size: int) -> None:
    world = World()
    envelope = b'{"x":"%s"}' % (b"x" * size)
    for room in ("several", "one", "several", "one with addressees"):
        world.add(envelope, room=room, to=("p", "q") if room == "one with addressees" else ())
    await turn()
    ((command, _),) = world.redis.sent
    several, one, addressed = rooms_of(command)
    assert several.texts[0].startswith(b"m 7-9 peer \n")
    assert (one.texts, one.told, one.version) == (several.texts[:1], b"9", several.version)
    assert (one.rest, several.rest) == (b"7-8 150000 - 5 ", b"7-8 150000 - 5 5 ")
    assert (one.addressees, addressed.addressees) == ([], [b"p", b"q"])
    assert addressed.texts == [one.texts[0].replace(b"peer \n", b"peer p,q\n")]


async def test_a_call_about_rooms_with_one_message_each_is_written_again_with_the_same_ids() -> None:
    world = World()
    for n, text in enumerate(texts(3)):
        world.add(text, room=f"room{n}")
    await turn()
    ((command, answer),) = world.redis.sent
    answer(NOSCRIPT)
    ((again, done),) = world.redis.resent
    first, second = rooms_of(command), rooms_of(again)
    assert [(room.texts, room.told) for room in second] == [(room.texts, room.told) for room in first]
    done([9, 9, 10])
    assert list(world.outcomes.values()) == [Receipt(b"7-9"), Receipt(b"7-9"), Receipt(b"7-10")]


async def test_ids_are_told_ahead_for_calls_on_their_way_and_given_up_after_a_surprise() -> None:
    world = World()
    world.writer.add("room")
    for _ in range(3):
        world.add(b"{}")
        world.add(b"{}")
        await turn()
    assert [told(world, n) for n in range(3)] == [b"10", b"12", b"14"]
    # Another worker has published two messages in between.
    world.redis.sent[0][1]([10])
    world.redis.sent[1][1]([14])
    assert world.outcomes[b"{}"] == Receipt(b"7-14")
    world.redis.sent[2][1]([16])
    for newest in range(17, 33):
        world.add(b"{}")
        await turn()
        # Without ids, a text begins with its sender.
        assert told(world) == b"0"
        assert rooms_of(world.redis.sent[-1][0])[0].texts[0].startswith(b"peer ")
        world.redis.sent[-1][1]([newest])
        assert world.outcomes[b"{}"] == Receipt(b"7-%d" % newest)
    world.add(b"{}")
    await turn()
    assert told(world) == b"33"


async def test_an_id_is_told_only_after_another_one_of_the_room() -> None:
    world = World()
    world.add(b"{}", seen=MessageId(7, 0))
    await turn()
    assert told(world) == b"0"


async def test_a_call_that_is_sent_again_tells_the_same_ids() -> None:
    world = World()
    world.writer.add("room")
    for text in texts(2):
        world.add(text)
        await turn()
    for _, done in world.redis.sent:
        done(NOSCRIPT)
    assert [rooms_of(command)[0].told for command, _ in world.redis.resent] == [b"9", b"10"]


@pytest.mark.parametrize("change", ["level", "history"])
async def test_a_call_that_may_not_be_stored_any_more_is_sent_again_one_by_one(change: str) -> None:
    world = World()
    world.writer.add("room")
    for text in texts(2):
        world.add(text)
    await turn()
    if change == "level":
        world.writer.set_level(Level.FULL)
    else:
        world.writer.set_history("room", on=False)
    world.redis.sent[0][1](NOSCRIPT)
    assert [bodies(command) for command, _ in world.redis.resent] == [[text] for text in texts(2)]
    assert [command[10] for command, _ in world.redis.resent] == [b"0", b"0"]
    world.redis.resent[1][1]([b"sent", b"7-9", b"9"])
    assert list(world.outcomes) == texts(1, 1)
