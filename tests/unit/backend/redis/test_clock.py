from relay.backend.redis.clock import RedisClock


def test_the_time_in_redis_is_learned_from_prompt_replies_only() -> None:
    now = [100.0]
    clock = RedisClock(lambda: now[0], timeout=5)
    assert (clock.time, clock.deadline) == (100, 0)
    clock.learn(1_000_000, asked=70)
    assert clock.deadline == 1_005_000
    clock.learn(2_000_000, asked=70)
    assert clock.deadline == 1_005_000
    clock.learn(2_000_000, asked=99.5)
    now[0] += 10
    assert clock.deadline == 2_015_000
