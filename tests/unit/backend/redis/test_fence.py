from relay.backend.redis.clock import RedisClock
from relay.backend.redis.connection import Pending, pack
from relay.backend.redis.fence import NO_FENCE, Fence, Fenced, fenced
from relay.backend.redis.place import ignore
from relay.backend.redis.scripts import JOIN, LEAVE, PUBLISH, ROSTER, has_fence, sharded, with_fence
from tests.unit.backend.redis.test_publishing import parsed


class World:
    """A fence over a clock of Redis that is 1,000 seconds ahead, for connections given up after 5 seconds."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stood = 0.0
        """Seconds for which the worker stood still."""
        self.clock = RedisClock(lambda: self.now, 5)
        self.fence = Fence(self.clock, 5)
        self.pending = Pending()

    def learn(self) -> None:
        """Learn the time of Redis, as with each heartbeat."""
        self.clock.learn(round(1_000_000 + self.now * 1000), self.now)

    def part(self) -> int:
        if self.clock.deadline:
            self.learn()
        (part,) = parsed(b"*1\r\n" + self.fence.part(self.pending, self.now - self.stood))
        assert len(part) == 13
        return int(part)


def test_a_fence_is_the_time_at_which_the_oldest_unanswered_call_is_given_up() -> None:
    world = World()
    world.learn()
    assert world.part() == 1_105_000
    world.pending.add(105.0, ignore)
    world.now = 103.0
    assert world.part() == 1_105_000
    world.pending.resolve([b"OK"])
    # It is used again for a moment.
    assert world.part() == 1_105_000
    world.now = 103.1
    assert world.part() == 1_108_100


def test_a_call_after_a_stall_of_the_worker_does_not_outlast_those_before_it() -> None:
    world = World()
    world.learn()
    first = world.part()
    world.pending.add(105.0, ignore)
    # Redis stands still as well, and goes on at the same time: it does not execute the first call any more.
    world.now, world.stood = 106.0, 5.75
    assert world.part() <= first
    # Also while there is always some unanswered call.
    for _ in range(11):
        world.now += 1
        world.pending.add(world.now - world.stood + 4, ignore)
        world.pending.resolve([b"OK"])
        last = world.part()
    assert last == 1_000_000 + (world.now + 4) * 1000
    world.now, world.stood = world.now + 3, world.stood + 3
    assert world.part() == last
    world.pending.resolve([b"OK"])
    world.now += 1
    assert world.part() == 1_000_000 + (world.now + 5) * 1000


def test_without_the_time_of_redis_there_is_no_fence() -> None:
    world = World()
    assert world.part() == 0
    world.learn()
    world.fence.renew()
    assert world.part() == 1_105_000


def test_an_overdue_call_makes_a_fence_that_is_over() -> None:
    world = World()
    world.learn()
    world.pending.add(99.0, ignore)
    assert world.part() == 1_099_000


def test_a_fenced_command_lacks_its_last_part() -> None:
    command = fenced(pack("EVALSHA", "sha", 0, "x\ry"))
    assert isinstance(command, Fenced)
    assert parsed(command + NO_FENCE) == [b"EVALSHA", b"sha", b"0", b"x\ry", b"0" * 13]


def test_scripts_that_publish_events_have_a_fence() -> None:
    for script in JOIN, LEAVE, PUBLISH:
        for variant in script, sharded(script):
            assert has_fence(variant)
            assert with_fence(variant).source.endswith(variant.source)
            assert with_fence(variant).sha != variant.sha
    assert not has_fence(ROSTER)
    assert with_fence(ROSTER) == ROSTER
