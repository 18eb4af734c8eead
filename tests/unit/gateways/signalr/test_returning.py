import asyncio
from collections.abc import Mapping, Sequence

import pytest

from relay.backend.subjects import Place
from relay.config import Settings
from relay.gateways.signalr.places import COOKIE, Proof
from relay.gateways.signalr.returning import LostPlaces
from relay.model.errors import Unavailable
from relay.model.standing import Standing
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import until_members
from tests.unit.gateways.signalr.site import site
from tests.unit.gateways.signalr.test_places import OWN, SECRET


@pytest.fixture
def worker() -> Worker:
    return Worker(Settings())


SHARED = Proof(SECRET, shared=True)


async def test_the_one_held_place_of_a_browser_is_known() -> None:
    async with site(reconnect_grace=60) as one:
        headers = {"cookie": f"{COOKIE}={SECRET}", **OWN}
        proof = Proof(SECRET, shared=True)
        ann = await one.poller("", **headers)
        peer = (await one.worker.roster("room")).members[0].peer
        assert await one.state.lost_places.known_peer(proof, "room") == ""
        assert await one.state.lost_places.known_peer(Proof(SECRET), "room") == peer
        session = next(iter(one.state.polled._sessions.values()))
        session.lost()  # type: ignore[attr-defined]
        await until_members(one.worker, "room", {peer: True})
        assert await one.state.lost_places.known_peer(proof, "room") == peer
        assert await one.state.lost_places.known_peer(proof, "other") == ""
        assert await one.state.lost_places.known_peer(Proof(), "room") == ""
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
        assert await one.state.lost_places.known_peer(Proof(SECRET, shared=True), "room") == ""
        assert await one.state.lost_places.known_peer(Proof(SECRET), "room") == ""


class Looks:
    """A worker on which a browser has places, and what each look at these places finds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, worker: Worker, *looks: Mapping[str, Standing]) -> None:
        self.places = LostPlaces(worker, sleep=self._sleep)
        self.slept = 0
        self._looks = list(looks)
        monkeypatch.setattr(worker.places, "find", self._find)
        monkeypatch.setattr(worker, "standings", self._standings)

    async def _sleep(self, seconds: float) -> None:
        self.slept += 1
        await asyncio.sleep(0)

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
    looks = Looks(monkeypatch, worker, *[connected(ann=10 + step, ben=10) for step in range(50)], held)
    assert await looks.places.known_peer(SHARED, "room") == "ben"
    assert looks.slept == 50


async def test_places_whose_workers_are_alive_are_those_of_other_tabs(
    monkeypatch: pytest.MonkeyPatch, worker: Worker
) -> None:
    looks = Looks(monkeypatch, worker, connected(ann=10, ben=20), connected(ann=11, ben=20), connected(ann=11, ben=21))
    assert await looks.places.known_peer(SHARED, "room") == ""
    assert looks.slept == 2


async def test_the_wait_ends(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    looks = Looks(monkeypatch, worker, connected(ann=10, ben=0))
    assert await looks.places.known_peer(SHARED, "room") == ""
    assert looks.slept == round((worker.settings.worker_lease + 3) / 0.25)


async def test_a_place_that_has_ended_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    looks = Looks(monkeypatch, worker, {})
    assert await looks.places.known_peer(SHARED, "room") == ""
    assert looks.slept == 0


async def test_without_redis_no_place_is_known(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    looks = Looks(monkeypatch, worker, {})

    async def away(room: str, peers: Sequence[str]) -> Mapping[str, Standing]:
        raise Unavailable()

    monkeypatch.setattr(worker, "standings", away)
    assert await looks.places.known_peer(SHARED, "room") == ""


async def test_few_negotiations_wait(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    monkeypatch.setattr("relay.gateways.signalr.returning._MOST_WAITING", 0)
    looks = Looks(monkeypatch, worker, connected(ann=10, ben=10))
    assert await looks.places.known_peer(SHARED, "room") == ""
    assert looks.slept == 0
