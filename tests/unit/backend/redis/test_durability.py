"""Receipts that wait for replicas: one WAIT for many, on the run of Redis that has the messages, and never for long."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay.backend.redis import durability
from relay.backend.redis.connection import Dialer
from relay.backend.redis.durability import Replicas
from relay.backend.redis.keys import Keys
from relay.backend.redis.run import RedisRun
from relay.model.errors import OutcomeUnknown, RelayError, Replaced
from relay.model.publication import Receipt
from tests.fleet import eventually
from tests.unit.backend.redis.conftest import ScriptedRedis

RUN = b"run.repl 0"


class Scene:
    """A Redis whose answers to WAIT a test decides, and the outcomes of publications."""

    def __init__(self, server: ScriptedRedis) -> None:
        self.server = server
        self.run = RedisRun(Keys("relay"), ttl=60, on_change=lambda: None)
        self.told = RUN
        self.renewed = b":1\r\n"
        self.confirmed: bytes | None = b":1\r\n"
        self.info = b"+OK\r\n"
        self.hangs_up_at = b""
        # How many questions are behind a WAIT without an answer; None without such a WAIT.
        self.behind: int | None = None
        self.outcomes: list[tuple[int, Receipt | RelayError]] = []
        self.unconfirmed: list[int] = []
        self.run.note(RUN)
        server.answer = self._answer

    def _answer(self, command: list[bytes]) -> bytes | None:
        if command[0] == self.hangs_up_at:
            self.hangs_up_at = b""
            self.server.hang_up()
            return None
        match command[0]:
            case b"EVALSHA":
                self.behind = None
                return b"$%d\r\n%b\r\n" % (len(self.told), self.told)
            case b"PEXPIRE":
                return self.renewed
            case b"WAIT":
                if self.confirmed is None:
                    self.behind = 0
                return self.confirmed
            case b"INFO" if self.behind is not None:
                # A connection that waits gets no other answer.
                self.behind += 1
                return None
            case b"INFO":
                return self.info
        return b"+OK\r\n"

    @asynccontextmanager
    async def replicas(self, *, timeout: float = 5, number: int = 1) -> AsyncIterator[Replicas]:
        async with Replicas(
            Dialer(self.server.url, timeout=5, name="test"),
            self.run,
            number=number,
            timeout=timeout,
            on_reconnect=lambda: None,
            on_unconfirmed=lambda: self.unconfirmed.append(1),
        ) as replicas:
            await eventually(lambda: not replicas.report)
            yield replicas

    def publish(self, replicas: Replicas, *numbers: int) -> None:
        for number in numbers:
            receipt = Receipt(b"1-%d" % number)
            replicas.after(lambda outcome, number=number: self.outcomes.append((number, outcome)), receipt)

    def has_replicas(self, *names: str) -> None:
        """Let Redis tell these replicas."""
        lines = [f"slave{at}:ip={name},port=6379,state=online,offset=5,lag=0\r\n" for at, name in enumerate(names)]
        text = "".join(["role:master\r\n", *lines, "master_repl_offset:5\r\n"]).encode()
        self.info = b"$%d\r\n%b\r\n" % (len(text), text)

    def waits(self) -> list[list[bytes]]:
        return [command for command in self.server.commands if command[0] == b"WAIT"]

    async def answered(self, number: int) -> None:
        await eventually(lambda: len(self.outcomes) == number)

    def open_waits(self, answer: bytes = b":1\r\n") -> None:
        """Answer the WAIT that is on its way, and all later ones."""
        self.confirmed = answer
        self.server.clients[-1].write(answer + self.info * (self.behind or 0))
        self.behind = None


@pytest.fixture
def scene(server: ScriptedRedis) -> Scene:
    return Scene(server)


def is_unknown(outcome: object) -> bool:
    return isinstance(outcome, OutcomeUnknown)


async def test_one_wait_is_for_all_receipts_of_a_turn_and_follows_a_write(scene: Scene) -> None:
    async with scene.replicas(number=2) as replicas:
        scene.confirmed = b":2\r\n"
        scene.publish(replicas, 1, 2, 3)
        assert scene.outcomes == []
        await scene.answered(3)
    assert [(number, outcome.text) for number, outcome in scene.outcomes] == [(1, b"1-1"), (2, b"1-2"), (3, b"1-3")]
    assert [command[0] for command in scene.server.commands[-2:]] == [b"PEXPIRE", b"WAIT"]
    ((_, number, milliseconds),) = scene.waits()
    assert number == b"2"
    assert 4000 < int(milliseconds) <= 5000


async def test_messages_wait_for_all_replicas_in_sync_also_if_one_has_left_just_now(scene: Scene) -> None:
    scene.has_replicas("a", "b")
    scene.confirmed = b":2\r\n"
    async with scene.replicas(timeout=3) as replicas:
        scene.publish(replicas, 1)
        await scene.answered(1)
        # The worker asks the same run of Redis again, perhaps a master of the past: a replica may have taken its part.
        scene.has_replicas("a")
        scene.confirmed = b":1\r\n"
        scene.server.hang_up()
        scene.publish(replicas, 2)
        await eventually(lambda: len(scene.waits()) > 2)
        assert len(scene.outcomes) == 1
        await scene.answered(2)
    assert all(isinstance(outcome, Receipt) for _, outcome in scene.outcomes)
    numbers = [number for _, number, _ in scene.waits()]
    assert numbers == [b"2"] * (len(numbers) - 1) + [b"1"]


async def test_replicas_are_counted_while_no_message_waits(scene: Scene) -> None:
    async with scene.replicas(timeout=2) as replicas:
        scene.has_replicas("a", "b")
        await eventually(lambda: replicas._in_sync.needed == 2)
        assert scene.waits() == []


async def test_messages_wait_no_longer_than_for_the_replicas_that_they_must_have(scene: Scene) -> None:
    scene.has_replicas("a", "b")
    scene.confirmed = b":0\r\n"
    async with scene.replicas(timeout=1) as replicas:
        scene.publish(replicas, 1)
        await scene.answered(1)
        assert is_unknown(scene.outcomes[0][1])


async def test_another_run_of_redis_has_other_replicas(scene: Scene) -> None:
    scene.has_replicas("a", "b")
    scene.confirmed = b":2\r\n"
    async with scene.replicas() as replicas:
        scene.publish(replicas, 1)
        await scene.answered(1)
        scene.has_replicas()
        scene.told, scene.confirmed = b"other.repl 7", b":1\r\n"
        scene.run.note(scene.told)
        scene.publish(replicas, 2)
        await scene.answered(2)
    assert [number for _, number, _ in scene.waits()] == [b"2", b"1"]


async def test_a_connection_that_is_lost_before_the_first_count_is_not_used(scene: Scene) -> None:
    async with Replicas(
        Dialer(scene.server.url, timeout=5, name="test"), scene.run, number=1, timeout=5, on_reconnect=lambda: None
    ) as replicas:
        scene.hangs_up_at = b"INFO"
        await eventually(lambda: scene.hangs_up_at == b"")
        await eventually(lambda: not replicas.report)
        scene.publish(replicas, 1)
        await scene.answered(1)
    assert isinstance(scene.outcomes[0][1], Receipt)


async def test_receipts_that_come_during_a_wait_share_the_next_one(scene: Scene) -> None:
    scene.confirmed = None
    async with scene.replicas() as replicas:
        scene.publish(replicas, 1)
        await eventually(scene.waits)
        for number in range(2, 20):
            scene.publish(replicas, number)
            await asyncio.sleep(0)
        assert scene.outcomes == []
        scene.open_waits()
        await scene.answered(19)
    assert [number for number, _ in scene.outcomes] == list(range(1, 20))
    assert len(scene.waits()) == 2


async def test_a_message_that_too_few_replicas_have_is_not_acknowledged(scene: Scene) -> None:
    scene.confirmed = b":1\r\n"
    async with scene.replicas(number=2) as replicas:
        scene.publish(replicas, 1)
        await scene.answered(1)
        assert is_unknown(scene.outcomes[0][1])
        assert "too few of its replicas" in str(scene.outcomes[0][1])
        assert replicas.report == "1 of 2 replicas had it within 5 s"
        assert len(scene.unconfirmed) == 1
        scene.confirmed = b":2\r\n"
        scene.publish(replicas, 2)
        await scene.answered(2)
        assert isinstance(scene.outcomes[1][1], Receipt)
        assert replicas.report == ""


async def test_an_answer_to_wait_that_is_no_number_confirms_nothing_and_keeps_nobody_waiting(scene: Scene) -> None:
    scene.confirmed = b"+OK\r\n"
    async with scene.replicas() as replicas:
        scene.publish(replicas, 1)
        async with asyncio.timeout(2):
            await scene.answered(1)
        assert is_unknown(scene.outcomes[0][1])


async def test_a_receipt_waits_for_a_bounded_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "_GRACE", 0.2)
    scene.confirmed = None
    async with scene.replicas(timeout=0.3) as replicas:
        scene.publish(replicas, 1, 2)
        await scene.answered(2)
        assert all(is_unknown(outcome) for _, outcome in scene.outcomes)
        # A connection without an answer is given up, and the next one serves.
        await eventually(lambda: len(scene.server.clients) == 2)
        scene.confirmed = b":1\r\n"
        await eventually(lambda: not replicas._reconnector.report)
        scene.publish(replicas, 3)
        await scene.answered(3)
    assert isinstance(scene.outcomes[2][1], Receipt)


async def test_a_lost_connection_is_no_lost_receipt(scene: Scene) -> None:
    scene.confirmed = None
    async with scene.replicas() as replicas:
        scene.publish(replicas, 1)
        await eventually(scene.waits)
        scene.publish(replicas, 2)
        scene.confirmed = b":1\r\n"
        scene.server.hang_up()
        await scene.answered(2)
    assert [(number, type(outcome)) for number, outcome in scene.outcomes] == [(1, Receipt), (2, Receipt)]


async def test_replicas_of_another_master_do_not_count(scene: Scene) -> None:
    scene.confirmed = None
    async with scene.replicas() as replicas:
        scene.publish(replicas, 1)
        await eventually(scene.waits)
        # A failover: the connection for commands has met the other master, and then the one of this test does.
        scene.told, scene.confirmed = b"other.repl 7", b":1\r\n"
        scene.run.note(scene.told)
        scene.server.hang_up()
        await scene.answered(1)
        assert is_unknown(scene.outcomes[0][1])
        scene.publish(replicas, 2)
        await scene.answered(2)
        assert isinstance(scene.outcomes[1][1], Receipt)
    assert len(scene.waits()) == 2


async def test_a_connection_to_a_master_of_the_past_is_left(scene: Scene) -> None:
    async with scene.replicas() as replicas:
        scene.told = b"other.repl 7"
        scene.run.note(scene.told)
        scene.publish(replicas, 1)
        await scene.answered(1)
    assert isinstance(scene.outcomes[0][1], Receipt)
    assert len(scene.server.clients) == 2


@pytest.mark.parametrize(
    ("renewed", "confirmed", "report"),
    [
        (b":0\r\n", b":1\r\n", "Redis has lost its data"),
        (b"-READONLY You can't write against a read only replica.\r\n", b":1\r\n", "takes no writes"),
        (b":1\r\n", b"-UNBLOCKED force unblocked from blocking operation\r\n", "UNBLOCKED"),
        (b":1\r\n", b"-NOPERM User relay has no permissions to run the 'wait' command\r\n", "lacks a permission"),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", b":1\r\n", "too few replicas"),
    ],
)
async def test_an_error_confirms_nothing_and_is_reported(
    scene: Scene, renewed: bytes, confirmed: bytes, report: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene.renewed, scene.confirmed = renewed, confirmed
    async with scene.replicas() as replicas:
        scene.publish(replicas, 1)
        await scene.answered(1)
        assert is_unknown(scene.outcomes[0][1])
        assert report in caplog.text
        scene.renewed = scene.confirmed = b":1\r\n"
        scene.publish(replicas, 2)
        await scene.answered(2)
        assert isinstance(scene.outcomes[1][1], Receipt)


async def test_a_redis_that_does_not_tell_its_run_confirms_nothing(server: ScriptedRedis) -> None:
    scene = Scene(server)
    scene.told = b""
    replicas = Replicas(
        Dialer(server.url, timeout=5, name="test"), scene.run, number=1, timeout=0.3, on_reconnect=lambda: None
    )
    async with replicas:
        scene.publish(replicas, 1)
        await scene.answered(1)
        assert is_unknown(scene.outcomes[0][1])
        assert "+info" in replicas.report
    assert scene.waits() == []


async def test_errors_do_not_wait(scene: Scene) -> None:
    async with scene.replicas() as replicas:
        replicas.after(lambda outcome: scene.outcomes.append((0, outcome)), Replaced())
        assert isinstance(scene.outcomes[0][1], Replaced)


async def test_the_number_of_receipts_that_wait_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "_MOST", 3)
    scene.confirmed = None
    async with scene.replicas() as replicas:
        scene.publish(replicas, 1, 2, 3, 4)
        assert [(number, is_unknown(outcome)) for number, outcome in scene.outcomes] == [(4, True)]


async def test_a_worker_that_stops_answers_all(scene: Scene) -> None:
    scene.confirmed = None
    async with scene.replicas() as replicas:
        scene.publish(replicas, 1)
        await eventually(scene.waits)
        scene.publish(replicas, 2)
    assert [is_unknown(outcome) for _, outcome in scene.outcomes] == [True, True]
