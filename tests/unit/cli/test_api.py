"""Requests of commands to the HTTP API: how they are sent, and how failures are told."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NamedTuple

import pytest
import trustme

from relay.cli.api import Api, api_of
from relay.config import Settings

TOKEN = "secret-secret-secret"


class Asked(NamedTuple):
    """A request as the server got it."""

    method: str
    path: str
    token: str | None
    body: Any


class Relay:
    """A server that answers each request with `status` and `body`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status = 200
        self.body: object = {}
        self.asked: list[Asked] = []
        relay = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(size)) if size else None
                relay.asked.append(Asked(self.command, self.path, self.headers.get("Authorization"), body))
                self.send_response(relay.status)
                self.end_headers()
                self.wfile.write((relay.body if isinstance(relay.body, str) else json.dumps(relay.body)).encode())

            do_GET = do_POST = do_PUT = do_DELETE = _answer

            def log_message(self, *_: object) -> None:
                """Do not log."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def relay() -> Iterator[Relay]:
    server = Relay()
    yield server
    server.close()


Failing = Callable[[Callable[[], object]], tuple[int, str]]


@pytest.fixture
def failing(capsys: pytest.CaptureFixture[str]) -> Failing:
    """Run something that ends the command; returns its status, and its output."""

    def run(work: Callable[[], object]) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            work()
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err

    return run


def test_a_request_has_the_token_and_the_body(relay: Relay) -> None:
    relay.body = {"room": "a"}
    api = Api(f"http://127.0.0.1:{relay.port}/below/", TOKEN, 5)
    assert api.ask("PUT", "/rooms/a%20b", {"locked": True}) == {"room": "a"}
    assert api.ask("DELETE", "/rooms/a?reason=x") == {"room": "a"}
    assert relay.asked == [
        ("PUT", "/below/rooms/a%20b", f"Bearer {TOKEN}", {"locked": True}),
        ("DELETE", "/below/rooms/a?reason=x", f"Bearer {TOKEN}", None),
    ]


@pytest.mark.parametrize(
    ("status", "body", "part"),
    [
        (401, {"error": {"code": "unauthorized", "text": "no"}}, "relay: no (unauthorized); the relay has another"),
        (401, {"error": {"code": "bad_token", "text": "no"}}, "relay: no (bad_token); the relay has another"),
        (404, {"error": {"code": "no_such_peer", "text": "no\x1b"}}, "relay: no\\x1b (no_such_peer)\n"),
        (405, {"error": {"code": "bad_method", "text": "no"}}, "earlier version"),
        (502, "Bad Gateway", "relay: HTTP 502, and the body is not a relay's"),
        (200, [], "not a relay's"),
        (200, {"error": "x"}, "not a relay's"),
    ],
)
def test_an_error_ends_the_command(relay: Relay, failing: Failing, status: int, body: object, part: str) -> None:
    relay.status, relay.body = status, body
    code, printed = failing(lambda: Api(f"http://127.0.0.1:{relay.port}", TOKEN, 5).ask("GET", "/"))
    assert code == 1
    assert part in printed


@pytest.mark.parametrize("url", ["ws://localhost", "http://", "http://u:secret@localhost:port", "http://127.0.0.1:1"])
def test_no_answer_is_told_without_a_password(failing: Failing, url: str) -> None:
    code, printed = failing(lambda: Api(url, TOKEN, 1).ask("GET", "/"))
    assert code == 1
    assert "no answer from" in printed
    assert "secret" not in printed


def test_the_token_is_not_sent_to_a_server_whose_certificate_is_not_trusted(failing: Failing) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(tls)
    relay = Relay(tls)
    try:
        code, printed = failing(lambda: Api(f"https://localhost:{relay.port}", TOKEN, 5).ask("GET", "/"))
    finally:
        relay.close()
    assert code == 1
    assert "is not trusted (" in printed
    assert "SSL_CERT_FILE" in printed
    assert not relay.asked


def test_the_relay_of_this_machine_is_asked_unless_a_url_is_given(failing: Failing) -> None:
    settings = Settings(admin_token=TOKEN, host="0.0.0.0", port=1234)
    assert api_of(settings, "", 5) == Api("http://localhost:1234", TOKEN, 5)
    assert api_of(settings, "https://relay.example", 5).url == "https://relay.example"
    code, printed = failing(lambda: api_of(Settings(), "", 5))
    assert code == 2
    assert "RELAY_ADMIN_TOKEN" in printed
    assert TOKEN not in repr(api_of(settings, "", 5))
