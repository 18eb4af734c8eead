import asyncio
from typing import Any

import pytest

from tests.tokens import SECRET, token
from tests.unit.gateways.base.http_fakes import Elsewhere
from tests.unit.gateways.plainhttp.site import KEY, PLACE, site


async def test_other_methods_are_named_in_the_answer() -> None:
    async with site() as here:
        for path, allowed in (("messages", "GET, POST, DELETE"), ("leave", "POST"), ("events", "GET")):
            refused = await here.ask("PUT", path)
            assert (refused.status, refused.headers["allow"]) == (405, allowed)


async def test_a_poll_needs_a_peer_which_may_be_any() -> None:
    async with site() as here:
        assert (await here.ask("GET", "messages?wait=0")).status == 400
        answer = await here.json("GET", "messages?peer=&wait=0")
        assert len(answer["peer"]) == 24
        # Its key finds the session again.
        place = f"peer={answer['peer']}&resume={answer['resume']}"
        again = await here.json("GET", f"messages?{place}&since={answer['next']}&wait=0")
        assert again == {"messages": [], "next": answer["next"]}
        assert len(here.state.polls) == 1


async def test_a_place_has_one_session_also_where_the_token_names_the_peer() -> None:
    async with site(auth="optional", auth_secret=SECRET, url_tokens="on") as here:
        for resumed in (False, True):
            answer = await here.json(
                "GET", f"messages?peer=&resume={KEY}&wait=0&token={token(sub='bob', rooms=['room'])}"
            )
            assert (answer["peer"], answer["events"][0]["resumed"]) == ("bob", resumed)
        assert len(here.worker.clients) == len(here.state.polls) == 1
        # Its end leaves nothing behind.
        assert (await here.ask("POST", f"leave?peer=bob&resume={KEY}")).status == 204
        assert len(here.worker.clients) == len(here.state.polls) == 0


async def test_a_place_has_one_session_when_two_polls_of_it_look_for_the_worker_of_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nowhere(*_: Any, **__: Any) -> bool:
        await asyncio.sleep(0)
        return False

    monkeypatch.setattr(Elsewhere, "forward", nowhere)
    async with site() as here:
        target = f"messages?peer=bob&resume={here.worker.session_ids.issue()}&wait=0"
        await asyncio.gather(here.ask("GET", target), here.ask("GET", target))
        assert len(here.worker.clients) == len(here.state.polls) == 1


async def test_the_worker_with_the_session_answers_a_poll() -> None:
    async with site() as here:
        elsewhere = await here.ask("GET", "messages?peer=alice&resume=elsewhere")
        assert elsewhere.status == 400  # too short to be a key, so nothing is forwarded


async def test_a_client_that_may_not_join_gets_the_status_of_the_error() -> None:
    async with site(members_per_room=1) as here:
        await here.json("GET", f"messages?{PLACE}&wait=0")
        refused = await here.ask("GET", "messages?peer=bob&wait=0")
        assert refused.status == 409
        assert b'"code":"room_full"' in refused.body


async def test_a_goodbye_ends_the_session_of_a_poll() -> None:
    async with site() as here:
        for method, path in (("DELETE", "messages"), ("POST", "leave")):
            await here.json("GET", f"messages?{PLACE}&wait=0")
            assert (await here.ask(method, f"{path}?{PLACE}")).status == 204
            assert len(here.state.polls) == 0
            assert (await here.worker.roster("room")).count == 0
