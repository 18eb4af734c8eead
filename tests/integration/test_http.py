"""The HTTP edge of running workers, over memory and over Redis, with real clients and with broken ones."""

import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx2 as httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import ClientConnection, connect

from tests.integration.served import served
from tests.ports import free_port

TOKEN = "a-secret-token-for-tests"
AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}


def redis_options(redis_url: str) -> list[str]:
    return ["--redis-url", redis_url, "--redis-prefix", f"relay:t{secrets.token_hex(4)}"]


@pytest.fixture(scope="module", params=["memory", "redis", "fleet"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def url(backend: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A relay with an admin token: one worker in memory, one over Redis, two over Redis."""
    options = [] if backend == "memory" else redis_options(request.getfixturevalue("redis_url"))
    options += ["--workers", "2"] if backend == "fleet" else []
    with served(*options, "--admin-token", TOKEN, "--max-message", "1024") as found:
        yield found


@pytest.fixture(scope="module")
def plain_url() -> Iterator[str]:
    """The same in memory, for requests that do not reach a bus."""
    with served("--admin-token", TOKEN, "--max-message", "1024") as found:
        yield found


@contextmanager
def member(url: str, room: str, peer: str) -> Iterator[ClientConnection]:
    with connect(f"{url.replace('http', 'ws', 1)}/rooms/{room}?peer={peer}") as websocket:
        assert json.loads(websocket.recv(5))["type"] == "welcome"
        yield websocket


def until(question: Callable[[], Any], expected: object) -> None:
    """Ask until the answer is the expected one."""
    deadline = time.monotonic() + 5
    while (answer := question()) != expected:
        assert time.monotonic() < deadline, answer
        time.sleep(0.02)


def new_room() -> str:
    return f"room-{secrets.token_hex(4)}"


def test_room_and_its_members(url: str) -> None:
    room = new_room()
    rules = {"max_members": None, "locked": False, "password": False, "ttl": None, "history": True}
    described = httpx.get(f"{url}/rooms/{room}").json()
    assert described == {"room": room, "present": False, "count": 0, "rules": rules}
    with member(url, room, "a"), member(url, room, "b"):
        assert httpx.get(f"{url}/rooms/{room}").json() == described | {"present": True, "count": 2}
        told = httpx.get(f"{url}/rooms/{room}", headers=AUTHORISED).json()
        assert sorted(one["peer"] for one in told["members"]) == ["a", "b"]
        assert {"room": room, "members": 2} in httpx.get(f"{url}/rooms", headers=AUTHORISED).json()["rooms"]
    until(lambda: httpx.get(f"{url}/rooms/{room}").json()["present"], expected=False)
    assert room not in httpx.get(f"{url}/rooms", headers=AUTHORISED).text


def test_rooms_are_paged_by_name(url: str) -> None:
    rooms = sorted(f"page-{name}-{secrets.token_hex(2)}" for name in ("B", "a", "c", "~"))
    seen: list[str] = []
    query: dict[str, str | int] | None = {"limit": 1}
    with ExitStack() as members:
        for room in rooms:
            members.enter_context(member(url, room, "a"))
        while query:
            page = httpx.get(f"{url}/rooms", params=query, headers=AUTHORISED).json()
            seen += [one["room"] for one in page["rooms"]]
            query = {"limit": 1, "after": page["next"]} if page["next"] else None
    assert [room for room in seen if room in rooms] == rooms


def test_publish(url: str) -> None:
    room = new_room()
    with member(url, room, "a") as websocket:
        envelope = b'{ "message": {"type": "offer", "sdp": "\xc3\xa9\\u00e9"} }'
        headers = AUTHORISED | {"Content-Type": "application/json"}
        answer = httpx.post(f"{url}/rooms/{room}", content=envelope, headers=headers)
        assert answer.status_code == 200
        frame = websocket.recv(5)
        assert isinstance(frame, str)
        told = json.loads(frame)
        assert told.pop("from") == "$server"
        assert told.pop("id") == answer.json()["id"]
        assert told == json.loads(envelope)
        assert frame.encode().startswith(envelope[:-2])


def test_publish_to_one(url: str) -> None:
    room = new_room()
    with member(url, room, "a") as first, member(url, room, "b") as second:
        answer = httpx.post(f"{url}/rooms/{room}", json={"to": "b", "n": 1}, headers=AUTHORISED)
        assert answer.status_code == 200
        httpx.post(f"{url}/rooms/{room}", json={"n": 2}, headers=AUTHORISED)
        assert [json.loads(second.recv(5))["n"] for _ in range(2)] == [1, 2]
        assert json.loads(first.recv(5))["n"] == 2
        absent = httpx.post(f"{url}/rooms/{room}", json={"to": ["a", "c"]}, headers=AUTHORISED)
    assert (absent.status_code, absent.json()["error"]["code"]) == (404, "no_such_peer")
    assert absent.json()["error"]["peers"] == ["c"]


def test_repeated_key(url: str) -> None:
    room = new_room()
    with member(url, room, "a") as websocket:
        answers = [httpx.post(f"{url}/rooms/{room}", json={"key": "k"}, headers=AUTHORISED).json() for _ in range(2)]
        httpx.post(f"{url}/rooms/{room}", json={"last": True}, headers=AUTHORISED)
        frames = [json.loads(websocket.recv(5)) for _ in range(2)]
    assert [answer["repeat"] for answer in answers] == [False, True]
    assert answers[0]["id"] == answers[1]["id"] == frames[0]["id"]
    assert frames[1]["last"] is True


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_json"),
        (b"{", "bad_json"),
        (b"\xff", "bad_json"),
        (b'{"a":NaN}', "bad_json"),
        (b'{"a":' + b"[" * 1000, "bad_json"),
        (b"[]", "bad_envelope"),
        (b'{"to":1}', "bad_envelope"),
        (b'{"to":"$server"}', "bad_peer"),
        (b'{"from":"a"}', "reserved_field"),
        (b" " * 1025, "too_large"),
    ],
)
def test_bad_envelope(plain_url: str, body: bytes, code: str) -> None:
    headers = AUTHORISED | {"Content-Type": "application/json"}
    answer = httpx.post(f"{plain_url}/rooms/a", content=body, headers=headers)
    assert answer.json()["error"]["code"] == code
    assert 400 <= answer.status_code < 500


def test_health(url: str, backend: str) -> None:
    answer = httpx.get(f"{url}/health")
    assert answer.status_code == 200
    body = answer.json()
    workers = body["workers"] if backend == "fleet" else [body]
    assert len({worker["worker"] for worker in workers}) == (2 if backend == "fleet" else 1)
    for worker in workers:
        assert all(check["ok"] for check in worker["checks"].values())
        assert ("redis" in worker["checks"]) == (backend != "memory")
    alone = httpx.get(f"{url}/health?scope=worker").json()
    assert alone["worker"] in {worker["worker"] for worker in workers}


def test_metrics(url: str, backend: str) -> None:
    httpx.get(f"{url}/nothing")
    answer = httpx.get(f"{url}/metrics")
    assert answer.status_code == 200
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    by_worker = {sample.labels.get("worker") for sample in samples}
    assert by_worker == ({"0", "1"} if backend == "fleet" else {None})
    assert sum(sample.value for sample in samples if sample.name == "relay_ready") == len(by_worker)
    assert any(sample.labels.get("code") == "not_found" and sample.value for sample in samples)


def test_preflight(plain_url: str) -> None:
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    answer = httpx.options(f"{plain_url}/rooms/a", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"


# Requests that no client library sends.


def exchange(url: str, request: bytes) -> tuple[int, bytes]:
    """Send bytes; the status and the body of the answer, which says itself how long it is."""
    with socket.create_connection((httpx.URL(url).host, httpx.URL(url).port or 80), timeout=5) as sock:
        sock.sendall(request)
        with sock.makefile("rb") as answer:
            status = int(answer.readline().split(b" ", 2)[1])
            fields = dict(line.rstrip().lower().split(b": ", 1) for line in iter(answer.readline, b"\r\n"))
            body = (
                answer.read() if request.startswith(b"HEAD") else answer.read(int(fields.get(b"content-length", b"0")))
            )
    return status, body


def get(target: bytes, *headers: bytes) -> bytes:
    lines = [b"GET %s HTTP/1.1" % target, b"Connection: close", *(headers or (b"Host: relay",)), b"", b""]
    return b"\r\n".join(lines)


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        (b"/rooms/a/b", 404, "not_found"),
        (b"/rooms/a%2Fb/nothing", 404, "not_found"),
        (b"/rooms/", 400, "bad_room"),
        (b"/rooms/..", 400, "bad_room"),
        (b"/rooms/%2e%2e", 400, "bad_room"),
        (b"/rooms/../health", 404, "not_found"),
        (b"/rooms/%zz", 400, "bad_room"),
        (b"/rooms/%", 400, "bad_room"),
        (b"/rooms/%00", 400, "bad_room"),
        (b"/rooms/%0A", 400, "bad_room"),
        (b"/rooms/a%0d%0aX-Evil:1", 400, "bad_room"),
        (b"/rooms/%ff", 400, "bad_room"),
        (b"/rooms/%ED%A0%80", 400, "bad_room"),
        (b"/rooms/%EF%BF%BD", 400, "bad_room"),
        (b"/rooms%2Fa", 404, "not_found"),
        (b"/rooms/" + b"a" * 10_000, 400, "bad_room"),
        (b"/rooms/a?" + b"x" * 40_000, 400, "bad_query"),
        (b"/rooms/a?x=%FF", 400, "bad_query"),
        (b"/health?scope=%00", 400, "bad_query"),
        (b"/health/", 404, "not_found"),
        (b"/openapi.json/", 404, "not_found"),
        (b"//", 404, "not_found"),
        (b"//evil.example/", 404, "not_found"),
        (b"/%2e%2e/health", 404, "not_found"),
    ],
)
def test_odd_targets(plain_url: str, target: bytes, status: int, code: str) -> None:
    answered, body = exchange(plain_url, get(target))
    assert (answered, json.loads(body)["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("segment", "room"),
    [
        (b"%2F", "%2F"),
        (b"a%2fb", "a%2Fb"),
        (b"%F0%9F%98%80", "%F0%9F%98%80"),
        (b"%7Ba%7D", "%7Ba%7D"),
        (b"a%2520b", "a%2520b"),
        (b"a'b", "a%27b"),
        (b"%61", "a"),
        (b"events", "events"),
        (b"a%2Fevents", "a%2Fevents"),
    ],
)
def test_a_segment_of_any_text_names_a_room(plain_url: str, segment: bytes, room: str) -> None:
    status, body = exchange(plain_url, get(b"/rooms/" + segment))
    assert (status, json.loads(body)["room"]) == (200, room)


@pytest.mark.parametrize(
    "request_bytes",
    [
        get(b"/health", b"Host: ["),
        get(b"/health/", b"Host: ["),
        get(b"/nothing/", b"Host: [::1"),
        get(b"/", b"Host: \xff"),
        get(b"/", b"X-Nothing: a"),
        get(b"/rooms", b"Host: a", b"Authorization: Bearer \xff\xfe"),
        get(b"/rooms", b"Host: a", b"Authorization: Bearer a", b"Authorization: Bearer b"),
        get(b"/rooms/\xff"),
        get(b"/rooms/\xf0\x9f\x98\x80"),
        get(b"http://[/"),
        get(b"*"),
        get(b"/\x00"),
        get(b"/health", b"Host: a", b"Origin: \xff"),
        get(b"/health", b"Host: a", b"Content-Length: 99999999999999999999"),
        b"POST /rooms/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: -1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"BREW /rooms/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /health HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x00\x00 not http at all\r\n\r\n",
    ],
)
def test_broken_requests_affect_no_other_request(plain_url: str, request_bytes: bytes) -> None:
    status, _ = exchange(plain_url, request_bytes)
    assert status < 500
    assert httpx.get(f"{plain_url}/health").status_code == 200


def test_body_without_end_is_answered_before_its_end(plain_url: str) -> None:
    chunk = b"200\r\n" + b" " * 512 + b"\r\n"
    request = (
        b"POST /rooms/a HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n%s" % (TOKEN.encode(), chunk * 3)
    )
    status, body = exchange(plain_url, request)
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")


def test_large_body_of_known_length(plain_url: str) -> None:
    request = (
        b"POST /rooms/a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %s\r\nContent-Length: 1025\r\n\r\n%s" % (TOKEN.encode(), b" " * 1025)
    )
    status, body = exchange(plain_url, request)
    assert (status, json.loads(body)["error"]["code"]) == (413, "too_large")


def test_head_has_no_body(plain_url: str) -> None:
    for target in (b"/health", b"/rooms/a", b"/nothing", b"/rooms/%00"):
        _, body = exchange(plain_url, get(target).replace(b"GET", b"HEAD", 1))
        assert body == b""


# Settings that change which paths exist.


def test_admin_port() -> None:
    port = free_port()
    with served("--admin-listen", str(port)) as url:
        admin = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{url}/metrics").status_code == 404
        assert httpx.get(f"{admin}/metrics").status_code == 200
        assert httpx.get(f"{url}/health").json()["worker"] == httpx.get(f"{admin}/health").json()["worker"]
        refused = httpx.get(f"{admin}/rooms/a")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")


def test_without_a_token_rooms_tell_numbers_and_nothing_else_is_on() -> None:
    with served() as url, member(url, "lobby", "a"):
        for headers in ({}, AUTHORISED):
            told = httpx.get(f"{url}/rooms/lobby", headers=headers).json()
            assert told.keys() == {"room", "present", "count", "rules"}
            assert (told["present"], told["count"]) == (True, 1)
        for answer in (
            httpx.get(f"{url}/rooms"),
            httpx.post(f"{url}/rooms/lobby", json={}),
            httpx.put(f"{url}/rooms/lobby", json={}),
            httpx.delete(f"{url}/rooms/lobby"),
            httpx.post(f"{url}/rooms/lobby/kick", json={"peer": "a"}),
            httpx.post(f"{url}/rooms", json={"rooms": [{"room": "lobby"}]}),
            httpx.post(f"{url}/publish", json={"rooms": ["lobby"], "envelope": {}}),
            httpx.get(f"{url}/subjects/ann"),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


def test_strangers_see_no_details() -> None:
    """A proxy on this machine passes their requests on."""
    with served("--admin-token", TOKEN) as url:
        for headers, status in (({"X-Forwarded-For": "203.0.113.9"}, 403), ({"Host": "relay.example"}, 403),
                                ({"Origin": "https://evil.example"}, 403), ({}, 200)):  # fmt: skip
            assert httpx.get(f"{url}/metrics", headers=headers).status_code == status
            health = httpx.get(f"{url}/health", headers=headers)
            assert health.status_code == 200
            assert set(health.json()) == {"status", "ready", "reasons"} or status == 200
        proxied = {"X-Forwarded-For": "203.0.113.9", **AUTHORISED}
        assert httpx.get(f"{url}/metrics", headers=proxied).status_code == 200
        assert "worker" in httpx.get(f"{url}/health", headers=proxied).json()


def test_an_address_that_guesses_the_token_is_refused() -> None:
    with served("--admin-token", TOKEN, "--token-attempts", "3") as url:
        guesses = [httpx.get(f"{url}/rooms", headers={"Authorization": f"Bearer {n}"}) for n in range(5)]
        assert [guess.status_code for guess in guesses] == [401, 401, 401, 429, 429]
        assert guesses[-1].json()["error"]["code"] == "too_many_attempts"
        elsewhere = httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2"))
        with elsewhere:
            assert elsewhere.get(f"{url}/rooms", headers=AUTHORISED).status_code == 200


def test_a_short_token_is_refused_at_the_start() -> None:
    short = [sys.executable, "-m", "relay", "serve", "--port", "0", "--admin-token", "hunter2hunter2h"]
    done = subprocess.run(short, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "openssl rand -hex 32" in done.stderr
    assert "hunter2" not in done.stderr


def test_redis_that_is_not_there() -> None:
    options = ["--redis-url", f"redis://127.0.0.1:{free_port()}", "--publish-timeout", "0.5", "--admin-token", TOKEN]
    with served(*options, ready=False) as url:
        health = httpx.get(f"{url}/health")
        assert health.status_code == 503
        assert health.json()["checks"]["redis"]["ok"] is False
        assert httpx.get(f"{url}/health/live").status_code == 200
        assert httpx.get(f"{url}/metrics").status_code == 200
        for answer in (
            httpx.get(f"{url}/rooms/a"),
            httpx.get(f"{url}/rooms", headers=AUTHORISED),
            httpx.post(f"{url}/rooms/a", json={}, headers=AUTHORISED),
        ):
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
