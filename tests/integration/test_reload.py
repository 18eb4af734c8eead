"""SIGHUP: the certificate is read again, connections stay open, and nothing ends without a word."""

import asyncio
import contextlib
import os
import pty
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import eventually
from tests.ports import free_port, release_port
from tests.unit.process.test_certificate import issue


async def served(port: int) -> str:
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_reload_changes_the_certificate_and_keeps_connections(
    start: MakeRelay, enter: MakeClient, redis_url, prefix, tmp_path: Path, workers: int
) -> None:
    settings = issue(tmp_path, "localhost")
    relay = await start(
        redis_url=redis_url, redis_prefix=prefix, tls_cert=settings.tls_cert, tls_key=settings.tls_key, workers=workers
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    alice, bob = [await enter(relay, f"/rooms/room?peer={peer}", ssl=context) for peer in ("alice", "bob")]
    first = await served(relay.port)
    issue(tmp_path, "localhost")
    relay.signal(signal.SIGHUP)
    # With several workers, the supervisor reads the certificate as well, to check it.
    await eventually(lambda: relay.logged.count("the certificate was read again") == (1 if workers == 1 else 3), 20)
    assert all([await served(relay.port) != first for _ in range(6)])
    (tmp_path / "key.pem").write_text("nonsense")
    relay.signal(signal.SIGHUP)
    await eventually(lambda: "keeps its certificate" in relay.logged)
    await alice.send({"n": 1})
    assert (await bob.next())["n"] == 1
    assert await relay.terminate() == 0


async def test_without_a_certificate_nothing_happens_but_a_line_in_the_log(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start()
    alice = await enter(relay, "/rooms/room?echo=1")
    relay.signal(signal.SIGHUP)
    await eventually(lambda: "there is no certificate to read again" in relay.logged)
    await alice.send({"n": 1})
    assert (await alice.next())["n"] == 1


@pytest.fixture
def in_terminal(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, int]]:
    """A relay whose standard input is a terminal, its log, and its port."""
    controller, terminal = pty.openpty()
    port, log = free_port(), tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "relay", "serve", "--port", str(port)],
            stdin=terminal, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    yield process, log, port
    process.kill()
    process.wait()
    os.close(controller)
    os.close(terminal)
    release_port(port)


async def test_a_terminal_that_closes_stops_the_relay_gracefully(in_terminal) -> None:
    process, log, port = in_terminal

    async def alive() -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer.startswith(b"HTTP/1.1 200")
        return False

    await eventually(alive, 20)
    process.send_signal(signal.SIGHUP)
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert "draining" in log.read_text()


async def test_several_workers_start_where_the_temporary_folder_has_a_long_path(
    start: MakeRelay, redis_url, prefix, tmp_path: Path
) -> None:
    folder = tmp_path / (90 * "x")
    folder.mkdir()
    relay = await start(redis_url=redis_url, redis_prefix=prefix, workers=2, environment={"TMPDIR": str(folder)})
    assert "the path is too long for a unix socket" in relay.logged
    assert await relay.terminate() == 0
