"""The sessions of one worker."""

from relay.gateways.firebase.state import STATE, FirebaseState, state_of
from relay.rooms.worker import Worker
from tests.unit.gateways.firebase.page import Page
from tests.unit.gateways.firebase.site import Poller, Site


async def test_sessions_of_both_kinds_are_found_by_their_ids(worker: Worker) -> None:
    here = Site(worker)
    page, poller = await Page(worker).start(), await Poller(here).begin()
    here.state.sockets[page.session.id] = page.session
    assert here.state.find(page.session.id) is page.session
    assert here.state.find(poller.id) is here.state.http.get(poller.id)
    assert here.state.find("nobody") is None
    assert state_of({"state": {STATE: here.state}}) is here.state
    assert isinstance(here.state, FirebaseState)
    page.session.disconnected(1000, None)
