"""The STUN and TURN servers that clients are offered, and the renewal of credentials."""

import asyncio

import pytest

from relay.metrics import Metrics
from relay.model.ice import IceOffer, IceServer
from relay.rooms.ice import IceOffers
from relay.turn import TurnServers

STUN = IceServer("stun:s.example")
TTL = 400


class Scene:
    """Offers on a clock of their own, and the clients that were renewed."""

    def __init__(self, *fixed: IceServer, ttl: int = TTL) -> None:
        self.now = 1000.0
        self.renewed: list[tuple[str, float]] = []
        self.metrics = Metrics()
        turn = TurnServers(("turn:t.example",), "a-secret-of-the-tests", ttl=ttl, now=lambda: self.now)
        self.offers = IceOffers(fixed, turn, metrics=self.metrics, now=lambda: self.now)

    def pass_time(self, seconds: float) -> None:
        """Let the loop of the offers run for some time."""
        end = self.now + seconds
        while (pause := self.offers.renew()) and self.now + pause <= end:
            self.now += pause
        self.now = end

    def counted(self, way: str) -> float:
        return self.metrics.registry.get_sample_value("relay_turn_credentials_total", {"way": way}) or 0


class FakeClient:
    def __init__(self, scene: Scene, name: str) -> None:
        self.scene = scene
        self.name = name

    def renew_ice(self) -> None:
        self.scene.renewed.append((self.name, self.scene.now))
        if self.name == "broken":
            raise RuntimeError


def test_a_client_gets_the_fixed_servers_and_a_credential_of_its_own() -> None:
    scene = Scene(STUN)
    offer = scene.offers.offer("ann", "welcome")
    assert offer is not None
    stun, turn = offer.servers
    assert (stun, turn.username, offer.ttl) == (STUN, "1400:ann", TTL)
    other = scene.offers.offer("ben", "http")
    assert other is not None
    assert other.servers[1].credential != turn.credential
    assert (scene.counted("welcome"), scene.counted("http"), scene.counted("renewal")) == (1, 1, 0)


def test_without_turn_servers_nothing_is_made_or_kept() -> None:
    metrics = Metrics()
    assert IceOffers((), None, metrics=metrics).offer("ann", "welcome") is None
    offers = IceOffers((STUN,), None, metrics=metrics)
    assert offers.offer("ann", "welcome") == IceOffer((STUN,))
    offers.add(FakeClient(Scene(), "ann"))
    assert (len(offers), offers.has_turn) == (0, False)


def test_each_client_is_renewed_after_half_of_the_time_and_again() -> None:
    scene = Scene()
    ann, ben = FakeClient(scene, "ann"), FakeClient(scene, "ben")
    scene.offers.add(ann)
    scene.pass_time(100)
    scene.offers.add(ben)
    scene.offers.add(ann)
    scene.pass_time(350)
    assert scene.renewed == [("ann", 1200), ("ben", 1300), ("ann", 1400)]
    scene.offers.remove(ann)
    scene.offers.remove(ann)
    scene.pass_time(200)
    assert scene.renewed[3:] == [("ben", 1500)]


def test_a_client_that_fails_stops_no_other() -> None:
    scene = Scene()
    for name in ("broken", "ann"):
        scene.offers.add(FakeClient(scene, name))
    scene.pass_time(200)
    assert [name for name, _ in scene.renewed] == ["broken", "ann"]


def test_a_clock_that_is_set_forward_is_noticed_within_a_minute() -> None:
    scene = Scene(ttl=86_400)
    scene.offers.add(FakeClient(scene, "ann"))
    assert scene.offers.renew() == 60
    scene.now += 50_000
    scene.offers.renew()
    assert len(scene.renewed) == 1


@pytest.mark.parametrize(("clients", "ttl"), [(50_000, 86_400), (50_000, 60), (3, 2)])
def test_clients_that_came_together_are_renewed_in_batches_and_in_time(clients: int, ttl: int) -> None:
    scene = Scene(ttl=ttl)
    for number in range(clients):
        scene.offers.add(FakeClient(scene, str(number)))
    came = scene.now
    scene.pass_time(ttl * 0.8)
    times = [at for _, at in scene.renewed]
    assert len(times) == clients
    assert came + ttl / 2 <= times[0]
    assert times[-1] <= came + ttl * 0.76
    assert max(times.count(at) for at in set(times)) <= max(50, clients * 0.1 / (ttl / 4) + 1)


async def test_the_loop_renews_by_itself() -> None:
    scene = Scene(ttl=2)
    scene.now = 0
    renewed = asyncio.Event()

    class Client:
        def renew_ice(self) -> None:
            renewed.set()

    scene.offers.add(Client())
    scene.now = 1
    loop = asyncio.create_task(scene.offers.run())
    async with asyncio.timeout(5):
        await renewed.wait()
    loop.cancel()
