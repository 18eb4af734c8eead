import asyncio
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import generate_latest

from relay.backend.subjects import Place
from relay.config import Settings
from relay.gateways.signalr.places import COOKIE, Proof
from relay.gateways.signalr.returning import LostPlaces
from relay.model.errors import Unavailable
from relay.model.standing import Standing
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.signalr.site import site
from tests.unit.gateways.signalr.test_places import OWN, SECRET


@pytest.fixture
def worker() -> Worker:
    return Worker(Settings())


ADDRESS = "192.0.2.1"
SHARED = Proof(SECRET, shared=True)


async def test_the_one_held_place_of_a_browser_is_known() -> None:
    async with site(reconnect_grace=60) as one:
        headers = {"cookie": f"{COOKIE}={SECRET}", **OWN}
        proof = Proof(SECRET, shared=True)
        ann = await one.poller("", **headers)
        peer = (await one.worker.roster("room")).members[0].peer
        assert await one.state.lost_places.known_peer(proof, "room", ADDRESS) == ""
        assert await one.state.lost_places.known_peer(Proof(SECRET), "room", ADDRESS) == peer
        session = next(iter(one.state.polled._sessions.values()))
        session.lost()  # type: ignore[attr-defined]
        await until_members(one.worker, "room", {peer: True})
        assert await one.state.lost_places.known_peer(proof, "room", ADDRESS) == peer
        assert await one.state.lost_places.known_peer(proof, "other", ADDRESS) == ""
        assert await one.state.lost_places.known_peer(Proof(), "room", ADDRESS) == ""
        assert (await one.negotiate(**headers))["connectionId"] == peer
        assert (await ann.poll()).status == 404


async def test_two_held_places_of_a_browser_are_none() -> None:
    async with site(reconnect_grace=60) as one:
        headers = {"cookie": f"{COOKIE}={SECRET}", **OWN}
        for _ in range(2):
            await one.poller("", **headers)
        for session in list(one.state.polled._sessions.values()):
            session.lost()  # type: ignore[attr-defined]
        members = {member.peer: True for member in (await one.worker.roster("room")).members}
        await until_members(one.worker, "room", members)
        assert await one.state.lost_places.known_peer(Proof(SECRET, shared=True), "room", ADDRESS) == ""
        assert await one.state.lost_places.known_peer(Proof(SECRET), "room", ADDRESS) == ""


class Looks:
    """A worker on which a browser has places, and the findings of each look at these places."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, worker: Worker, *looks: Mapping[str, Standing]) -> None:
        self.places = LostPlaces(worker, sleep=self._sleep)
        self.slept_for: list[float] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()
        self._looks = list(looks)
        monkeypatch.setattr(worker.places, "find", self._find)
        monkeypatch.setattr(worker, "standings", self._standings)

    async def _sleep(self, seconds: float) -> None:
        self.slept_for.append(seconds)
        await self.may_go_on.wait()

    async def waiting(self, number: int) -> None:
        """Wait until so many negotiations wait."""
        await until(lambda: len(self.slept_for) == number)

    async def _find(self, name: str, limit: int) -> Sequence[object]:
        return [Place("room", "ann"), Place("room", "ben"), Place("other", "cem")]

    async def _standings(self, room: str, peers: Sequence[str]) -> Mapping[str, Standing]:
        assert (room, peers) == ("room", ["ann", "ben"])
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]


def connected(**ends: float) -> Mapping[str, Standing]:
    return {peer: Standing(held=False, lease_end=end) for peer, end in ends.items()}


async def test_a_place_of_a_worker_that_died_is_waited_for(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    """The worker of ann is alive, and that of ben is not: its lease ends, and another worker holds ben."""
    held = {**connected(ann=70), "ben": Standing(held=True, lease_end=70)}

    looks = Looks(monkeypatch, worker, *[connected(ann=10 + step, ben=10) for step in range(15)], held)
    assert await looks.places.known_peer(SHARED, "room", ADDRESS) == "ben"
    assert len(looks.slept_for) == 15


async def test_places_whose_workers_are_alive_are_those_of_other_tabs(
    monkeypatch: pytest.MonkeyPatch, worker: Worker
) -> None:
    looks = Looks(monkeypatch, worker, connected(ann=10, ben=20), connected(ann=11, ben=20), connected(ann=11, ben=21))
    assert await looks.places.known_peer(SHARED, "room", ADDRESS) == ""
    assert len(looks.slept_for) == 2


async def test_the_wait_ends(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    looks = Looks(monkeypatch, worker, connected(ann=10, ben=0))
    assert await looks.places.known_peer(SHARED, "room", ADDRESS) == ""
    assert sum(looks.slept_for) == worker.settings.worker_lease + 3


async def test_a_place_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    looks = Looks(monkeypatch, worker, {})
    assert await looks.places.known_peer(SHARED, "room", ADDRESS) == ""
    assert len(looks.slept_for) == 0


async def test_without_redis_no_place_is_known(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    looks = Looks(monkeypatch, worker, {})

    async def away(room: str, peers: Sequence[str]) -> Mapping[str, Standing]:
        raise Unavailable()

    monkeypatch.setattr(worker, "standings", away)
    assert await looks.places.known_peer(SHARED, "room", ADDRESS) == ""


@pytest.mark.parametrize(
    ("settings", "scope", "name"),
    [
        ({"signalr_waiting_per_address": 2}, "address", "signalr-waiting-per-address"),
        ({"signalr_waiting": 2}, "worker", "signalr-waiting"),
    ],
)
async def test_few_negotiations_wait(
    settings: dict[str, int],
    scope: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Worker(Settings(extensions=settings))
    looks = Looks(monkeypatch, worker, connected(ann=10, ben=10))
    looks.may_go_on.clear()
    counted = f'relay_unawaited_places_total{{scope="{scope}"}} 3.0'
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(looks.places.known_peer(SHARED, "room", ADDRESS)) for _ in range(2)]
        await looks.waiting(2)
        for _ in range(3):
            assert await looks.places.known_peer(SHARED, "room", ADDRESS) == ""
        assert counted in generate_latest(worker.metrics.registry).decode()
        [line] = caplog.messages
        assert ADDRESS in line
        assert name in line
        if scope == "address":
            waiting.append(group.create_task(looks.places.known_peer(SHARED, "room", "192.0.2.2")))
            await looks.waiting(3)
        looks.may_go_on.set()
    assert [task.result() for task in waiting] == [""] * len(waiting)
    # Those that have waited take no room any more.
    assert await looks.places.known_peer(SHARED, "room", ADDRESS) == ""
    assert counted in generate_latest(worker.metrics.registry).decode()
