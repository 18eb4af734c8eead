"""Long polling."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from relay.config import Settings
from relay.model.codec import Frame
from relay.model.errors import GOING_AWAY
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.firebase.site import HOST, Poller, Site, site

BUSY = {"message_rate": 10_000, "byte_rate": 1_000_000_000, "address_byte_rate": 1_000_000_000}


def pushes(client: Poller) -> list[tuple[str, Any]]:
    bodies = [one["d"]["b"] for one in client.messages if "a" in one["d"]]
    return [(body["p"], body.get("d")) for body in bodies]


async def test_a_client_gets_the_hello_and_the_functions_of_its_page() -> None:
    async with site() as here:
        response = await here.ask("GET", "/.lp?start=t&ser=1&cb=42&v=5")
        text = response.body.decode()
        assert response.headers["content-type"] == "text/javascript; charset=UTF-8"
        assert "parent.window['pLPCommand42']" in text
        assert "parent.window['pRTLPCB42']" in text
        client = await Poller(here).begin()
        assert client.messages[0]["d"]["d"]["h"] == HOST
        assert client.messages[0]["d"]["d"]["s"] == client.id
        assert client.answers == [0]


async def test_requests_are_answered_in_order_and_answers_have_numbers_without_holes() -> None:
    async with site(**BUSY) as here:
        client, other = await Poller(here).begin(), await Poller(here).begin()
        assert await client.ask("q", "/room", h="") == "ok"
        client.poll()
        keys = [f"k{number}" for number in range(20)]
        for key in keys:
            assert await other.ask("p", f"/room/{key}", d=key) == "ok"

        def heard() -> set[str]:
            # The value of the room may come once more, when the client becomes a member.
            whole = [key for _, value in pushes(client) if isinstance(value, dict) for key in value]
            return {*whole, *(value for _, value in pushes(client) if isinstance(value, str))}

        await client.until(lambda: heard() == set(keys))
        for one in (client, other):
            assert one.answers == list(range(len(one.answers)))


async def test_a_newer_poll_has_the_older_one_answered() -> None:
    async with site() as here:
        client = await Poller(here).begin()
        client.poll()
        client.poll()
        response = await client.next_answer()
        assert response.body == b"pRTLPCB(1,[]);"


async def test_a_large_message_comes_in_segments_that_may_overtake_each_other() -> None:
    async with site(**BUSY) as here:
        client = await Poller(here).begin()
        text = "é☃" * 5000
        message = client.request("p", "/room/text", d=text)
        other = client.request("p", "/room/after", d=1)
        sent: list[str] = []
        real, client.send = client.send, sent.append  # type: ignore[method-assign]
        client.poll(message)
        client.poll(other)
        client.send = real  # type: ignore[method-assign]
        pieces = sent[0].split("&")
        parts = ["&".join(pieces[at : at + 3]) for at in range(0, len(pieces), 3)]
        queries = [*parts, sent[1]]
        assert len(queries) > 10
        # Each query has one segment, whose fields have the number 0; each second one comes first.
        queries = [_first(query) for query in queries]
        for at in range(0, len(queries), 2):
            for query in reversed(queries[at : at + 2]):
                client.send(query)
        await client.until(lambda: sum(1 for one in client.messages if one["d"].get("r")) == 2)
        assert [one["d"]["b"]["s"] for one in client.messages if one["d"].get("r")] == ["ok", "ok"]
        part = await here.worker.trees.read("room", "")
        assert {path: json.loads(value) for path, value in part.leaves} == {"after": 1, "text": text}
        # A browser repeats a request whose connection was lost.
        client.send(queries[0])
        client.poll()
        assert (await client.next_answer()).status == 200


def _first(query: str) -> str:
    names = [field.partition("=") for field in query.split("&")]
    return "&".join(f"{name.rstrip('0123456789')}0={value}" for name, _, value in names)


async def test_messages_of_another_request_wait_for_a_large_one_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    may_serve = asyncio.Event()

    async def turn(_: str, work: Callable[[], object]) -> None:
        await may_serve.wait()
        work()

    async with site(**BUSY) as here:
        monkeypatch.setattr(here.worker.large_messages, "turn", turn)
        client = await Poller(here).begin()
        messages = [client.request("p", "/room/x", d=text) for text in ("large" * 3300, "small")]
        for message in messages:
            client.poll(message, size=4000)
        # Enough for the second request to be served, if it did not wait.
        for _ in range(100):
            await asyncio.sleep(0)
        may_serve.set()
        await client.until(lambda: sum(1 for one in client.messages if one["d"].get("r")) == 2)
        part = await here.worker.trees.read("room", "")
        assert [json.loads(value) for _, value in part.leaves] == ["small"]


async def test_a_message_above_the_limit_is_refused_by_its_number() -> None:
    async with site(max_message=4096, **BUSY) as here:
        client = await Poller(here).begin()
        assert await client.ask("p", "/room/x", d="y" * 10_000) == "too_large"
        assert await client.ask("p", "/room/x", d="y") == "ok"


@pytest.mark.parametrize(
    "query",
    [
        "seg0=x&ts0=1&d0=e30.",
        "seg0=0&ts0=0&d0=e30.",
        "seg0=0&ts0=1&d0=e3",
        "seg0=0&ts0=1&d0=%00",
        "seg0=0&ts0=99999999999&d0=e30.",
        "seg0=0&ts0=1&d0=" + "A" * 4100,
    ],
)
async def test_bad_segments_are_refused(query: str) -> None:
    async with site() as here:
        client = await Poller(here).begin()
        client.send(query)
        assert (await client.next_answer()).status == 400


async def test_segments_whose_message_never_ends_close_the_connection() -> None:
    async with site(message_timeout=1.0) as here:
        client = await Poller(here).begin()
        client.send("seg0=0&ts0=999&d0=e30.")
        await client.until(lambda: client.closed)
        late = await Poller(here).begin()
        late.send("seg0=5&ts0=1&d0=e30.")
        await late.until(lambda: late.closed)
        assert len(here.state.http) == 0


async def test_too_many_segments_ahead_of_others_are_refused() -> None:
    async with site(**BUSY) as here:
        client = await Poller(here).begin()
        client.send("&".join(f"seg{n}={n + 5}&ts{n}=1&d{n}=e30." for n in range(80)))
        assert (await client.next_answer()).status == 400


async def test_a_dropped_poll_ends_the_session_and_its_prepared_changes_are_made() -> None:
    async with site(**BUSY) as here:
        client, other = await Poller(here).begin(), await Poller(here).begin()
        assert await client.ask("p", "/room/here", d=1) == "ok"
        assert await client.ask("o", "/room/here", d=None) == "ok"
        client.poll()
        await asyncio.sleep(0)
        client.drop()
        await until(lambda: here.state.http.get(client.id) is None)
        await other.ask("p", "/room/x", d=2)
        assert [path for path, _ in (await here.worker.trees.read("room", "")).leaves] == ["x"]
        assert (await here.worker.roster("room")).count == 1


async def test_the_goodbye_of_the_hidden_frame_ends_the_session() -> None:
    async with site() as here:
        client = await Poller(here).begin()
        assert await client.ask("p", "/room/here", d=1) == "ok"
        page = await here.ask("GET", f"/.lp?dframe=t&id={client.id}&pw=-")
        assert page.headers["content-type"] == "text/html"
        assert b"sendBeacon" in page.body
        assert (await here.ask("POST", f"/.lp?disconn=t&id={client.id}&pw=-")).status == 204
        assert (await here.worker.roster("room")).count == 0
        client.poll()
        await client.next_answer()
        assert client.closed


async def test_a_worker_that_stops_closes_clients_that_poll() -> None:
    async with site() as here:
        client = await Poller(here).begin()
        client.poll()
        await asyncio.sleep(0)
        here.worker.clients.close_all(GOING_AWAY)
        await client.next_answer()
        assert client.closed


@pytest.mark.parametrize(
    ("method", "query", "code"),
    [
        ("GET", "start=t&cb=7&v=4", "bad_query"),
        ("GET", "start=t&cb=alert(1)&v=5", "bad_query"),
        ("GET", "start=t&v=5", "bad_query"),
        ("PUT", "start=t&cb=7&v=5", "bad_method"),
        ("POST", "id=x", "bad_query"),
    ],
)
async def test_other_requests_are_refused(method: str, query: str, code: str) -> None:
    async with site() as here:
        assert await here.refused(method, f"/.lp?{query}") == code


async def test_pages_of_other_origins_may_not_poll_where_origins_are_restricted() -> None:
    async with site(allowed_origins=("https://a.example",)) as here:
        assert await here.refused("GET", "/.lp?start=t&cb=7&v=5") == "jsonp_forbidden"


async def test_polls_above_the_rate_of_messages_wait_and_too_many_at_once_end_the_session() -> None:
    async with Worker(Settings(message_rate=1)) as worker:
        here = Site(worker)
        client = await Poller(here).begin()
        for _ in range(40):
            client.poll()
        await until(lambda: here.state.http.get(client.id) is None)
        client.drop()


async def test_polls_that_follow_an_answer_do_not_count_as_messages() -> None:
    async with site(message_rate=0.1) as here:
        client = await Poller(here).begin()
        session = here.state.http.get(client.id)
        assert session is not None
        for number in range(40):
            session.polling.write(Frame(b'{"t":"d","d":{"r":%d,"b":{}}}' % number))
            client.poll()
            await client.next_answer()
        assert client.answers == list(range(41))


async def test_a_client_that_is_lost_between_two_polls_leaves_after_the_time_of_the_setting() -> None:
    async with site(extensions={"firebase_inactivity": 1.0}) as here:
        poller = await Poller(here).begin()
        assert await poller.ask("p", "/room/me", d=1) == "ok"
        assert await poller.ask("o", "/room/me", d=None) == "ok"
        assert not poller._waiting
        async with asyncio.timeout(20):
            while (await here.worker.trees.read("room", "")).leaves:
                await asyncio.sleep(0.05)
        await until_members(here.worker, "room", {})
