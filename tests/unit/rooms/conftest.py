import pytest

from tests.unit.rooms.world import World


@pytest.fixture
def world() -> World:
    return World()
