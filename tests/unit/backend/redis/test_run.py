"""The run of Redis, as a worker learns it."""

from typing import Any

import hiredis
import pytest

from relay.backend.redis.keys import Keys
from relay.backend.redis.run import RedisRun
from relay.model.errors import OutcomeUnknown, Unavailable


class World:
    def __init__(self) -> None:
        self.changes = 0
        self.run = RedisRun(Keys("relay"), ttl=60, on_change=self._changed)

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture
def world() -> World:
    return World()


def test_the_first_run_is_no_change(world: World) -> None:
    world.run.note(b"one.x 0")
    world.run.note(b"one.x 0")
    assert (world.run.era, world.run.changes, world.changes) == (0, 0, 0)


def test_another_run_is_a_change_with_one_line_for_operators(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.run.note(b"one.x 0")
    for _ in range(2):
        world.run.note(b"two.x 1700")
    assert (world.run.era, world.run.changes, world.changes) == (1700, 1, 1)
    assert [record.message for record in caplog.records] == [
        "Redis was restarted, or another one took its part (run two.x, before one.x); this worker compares its rooms "
        "with it, and rooms whose data may be older begin a new epoch"
    ]


def test_a_lost_connection_is_no_refusal_to_tell_the_run(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.run.note(Unavailable("Redis could not be reached"))
    world.run.note(OutcomeUnknown())
    assert caplog.messages == []


def test_an_era_that_another_worker_began_is_taken_over_without_a_change(world: World) -> None:
    world.run.note(b"one.x 0")
    world.run.note(b"one.x 1700")
    assert (world.run.era, world.run.changes) == (1700, 0)


def test_the_command_names_the_known_run(world: World) -> None:
    assert world.run.command().endswith(b"$9\r\nrelay:run\r\n$5\r\n60000\r\n$0\r\n\r\n")
    world.run.note(b"one.x 1700")
    assert world.run.command().endswith(b"$10\r\none.x 1700\r\n")


@pytest.mark.parametrize("reply", [b"", b"OK", b"one x", hiredis.ReplyError("NOPERM no\x1b"), None, 7])
def test_without_a_run_id_the_relay_goes_on_and_says_so_once(
    world: World, reply: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        world.run.note(reply)
    assert (world.run.era, world.changes, len(caplog.records)) == (0, 0, 1)
    assert "does not tell its run id" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (b"", "+info"),
        (
            hiredis.ReplyError("NOPERM this user has no permissions to access one of the keys"),
            "the keys that begin with",
        ),
        (hiredis.ReplyError("ERR user_script:3: bad"), "the relay's script for it has failed"),
    ],
)
def test_the_advice_follows_from_the_refusal(
    world: World, reply: Any, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.run.note(reply)
    assert advice in caplog.text
    assert ("INFO" in caplog.text) == (reply == b"")


def test_a_redis_that_takes_no_writes_is_told_until_it_takes_them(world: World) -> None:
    world.run.note(b"one.x 1700")
    world.run.note(hiredis.ReplyError("NOREPLICAS Not enough good replicas to write."))
    assert world.run.refusal.startswith("Redis has too few replicas, and takes no writes (NOREPLICAS ")
    # Of another node by now; and the connection was lost.
    for reply in (hiredis.ReplyError("MOVED 7 127.0.0.1:7001"), OutcomeUnknown(), b"one.x 1700"):
        world.run.refusal = "before"
        world.run.note(reply)
        assert world.run.refusal == ""


def test_an_error_later_on_changes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.run.note(b"one.x 1700")
    world.run.note(hiredis.ReplyError("NOSCRIPT"))
    assert (world.run.era, len(caplog.records)) == (1700, 0)
