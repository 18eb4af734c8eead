import asyncio
from typing import Any

import hiredis
import pytest

from relay.backend.redis.fence import Fenced
from relay.backend.redis.keys import Keys
from relay.backend.redis.publish_calls import PublishCalls
from relay.backend.redis.publishing import PublishCommands
from relay.backend.redis.scripts import PUBLISH, PUBLISH_TOGETHER
from relay.backend.settings import HistorySettings, RoomSettings
from relay.model.commands import Publish
from relay.model.envelope import MembershipVersion, MessageId
from relay.model.errors import OutcomeUnknown, RelayError, Replaced, Unavailable
from relay.model.publication import Publication, Receipt
from tests.unit.backend.redis.test_publishing import parsed

VERSION, SEEN = MembershipVersion(9, 7), MessageId(7, 8)
NOSCRIPT = hiredis.ReplyError("NOSCRIPT No matching script")


class FakeRedis:
    """Records what is sent; a test answers."""

    def __init__(self) -> None:
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


def bodies(command: list[bytes]) -> list[bytes]:
    if command[1] == PUBLISH.sha.encode():
        texts = [command[8 if command[2] == b"4" else 9]]
    else:
        assert command[1] == PUBLISH_TOGETHER.sha.encode()
        texts = command[16 : 16 + int(command[8])]
    return [text.split(b"\n")[2].partition(b',"from"')[0] + b"}" for text in texts]


class World:
    """Calls over a fake Redis, and the outcomes by the envelope's text."""

    def __init__(self, *, fenced: bool = False, **history: Any) -> None:
        self.redis = FakeRedis()
        self.writer = PublishCommands(
            Keys("relay"), RoomSettings(history=HistorySettings(**history)), lambda: 0.0, self.unstored, fenced=fenced
        )
        self.calls = PublishCalls(self.writer, self.redis)  # type: ignore[arg-type]
        self.outcomes: dict[bytes, Any] = {}
        self.number_unstored = 0

    def unstored(self) -> None:
        self.number_unstored += 1

    def add(
        self,
        text: bytes,
        *,
        room: str = "room",
        version: MembershipVersion = VERSION,
        seen: MessageId = SEEN,
        **more: Any,
    ) -> None:
        publication = Publication(Publish(text, **more), room, "peer", 5, version, seen)
        self.calls.add(publication, lambda outcome: self.outcomes.update({text: outcome}))


def texts(number: int, first: int = 0) -> list[bytes]:
    return [b'{"n":%d}' % n for n in range(first, first + number)]


async def turn() -> None:
    await asyncio.sleep(0)


async def test_messages_of_one_turn_share_a_call_of_their_room_and_leave_at_its_end() -> None:
    world = World()
    for text in texts(4):
        world.add(text)
    world.add(b'{"other":1}', room="other")
    world.add(b'{"n":4}')
    assert world.redis.sent == []
    await turn()
    assert world.redis.texts() == [texts(5), [b'{"other":1}']]
    assert world.redis.flushes == 1
    world.add(b"{}")
    await turn()
    assert len(world.redis.sent) == 3
    (shared, _), *_ = world.redis.sent
    assert shared[2:9] == [b"4", *map(str.encode, Keys("relay").of_room("room")[:4]), b"relay:{room}", b"5"]
    assert shared[9:16] == [b"9", b"7", b"8", b"1000", b"150000", b"7 3600000 150000 10000 120000 0 ", b"5 5 5 5 5 "]


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
    assert world.redis.texts() == [*[[text] for text in texts(3)], texts(2, 3)]
    assert world.redis.sent[-1][0][-2:] == [b"q", b"q"]


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
    world.redis.sent[0][1]([b"7-9", [b"replaced"], hiredis.ReplyError("ERR x"), [b"sent", b"7-10", b"11"], b"7-11"])
    assert list(world.outcomes) == texts(5)
    first, second, third, fourth, fifth = world.outcomes.values()
    assert (first, fifth) == (Receipt(b"7-9"), Receipt(b"7-11"))
    assert isinstance(second, Replaced)
    assert isinstance(third, OutcomeUnknown)
    assert fourth == Receipt(b"7-10", version=MembershipVersion(11, 7))


@pytest.mark.parametrize("reply", [OutcomeUnknown(), hiredis.ReplyError("OOM"), [b"7-9"], b"7-9x", None])
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
    world.redis.sent[0][1]([b"7-9", b"7-10"])
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
    done([b"7-9", b"7-10", b"7-11"])
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
    done([b"7-9", b"7-10", b"7-11"] if number > 1 else b"7-9")
    assert [outcome.id.seq for outcome in world.outcomes.values()] == [9, 10, 11][:number]


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
    assert world.redis.sent[0][0][12:14] == [b"0", b"0"]
