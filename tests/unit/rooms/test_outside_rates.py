"""How fast the holders of tokens act over HTTP."""

from relay.identity.grants import ADMIN, Grants, TokenLimits
from relay.model.errors import Refused
from relay.rooms.outside_rates import OutsideRates


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.rates = OutsideRates(20, lambda: self.now)

    def served(self, most: int, grants: Grants, address: str = "a", cost: float = 1) -> int:
        """How many of so many requests are served."""
        for number in range(most):
            try:
                self.rates.charge(grants, address, cost)
            except Refused as error:
                assert error.code == "too_many_requests"
                return number
        return most


def test_a_holder_has_the_rate_of_a_connection_and_others_have_their_own() -> None:
    scene = Scene()
    ann = Grants(subject="ann")
    assert scene.served(100, ann) == 40
    assert scene.served(1, Grants(subject="bob")) == 1
    assert scene.served(1, ann, "b") == 1
    scene.now += 0.5
    assert scene.served(100, ann) == 10


def test_an_issuer_that_names_ever_new_rates_takes_no_memory() -> None:
    scene = Scene()
    for rate in range(1, 1000):
        scene.served(1, Grants(subject="ann", limits=TokenLimits(message_rate=rate)))
    assert len(scene.rates._holders) == 64


def test_a_token_says_another_rate_and_a_server_has_none() -> None:
    scene = Scene()
    assert scene.served(100, Grants(subject="ann", limits=TokenLimits(message_rate=1))) == 10
    assert scene.served(100, Grants(subject="ann", limits=TokenLimits(message_rate=40))) == 80
    assert scene.served(1000, ADMIN) == 1000


def test_a_costly_request_counts_more() -> None:
    assert Scene().served(100, Grants(subject="bob"), cost=25) == 2
