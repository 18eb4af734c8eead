"""One origin for page and relay, in each way of docs/same-origin.md, with two workers, real nginx and real HAProxy."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import pytest

from relay.config import Settings
from relay.gateways.base.http_place import MAX_WAIT
from tests.conftest import new_prefix
from tests.documentation import snippet
from tests.fleet import Client
from tests.front_ends import WAYS, one_origin
from tests.gateways.drivers.plain_http import EventStream
from tests.integration.socketio import OverPolling

CONFIGURATIONS = {"nginx": "same-origin-nginx", "haproxy": "same-origin-haproxy"}
FILES = {
    "index.html": "<!doctype html>the page",
    "main.js": "start()",
    "games/index.html": "the games",
    ".git/config": "secret",
}
PLACES = 4
"""Members of one room from one address; no other test here has as many."""


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def url(way: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    page, folder = tmp_path_factory.mktemp("page"), tmp_path_factory.mktemp("proxy")
    for name, text in FILES.items():
        (page / name).parent.mkdir(exist_ok=True)
        (page / name).write_text(text)
    configuration = snippet(CONFIGURATIONS[way]) if way in CONFIGURATIONS else ""
    options = ("--redis-url", redis_url, "--redis-prefix", new_prefix(), "--places-per-address", str(PLACES))
    with one_origin(way, configuration, page, folder, *options) as found:
        yield found


@pytest.fixture
def origin(url: str) -> Any:
    """Stands for a relay in the clients of the tests."""
    return SimpleNamespace(http=url, ws=url.replace("http", "ws"), port=int(url.rpartition(":")[2]))


async def get(url: str, path: str, method: str = "GET", **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(timeout=20, verify=False) as client:
        return await client.request(method, url + path, **options)


async def test_the_page_comes_from_disk(url: str) -> None:
    for path, text, kind in (
        ("/", FILES["index.html"], "text/html"),
        ("/index.html", FILES["index.html"], "text/html"),
        ("/main.js", FILES["main.js"], "javascript"),
        ("/games/", FILES["games/index.html"], "text/html"),
    ):
        answer = await get(url, path)
        assert (answer.status_code, answer.text) == (200, text)
        assert kind in answer.headers["content-type"]
        assert (await get(url, path, "HEAD")).status_code == 200
        known = {"If-None-Match": answer.headers["etag"]}
        assert (await get(url, path, headers=known)).status_code == 304
    # curl asks for HTTP/2 in this way.
    assert (await get(url, "/", headers={"Upgrade": "h2c"})).text == FILES["index.html"]
    redirect = await get(url, "/games?room=a")
    assert httpx.URL(f"{url}/games").join(redirect.headers["location"]).path == "/games/"


async def test_everything_else_is_the_relays(url: str) -> None:
    for path in ("/.git/config", "/missing.html", "/signalr/missing", "/rooms/a/b"):
        answer = await get(url, path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
    assert (await get(url, "/health")).json()["ready"]
    assert (await get(url, "/relay.js")).headers["content-type"].startswith("text/javascript")
    assert (await get(url, "/socket.io/socket.io.js")).json()["error"]["code"] == "no_client_script"
    assert len((await get(url, "/peerjs/id")).text) == 36
    assert (await get(url, "/signalr/hubs")).text.startswith("/* The hubs of this relay")
    # nginx itself refuses a path that leads above the root.
    assert (await get(url, "/%2e%2e/etc/passwd")).status_code in (400, 404)
    assert "secret" not in (await get(url, "/games/%2e%2e/.git/config")).text


async def test_paths_arrive_as_the_client_wrote_them(url: str) -> None:
    for path in ("a%2Fb", "..%2Fhealth", "main%20hall", "%D1%8F%2520", ".hidden"):
        answer = await get(url, f"/rooms/{path}")
        assert (answer.status_code, answer.json()["room"]) == (200, path)


async def test_websockets_at_the_root_and_below(url: str, origin: Any) -> None:
    for path in ("/", "/rooms/sockets"):
        alice, bob = [await Client.open(origin.ws + path) for _ in range(2)]
        for number in range(10):
            await alice.send({"sender": "a", "channel": "c", "message": number})
            assert (await bob.next())["message"] == number
        await alice.close()
        await bob.close()


async def test_socket_io_clients_that_poll(origin: Any) -> None:
    ann, ben = [await (await OverPolling.open(origin)).enter() for _ in range(2)]
    for number in range(10):
        await ann.emit("message", {"n": number})
        name, data, *_ = await ben.event()
        assert (name, data) == ("message", {"n": number})
    await ann.close()
    await ben.close()


async def test_an_event_stream_is_not_held_back(origin: Any) -> None:
    bob = await Client.open(f"{origin.ws}/rooms/stream?peer=bob")
    place = "peer=alice&resume=a-key-of-the-page-0123456789"
    stream = await EventStream.open(origin.port, f"/rooms/stream/events?{place}")
    assert (stream.status, stream.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    assert (await stream.next())[0] == "welcome"
    for number in range(10):
        await bob.send({"message": number})
        assert (await stream.next())[1]["message"] == number
        posted = await get(
            origin.http, f"/rooms/stream/messages?{place}", "POST", content=json.dumps({"message": "back"})
        )
        assert posted.status_code == 200
        assert (await bob.next())["message"] == "back"
    await stream.drop()
    await bob.close()


async def test_a_long_poll_waits_for_its_message(origin: Any) -> None:
    bob = await Client.open(f"{origin.ws}/rooms/polls?peer=bob&presence=1")
    place = "/rooms/polls/messages?peer=alice&resume=a-key-of-the-page-0123456789"
    first = (await get(origin.http, place)).json()
    await bob.until(lambda event: "alice" in event.get("joined", ()))
    poll = asyncio.create_task(get(origin.http, f"{place}&since={first['next']}&wait=15"))
    await bob.send({"message": "hello"})
    assert [one["message"] for one in (await poll).json()["messages"]] == ["hello"]
    await bob.close()


async def test_a_client_counts_by_its_own_address_and_not_by_a_claimed_one(origin: Any) -> None:
    async def enter(address: str, claimed: str) -> bool:
        options = {"local_addr": (address, 0), "additional_headers": {"X-Forwarded-For": claimed}}
        clients.append(await Client.open(f"{origin.ws}/rooms/counted", welcome=False, **options))
        return (await clients[-1].next())["type"] == "welcome"

    clients: list[Client] = []
    assert all([await enter("127.0.0.5", f"203.0.113.{number}") for number in range(PLACES)])
    assert not await enter("127.0.0.5", "203.0.113.99")
    assert await enter("127.0.0.6", "127.0.0.5")
    for client in clients:
        with suppress(OSError):
            await client.close()


def test_a_poll_and_two_pings_end_before_the_proxy_gives_up() -> None:
    longest = max(MAX_WAIT, 2 * Settings().ping_interval)
    for name in CONFIGURATIONS.values():
        times = re.findall(r"(?:timeout (?:client|server|tunnel)|proxy_(?:read|send)_timeout) (\d+)s", snippet(name))
        assert times
        assert min(map(int, times)) > longest
