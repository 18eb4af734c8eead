"""`relay health`: its request, its text and its exit status."""

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from relay.cli import main

READY = {"ready": True, "worker": "w1", "connections": 3, "rooms": 2, "checks": {}}
DEAF = {
    "ready": False,
    "worker": "w2",
    "connections": 1,
    "rooms": 1,
    "checks": {"redis": {"ok": True, "text": "answers"}, "subscription": {"ok": False, "text": "not heard\x1b"}},
}
SILENT = {"ready": False, "checks": {"answer": {"ok": False, "text": "no answer within 1 s"}}}

Serve = Callable[..., str]


@pytest.fixture
def asked() -> list[str]:
    """The requested paths."""
    return []


@pytest.fixture
def answer(asked: list[str]) -> Iterator[Serve]:
    """Start a server that replies to every request with this status and body, as JSON unless the body is text."""
    servers: list[HTTPServer] = []

    def answer(status: int, body: object, tls: ssl.SSLContext | None = None) -> str:
        text = body if isinstance(body, str) else json.dumps(body)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Do not log."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        servers.append(server)
        return str(server.server_port)

    yield answer
    for server in servers:
        server.shutdown()
        server.server_close()


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner().invoke(main, ["health", *arguments], env=variables, prog_name="relay")


def test_a_ready_relay_gives_status_0_and_a_line(answer: Serve, asked: list[str]) -> None:
    done = run(RELAY_PORT=answer(200, READY), RELAY_HOST="0.0.0.0")
    assert (done.exit_code, done.stdout) == (0, "w1: ready; 3 connections, 2 rooms\n")
    assert asked == ["/health"]


def test_a_relay_that_is_not_ready_gives_status_1_and_the_reason(answer: Serve) -> None:
    done = run("--port", answer(503, DEAF))
    assert (done.exit_code, done.stderr) == (1, "relay: w2: not ready; subscription: not heard\\x1b\n")


def test_every_worker_behind_the_port_has_a_line(answer: Serve) -> None:
    done = run("--port", answer(503, {"ready": False, "workers": [READY, SILENT]}))
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "relay: w1: ready; 3 connections, 2 rooms",
        "relay: not ready; answer: no answer within 1 s",
    ]


def test_live_asks_only_whether_it_answers(answer: Serve, asked: list[str]) -> None:
    done = run("--live", "--url", f"http://127.0.0.1:{answer(200, {'status': 'alive'})}")
    assert (done.exit_code, done.stdout) == (0, "alive\n")
    assert asked == ["/health/live"]


@pytest.mark.parametrize("body", ["<html>", "{}", '{"ready":', "[]", '{"ready":true}', '{"ready":true,"workers":[1]}'])
def test_another_program_on_the_port_gives_status_1(body: str, answer: Serve) -> None:
    done = run("--port", answer(200, body))
    assert done.exit_code == 1
    assert done.stderr == "relay: HTTP 200, and the body is not a relay's health; does another program listen there?\n"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://x", "nonsense", "http://127.0.0.1:99999"])
def test_no_answer_gives_status_1_and_the_address(url: str) -> None:
    done = run("--url", url)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"relay: no answer from {url}: ")
    assert isinstance(done.exception, SystemExit)


def test_a_certificate_may_be_for_another_name(answer: Serve, tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("relay.example").configure_cert(tls)
    done = run(RELAY_PORT=answer(200, READY, tls), RELAY_TLS_CERT="cert.pem", RELAY_TLS_KEY="key.pem")
    assert (done.exit_code, done.stdout) == (0, "w1: ready; 3 connections, 2 rooms\n")


def test_health_imports_no_server() -> None:
    """It runs every few seconds in every container."""
    code = "import sys, relay.cli.health; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"uvicorn", "starlette", "redis", "asyncio", "websockets"} & set(loaded)


def test_the_checks_that_fail_are_named_of_a_relay_that_is_ready(answer: Serve) -> None:
    """One lost shard of a cluster, for instance."""
    lost = {"shards": {"ok": False, "text": "shard a:1: connection refused"}, "redis": {"ok": True, "text": "answers"}}
    done = run(RELAY_PORT=answer(200, READY | {"checks": lost}))
    assert done.exit_code == 0
    assert done.stdout == "w1: ready; 3 connections, 2 rooms; but shards: shard a:1: connection refused\n"
