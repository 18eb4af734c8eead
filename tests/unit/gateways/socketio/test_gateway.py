"""The requests of clients of versions 1 to 4: their parameters, their refusals, and their sessions."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from relay.gateways.socketio.engine import EngineSession
from relay.gateways.socketio.gateway import STATE, Query, error_body, read_query
from relay.gateways.socketio.upgrade import Upgrade
from relay.model.errors import GOING_AWAY, Refused
from tests.unit.gateways.socketio.clients import Site, site

POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"


async def session_of(one: Site, url: str = POLLING) -> str:
    """Begin a session by polling; returns the address of its requests."""
    answer = await one.get(url)
    return f"{url}&sid={answer.headers['x-engine-sid']}"


# Queries.


def query(text: bytes) -> Query:
    return read_query({"type": "http", "method": "GET", "query_string": text})


def test_the_meaning_of_a_query() -> None:
    all_of_it = {"EIO": "3", "transport": "polling", "sid": "x", "room": "r", "b64": "1"}
    assert query(b"EIO=3&transport=polling&sid=x&room=r&b64=1") == Query(3, "polling", "x", True, all_of_it)
    assert query(b"EIO=4&transport=websocket") == Query(
        4, "websocket", "", False, {"EIO": "4", "transport": "websocket"}
    )
    assert [query(b"EIO=%d" % version).revision for version in (2, 3, 4)] == [3, 3, 4]
    assert query(b"EIO=4&room=").parameters["room"] == ""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "bad_version"),
        (b"EIO=5", "bad_version"),
        (b"EIO=4&j=0", "jsonp_unsupported"),
        (b"EIO=4&room=%FF", "bad_query"),
        (b"EIO=4\xff", "bad_query"),
        (b"EIO=4" + b"&a=" * 1024, "bad_query"),
    ],
)
def test_queries_that_are_refused(text: bytes, code: str) -> None:
    with pytest.raises(Refused) as refused:
        query(text)
    assert refused.value.code == code


def test_the_last_parameter_of_a_name_counts() -> None:
    assert query(b"EIO=4&EIO=3&transport=polling").version == 3


# Refusals.


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ("unknown_session", b'{"code":1,"message":"Session ID unknown"}'),
        ("bad_transport", b'{"code":0,"message":"Transport unknown"}'),
        ("too_large", b""),
    ],
)
def test_an_error_of_the_reference_implementation_is_written_as_there(code: str, body: bytes) -> None:
    assert error_body(Refused(code, "at length")) == body


def test_a_bad_request_has_the_relays_own_code_and_text() -> None:
    body = msgspec.json.decode(error_body(Refused("bad_query", "at length")))
    assert body == {"code": 3, "message": "Bad request", "error": {"code": "bad_query", "text": "at length"}}


@pytest.mark.parametrize(
    ("method", "url", "code"),
    [
        ("POST", POLLING, 2),
        ("GET", POLLING + "&sid=unknown", 1),
        ("GET", WEBSOCKET, 3),
        ("GET", "/socket.io/?EIO=4&transport=x", 0),
    ],
)
async def test_refused_requests(method: str, url: str, code: int) -> None:
    async with site() as one:
        answer = await one.request(method, url)
        assert (answer.status, json.loads(answer.body)["code"]) == (400, code)
        assert answer.headers["content-type"] == "application/json"


async def test_a_page_of_another_origin_begins_no_session() -> None:
    async with site(allowed_origins=("https://good.example",)) as one:
        answer = await one.get(POLLING, headers={"origin": "https://bad.example"})
        assert (answer.status, json.loads(answer.body)) == (403, {"code": 4, "message": "Forbidden"})
        assert len(one.worker.clients) == 0


@pytest.mark.parametrize(
    ("url", "code"), [(POLLING, 0), (WEBSOCKET + "&sid=unknown", 1), ("/socket.io/?transport=websocket", 5)]
)
async def test_websockets_that_are_refused(url: str, code: int) -> None:
    async with site() as one:
        # A poll is none of a WebSocket's transports.
        answer = await one.refused_socket(url)
        assert json.loads(answer.body)["code"] == (0 if url == POLLING else code)
        assert answer.status == 400


# Sessions.


async def test_a_session_by_polling() -> None:
    async with site() as one:
        url = await session_of(one)
        answer = await one.post(url, b"40")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"ok", "text/html")
        answer = await one.get(url)
        assert answer.body.startswith(b'40{"sid":')
        assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
        assert answer.headers["x-engine-sid"] == url.rpartition("=")[2]
        refused = await one.request("PUT", url)
        assert json.loads(refused.body)["code"] == 2


async def test_the_end_of_a_session_is_there_for_the_next_poll_and_then_it_is_unknown() -> None:
    async with site() as one:
        url = await session_of(one)
        one.worker.clients.close_all(GOING_AWAY)
        await asyncio.sleep(0)
        assert (await one.get(url)).body == b"1"
        assert (await one.get(url)).status == 400


@pytest.mark.parametrize("url", [WEBSOCKET, "/socket.io/?EIO=3&transport=websocket"])
async def test_a_session_over_a_websocket_has_no_websocket_pings(url: str) -> None:
    async with site() as one:
        wire, receiver = await one.socket(url)
        assert isinstance(receiver, EngineSession)
        assert not wire.keepalive
        assert b'"upgrades":[]' in wire.written


async def test_an_upgrade_is_begun_once_and_ends_polling() -> None:
    async with site() as one:
        url = await session_of(one)
        upgrading = url.replace("polling", "websocket")
        wire, receiver = await one.socket(upgrading)
        assert isinstance(receiver, Upgrade)
        assert not wire.keepalive
        assert json.loads((await one.refused_socket(upgrading)).body)["error"]["code"] == "transport_mismatch"
        sessions: Any = one.state[STATE]
        session = sessions.get(url.rpartition("=")[2])
        session.upgraded(session.connection)
        for method in ("GET", "POST"):
            refused = await one.request(method, url)
            assert json.loads(refused.body)["error"]["code"] == "transport_mismatch"


async def test_a_preflight_is_answered_for_any_query() -> None:
    async with site() as one:
        answer = await one.request("OPTIONS", "/socket.io/", headers={"origin": "https://page.example"})
        assert (answer.status, answer.headers["access-control-allow-methods"]) == (204, "GET, POST")


async def test_each_worker_has_sessions_of_its_own() -> None:
    async with site() as one, site() as other:
        url = await session_of(one)
        assert (await one.post(url, b"40")).status == 200
        assert (await other.post(url, b"40")).status == 400
