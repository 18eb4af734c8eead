"""A client that comes back, before the relay has noticed that its last connection is lost."""

import json
from typing import Any

import pytest

from relay.backend.presence import HeldMember
from relay.config import Settings
from relay.gateways.base.forwarding import FORWARDER
from relay.gateways.firebase.last_sessions import end_last_session
from relay.gateways.firebase.routes import state
from relay.model.errors import UNAVAILABLE, Refused, Unavailable
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.firebase.page import Page
from tests.unit.gateways.firebase.site import Poller, Site, site


async def _leaves(here: Site) -> dict[str, Any]:
    return {path: json.loads(value) for path, value in (await here.worker.trees.read("room", "")).leaves}


async def test_the_changes_of_the_last_connection_are_made_ahead_of_new_writes() -> None:
    async with site() as here:
        first = await Poller(here).begin()
        assert await first.ask("p", "/room/me", d="first") == "ok"
        assert await first.ask("o", "/room/me", d=None) == "ok"
        second = await Poller(here).begin(f"&ls={first.id}")
        assert await _leaves(here) == {}
        assert here.state.http.get(first.id) is None
        assert await second.ask("p", "/room/me", d="second") == "ok"
        assert await _leaves(here) == {"me": "second"}


async def test_a_socket_that_its_client_has_no_more_is_closed() -> None:
    async with site() as here:
        page = await Page(here.worker).start()
        here.state.sockets[page.session.id] = page.session
        assert await page.ask("p", "/room/me", d="first") == "ok"
        assert await page.ask("o", "/room/me", d=None) == "ok"
        await Poller(here).begin(f"&ls={page.session.id}")
        assert await _leaves(here) == {}
        assert page.connection.reason is not None
        assert page.connection.reason.name == "replaced"
        page.session.disconnected(1006, None)
        assert (await here.worker.roster("room")).count == 0


async def test_the_worker_that_has_the_last_session_is_told() -> None:
    class Elsewhere:
        target = ("", b"")

        async def forward(self, scope: Any, *_: object, **fields: Any) -> bool:
            self.target = (scope["method"], scope["raw_path"] + b"?" + scope["query_string"])
            assert fields["body"] == b""
            return True

    forwarder = Elsewhere()
    async with Worker(Settings()) as worker:
        scope = {"state": {"worker": worker, FORWARDER: forwarder, **state(worker)}, "client": ("10.0.0.1", 1)}
        await end_last_session(scope, {"ls": "elsewhere"})
        assert forwarder.target == ("POST", b"/.lp?disconn=t&id=elsewhere")


async def test_the_changes_that_a_dead_worker_has_recorded_are_made_when_the_page_enters_again() -> None:
    async with site() as here:
        page = await Page(here.worker).start()
        assert await page.ask("p", "/room/me", d="first") == "ok"
        assert await page.ask("o", "/room/me", d=None) == "ok"
        # Nobody knows the session here: its worker was killed.
        again = await Page(here.worker).start(last=page.session.id)
        assert await again.ask("p", "/room/me", d="second") == "ok"
        assert await _leaves(here) == {"me": "second"}
        # The worker that takes the dead one's members over finds nothing to do.
        member = HeldMember("room", page.session._rooms.peer, 1, 0.0)
        await here.worker._parts.trees.take_over([member])
        assert await _leaves(here) == {"me": "second"}
        again.session.disconnected(1000, None)


@pytest.mark.parametrize("claims", [{"sub": "ann"}, {"sub": "user-*"}, {}])
async def test_the_changes_are_found_under_the_peer_id_that_the_token_gives(claims: dict[str, Any]) -> None:
    """Where the token fixes the peer id, the page also takes the place of the member that its dead worker has left."""
    async with Worker(Settings(auth="required", auth_secret=SECRET)) as worker:
        here, own = Site(worker), token(rooms=[{"room": "room"}], **claims)
        page = await Page(worker).start(own)
        for path in ("me", "other"):
            assert await page.ask("p", f"/room/{path}", d="first") == "ok"
            assert await page.ask("o", f"/room/{path}", d=None) == "ok"
        again = await Page(worker).start(own, last=page.session.id)
        assert await again.ask("p", "/room/me", d="second") == "ok"
        assert await _leaves(here) == {"me": "second"}


async def test_the_place_of_a_fixed_peer_id_is_the_new_sessions_alone() -> None:
    async with Worker(Settings(auth="required", auth_secret=SECRET)) as worker:
        here, own = Site(worker), token(sub="ann", rooms=[{"room": "room"}])
        page = await Page(worker).start(own)
        assert await page.ask("p", "/room/me", d="first") == "ok"
        assert await page.ask("o", "/room/me", d=None) == "ok"
        again = await Page(worker).start(own, last=page.session.id)
        assert await again.ask("p", "/room/me", d="second") == "ok"
        assert await again.ask("o", "/room/me", d="gone") == "ok"
        # The earlier connection ends late: nothing is made for it any more.
        page.session.disconnected(1006, None)
        assert await _leaves(here) == {"me": "second"}
        again.session.disconnected(1006, None)
        await until_members(worker, "room", {})
        assert await _leaves(here) == {"me": "gone"}


async def test_nobody_takes_a_fixed_peer_id_without_the_last_session() -> None:
    async with Worker(Settings(auth="required", auth_secret=SECRET)) as worker:
        own = token(sub="ann", rooms=[{"room": "room"}])
        page = await Page(worker).start(own)
        assert await page.ask("p", "/room/me", d="first") == "ok"
        for last in ("", "guessed"):
            other = await Page(worker).start(own, last=last)
            assert await other.ask("p", "/room/me", d="second") == "peer_taken"
        assert page.connection.reason is None
        assert await _leaves(Site(worker)) == {"me": "first"}


@pytest.mark.parametrize("claims", [{"sub": "ann"}, {}])
async def test_a_page_whose_last_changes_could_not_be_made_is_no_member(
    claims: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a member it would write before them, and they would take its values away."""
    async with Worker(Settings(auth="required", auth_secret=SECRET)) as worker:
        here, own = Site(worker), token(rooms=[{"room": "room"}], **claims)
        page = await Page(worker).start(own)
        assert await page.ask("p", "/room/me", d="first") == "ok"
        assert await page.ask("o", "/room/me", d=None) == "ok"
        again = await Page(worker).start(own, last=page.session.id)

        async def fail(*_: object) -> None:
            raise Unavailable

        with monkeypatch.context() as patch:
            patch.setattr(worker.trees, "finish_last", fail)
            again.request("p", "/room/me", d="second")
            await until(lambda: again.connection.reason is not None)
        assert again.connection.reason is UNAVAILABLE
        assert again.session._rooms.memberships() == []
        assert await _leaves(here) == {"me": "first"}


@pytest.mark.parametrize("error", [TimeoutError(), Refused("unavailable")])
async def test_a_last_session_that_cannot_be_ended_is_counted(error: Exception) -> None:
    class Nowhere:
        async def forward(self, *_: object, **__: object) -> bool:
            raise error

    async with Worker(Settings()) as worker:
        scope = {"state": {"worker": worker, FORWARDER: Nowhere(), **state(worker)}, "client": ("10.0.0.1", 1)}
        await end_last_session(scope, {"ls": "elsewhere"})
        labels = {"code": "unavailable", "protocol": "firebase"}
        assert worker.metrics.registry.get_sample_value("relay_errors_total", labels) == 1


async def test_the_last_membership_ends_when_the_page_enters_again() -> None:
    """Its worker may be dead, or may not be reached: others would see the page twice until it notices the loss."""
    async with site() as here:
        page = await Page(here.worker).start()
        assert await page.ask("p", "/room/me", d="first") == "ok"
        again = await Page(here.worker).start(last=page.session.id)
        assert await again.ask("p", "/room/me", d="second") == "ok"
        await until_members(here.worker, "room", {again.session._rooms.peer: False})
        assert page.connection.reason is not None
        assert page.connection.reason.name == "replaced"
