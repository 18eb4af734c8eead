"""The harness itself, for seconds: one attack on running workers, its figures, and the discovery of attacks."""

import pytest

from tests.abuse.attack import Attack
from tests.abuse.attacks import find
from tests.abuse.rounds import AttackFailed, Plan, play
from tests.abuse.verdict import REDIS_SHARE, WORKER_MEMORY


async def test_a_flood_for_seconds_harms_nobody() -> None:
    figures = await play(find()["flood"], Plan(seconds=2, rooms=4))
    assert figures.sent > 20
    assert (figures.lost, figures.repeated, figures.disordered, figures.closes) == (0, 0, 0, {})
    assert (figures.newcomers > 0, figures.refused) == (True, {})
    assert (figures.connections, figures.bytes_per_second > 1000) == (20, True)
    assert set(figures.health) == {"200"}, figures.unready
    assert 0 < figures.redis_share < REDIS_SHARE
    assert 0 < figures.worker_memory < WORKER_MEMORY


async def test_an_attack_with_an_error_of_its_own_is_told() -> None:
    with pytest.raises(AttackFailed, match="KeyError"):
        await play(Attack(name="missing", says="Nothing.", run=find()["flood"].run), Plan(seconds=1, rooms=1))


@pytest.mark.parametrize("attack", find().values(), ids=lambda attack: attack.name)
def test_each_attack_says_what_it_does(attack: Attack) -> None:
    assert attack.name.replace("-", "").isalnum()
    assert not attack.says[0].islower()
    assert attack.says.endswith(".")
    assert 1 <= attack.connections <= 3000
