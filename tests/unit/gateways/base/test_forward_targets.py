"""Where the worker of a session is looked for, and which addresses are not believed."""

import asyncio
from ipaddress import ip_network

import pytest

from relay.gateways.base.forward_targets import ForbiddenTarget, ForwardTargets, parse_target
from relay.model.errors import Unavailable
from relay.model.workers import LocalWorkers, Owner

NETWORKS = [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]
ME = Owner(b"group1", 1)
OTHER = Owner(b"group2", 0)
LOCAL = LocalWorkers(ME, ("/run/0", "/run/1", "/run/2"))


class Lookups:
    """Redis's answers: `address`, or `failure` if it is set."""

    def __init__(self, address: str = "10.1.2.3:8890") -> None:
        self.address = address
        self.failure: Exception | None = None
        self.owners: list[str] = []
        self.time = 100.0
        self.answer = asyncio.Event()
        self.answer.set()

    async def __call__(self, owner: str) -> str:
        self.owners.append(owner)
        await self.answer.wait()
        if self.failure is not None:
            raise self.failure
        return self.address

    def targets(self, networks: bool = True) -> ForwardTargets:
        return ForwardTargets(LOCAL, NETWORKS if networks else [], self, lambda: self.time)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("10.1.2.3:8890", ("10.1.2.3", 8890)),
        ("[fd00::1]:1", ("fd00::1", 1)),
        ("10.1.255.255:65535", ("10.1.255.255", 65535)),
    ],
)
def test_an_address_within_the_networks(text: str, target: tuple[str, int]) -> None:
    assert parse_target(text, NETWORKS) == target


@pytest.mark.parametrize(
    "text",
    [
        "10.2.0.1:8890",
        "127.0.0.1:6379",
        "169.254.169.254:80",
        "[::1]:8890",
        "[::ffff:10.1.2.3]:8890",
        "0.0.0.0:8890",
        "10.1.2.3",
        "10.1.2.3:0",
        "10.1.2.3:65536",
        "10.1.2.3:99999",
        "10.1.2.3:8890 ",
        "10.1.2.3:8890\r\n",
        "10.1.2.3:-1",
        "10.1.2:80",
        "010.1.2.3:80",
        "0x0a010203:80",
        "167837955:80",
        "relay.example:80",
        "10.1.2.3:8890@10.9.9.9:80",
        "http://10.1.2.3:8890",
        "/run/relay.sock",
        "[10.1.2.3%eth0]:80",
        "\uff11\uff10.1.2.3:80",
        "",
        ":",
        "x" * 500,
    ],
)
def test_any_other_text_is_forbidden(text: str) -> None:
    with pytest.raises(ForbiddenTarget):
        parse_target(text, NETWORKS)


async def test_a_local_worker_is_behind_its_socket() -> None:
    redis = Lookups()
    assert await redis.targets().find(Owner(b"group1", 2)) == "/run/2"
    assert redis.owners == []


@pytest.mark.parametrize("index", [1, 3, 255])
async def test_there_is_no_target_for_this_worker_itself_or_an_index_too_high(index: int) -> None:
    assert await Lookups().targets().find(Owner(b"group1", index)) is None


async def test_a_worker_of_another_replica_is_at_its_address() -> None:
    redis = Lookups()
    assert await redis.targets().find(OTHER) == ("10.1.2.3", 8890)
    assert redis.owners == [str(OTHER)]


async def test_without_networks_redis_is_not_asked() -> None:
    redis = Lookups()
    assert await redis.targets(networks=False).find(OTHER) is None
    assert redis.owners == []


@pytest.mark.parametrize(("address", "seconds"), [("10.1.2.3:8890", 2.0), ("", 0.25)])
async def test_an_address_is_remembered_for_two_seconds_and_for_a_moment_that_there_is_none(
    address: str, seconds: float
) -> None:
    redis = Lookups(address)
    targets = redis.targets()
    for later in (0.0, seconds - 0.1, 0.2):
        redis.time += later
        assert bool(await targets.find(OTHER)) == bool(address)
    assert len(redis.owners) == 2


async def test_when_redis_has_lost_its_data_the_last_address_is_used_for_a_time() -> None:
    redis = Lookups()
    targets = redis.targets()
    await targets.find(OTHER)
    redis.address = ""
    for later in (7, 1, 1, 0.9):
        redis.time += later
        assert await targets.find(OTHER) == ("10.1.2.3", 8890)
    redis.time += 0.3
    assert await targets.find(OTHER) is None


async def test_a_worker_that_refused_and_has_no_address_is_gone() -> None:
    redis = Lookups()
    targets = redis.targets()
    await targets.find(OTHER)
    redis.address = ""
    targets.forget(OTHER)
    assert await targets.find(OTHER) is None


async def test_requests_at_the_same_time_ask_once_and_survive_one_that_is_dropped() -> None:
    redis = Lookups()
    redis.answer.clear()
    targets = redis.targets()
    tasks = [asyncio.create_task(targets.find(OTHER)) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    redis.answer.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == [("10.1.2.3", 8890)] * 4
    assert len(redis.owners) == 1


async def test_while_redis_is_away_the_last_address_is_used_for_a_time() -> None:
    redis = Lookups()
    targets = redis.targets()
    await targets.find(OTHER)
    redis.failure = Unavailable()
    redis.time += 14
    assert await targets.find(OTHER) == ("10.1.2.3", 8890)
    redis.time += 2
    with pytest.raises(Unavailable):
        await targets.find(OTHER)


async def test_while_redis_is_away_a_worker_without_an_address_is_not_said_to_be_gone() -> None:
    redis = Lookups("")
    targets = redis.targets()
    assert await targets.find(OTHER) is None
    redis.failure = Unavailable()
    redis.time += 1
    with pytest.raises(Unavailable):
        await targets.find(OTHER)


async def test_an_address_that_was_of_no_use_is_forgotten() -> None:
    redis = Lookups()
    targets = redis.targets()
    await targets.find(OTHER)
    targets.forget(OTHER)
    redis.address = "10.1.2.4:8890"
    assert await targets.find(OTHER) == ("10.1.2.4", 8890)


async def test_a_forbidden_address_is_logged_once_a_minute_and_escaped(caplog: pytest.LogCaptureFixture) -> None:
    redis = Lookups("169.254.169.254:80\r\nfake log line" + "x" * 500)
    targets = redis.targets()
    for later in (0, 30, 31):
        redis.time += later
        with pytest.raises(ForbiddenTarget):
            await targets.find(OTHER)
    assert len(caplog.records) == 2
    assert "\n" not in caplog.records[0].getMessage()
    assert len(caplog.records[0].getMessage()) < 500


async def test_the_number_of_remembered_workers_is_bounded() -> None:
    redis = Lookups()
    targets = redis.targets()
    for number in range(5000):
        await targets.find(Owner(number.to_bytes(6), 0))
    assert len(targets._known) <= 4096
