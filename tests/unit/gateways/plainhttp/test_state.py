from relay.gateways.plainhttp.routes import state
from relay.gateways.plainhttp.state import STATE, state_of
from tests.unit.gateways.plainhttp.site import site


async def test_each_worker_has_its_own_state() -> None:
    async with site() as here:
        made = state(here.worker)
        assert state_of({"state": made}) is made[STATE]
        assert state_of({"state": made}) is not here.state
