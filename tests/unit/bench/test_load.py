"""The load generator against a relay: the clients of each protocol of its own hear each other."""

import pytest

from tests.bench import install
from tests.bench.measure import Pace, calm_sample, whole
from tests.bench.run import Broken
from tests.bench.shapes import Shape
from tests.bench.systems import SYSTEMS, pure
from tests.fleet import require


@pytest.mark.timeout(180)
@pytest.mark.parametrize("key", ["relay-http", "relay-peerjs-memory", "relay-rtcmulticonnection", "relay-signalr"])
def test_a_short_load_is_measured(key: str) -> None:
    for tool in ("cc", "redis-server"):
        require(tool)
    install.BUILD.mkdir(parents=True, exist_ok=True)
    install.build_load()
    [system] = [one for one in SYSTEMS if one.key == key]
    shape = Shape("smoke", "200 messages/s, 2 rooms × 2", "steady", 2, 2, 200)
    figures, failures = calm_sample(pure(system), shape, Pace(seconds=0.5, warmup=0.2, tries=5))
    assert figures["cpu"] > 0, failures
    assert figures["messages_per_second"] > 0


@pytest.mark.timeout(180)
def test_latency_counts_from_the_send_to_the_arrival_if_redis_is_on_the_generators_core() -> None:
    for tool in ("cc", "redis-server"):
        require(tool)
    install.BUILD.mkdir(parents=True, exist_ok=True)
    install.build_load()
    [system] = [one for one in SYSTEMS if one.key == "relay"]
    shape = Shape("smoke", "200 messages/s, 2 rooms × 2", "steady", 2, 2, 200, apart=True)
    figures, failures = calm_sample(pure(system), shape, Pace(seconds=0.5, warmup=0.2, tries=5))
    # Microseconds: neither less than the way takes, nor the distance between two clocks.
    assert 20 < figures["p50"] < 1_000_000, failures


@pytest.mark.timeout(180)
def test_the_second_load_generator_measures_too() -> None:
    for tool in ("node", "npm", "redis-server"):
        require(tool)
    install.BUILD.mkdir(parents=True, exist_ok=True)
    install.install_npm()
    [system] = [one for one in SYSTEMS if one.key == "relay-memory"]
    shape = Shape("smoke", "200 messages/s, 2 rooms × 3", "steady", 2, 3, 200, generator="second.js")
    figures, failures = calm_sample(pure(system), shape, Pace(seconds=0.5, warmup=0.2, tries=5))
    assert figures["cpu_message"] == pytest.approx(2 * figures["cpu"]), failures
    assert figures["messages_per_second"] == pytest.approx(200, rel=0.3)


def test_a_sample_with_lost_messages_has_no_figures() -> None:
    with pytest.raises(Broken, match="3 messages were lost"):
        whole({"lost": 3.0, "cpu": 1.0})
    assert whole({"lost": 0.0, "cpu": 1.0})


@pytest.mark.timeout(180)
def test_a_few_calls_are_measured() -> None:
    for tool in ("cc", "redis-server"):
        require(tool)
    install.BUILD.mkdir(parents=True, exist_ok=True)
    install.build_load()
    [system] = [one for one in SYSTEMS if one.key == "relay-rtcmulticonnection-memory"]
    shape = Shape("smoke", "2 calls of two", "calls", 2, 2, 40)
    figures, failures = calm_sample(pure(system), shape, Pace(seconds=0.5, warmup=0.2, tries=5))
    assert figures["call_cpu"] > 0, failures


def test_systems_have_names_of_their_own() -> None:
    assert len({system.key for system in SYSTEMS}) == len({system.title for system in SYSTEMS}) == len(SYSTEMS)
