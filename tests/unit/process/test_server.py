"""Listening, certificates, signals, and the graceful end of a server."""

import asyncio
import itertools
import signal
import socket
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from relay.config import Settings
from relay.process.server import BadCertificate, CannotListen, bind, tls_context
from tests.unit.serving import Recorder, running

# Listening.


def test_bind_takes_a_free_port() -> None:
    (sock,) = bind("127.0.0.1", 0)
    with sock:
        assert sock.getsockname()[1] > 0
        assert not sock.getblocking()


def test_bind_takes_the_same_port_on_every_address() -> None:
    sockets = bind("localhost", 0)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
    finally:
        for sock in sockets:
            sock.close()


async def test_bind_to_the_unspecified_ipv6_address_takes_both_families() -> None:
    app = Recorder()
    async with running(app, host="::") as served:
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, served.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            writer.close()
    assert [scope["client"][0] for scope in app.scopes] == ["127.0.0.1", "::1"]


def test_bind_names_the_port_in_use() -> None:
    (sock,) = bind("127.0.0.1", 0)
    with sock, pytest.raises(CannotListen, match=r"127\.0\.0\.1 port \d+: Address already in use"):
        bind("127.0.0.1", sock.getsockname()[1])


def test_bind_names_an_unknown_host() -> None:
    with pytest.raises(CannotListen, match=r"nowhere\.invalid: "):
        bind("nowhere.invalid", 0)


# Certificates.


def test_no_certificate_means_no_tls() -> None:
    assert tls_context(Settings()) is None


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    issued = trustme.CA().issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return cert, key


def test_certificate_and_key_are_read(certificate: tuple[Path, Path]) -> None:
    cert, key = certificate
    context = tls_context(Settings(tls_cert=str(cert), tls_key=str(key)))
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_missing_certificate_is_named(certificate: tuple[Path, Path]) -> None:
    _, key = certificate
    with pytest.raises(BadCertificate, match=r"tls_cert: 'nothing\.pem' cannot be read: No such file"):
        tls_context(Settings(tls_cert="nothing.pem", tls_key=str(key)))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("other key", r"tls_cert, tls_key: '.*key\.pem' is not the key of the first certificate in '.*cert\.pem'"),
        ("no PEM cert", r"tls_cert: '.*' is not in PEM format"),
        ("no PEM key", r"tls_key: '.*' is not in PEM format"),
        ("key as cert", r"tls_cert: '.*' has no CERTIFICATE, but: (EC |RSA )?PRIVATE KEY"),
        ("cert as key", r"tls_key: '.*' has no PRIVATE KEY, but: CERTIFICATE"),
        ("other kind of key", r"tls_cert, tls_key: '.*' is not the key of the first certificate in '.*cert\.pem'"),
        ("damaged", r"tls_key: OpenSSL does not accept '.*key\.pem': it is damaged"),
        ("cert cut off", r"tls_cert: OpenSSL does not accept '.*cert\.pem': it is damaged"),
        ("encrypted", r"tls_key: '.*' is encrypted.*; decrypt it with: openssl pkey -in \S+ -out NEW_FILE"),
        ("encrypted as of old", r"tls_key: '.*' is encrypted"),
    ],
)
def test_certificate_that_does_not_fit_is_named(certificate: tuple[Path, Path], spoil: str, reason: str) -> None:
    cert, key = certificate
    if spoil == "other key":
        key.write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    elif spoil == "other kind of key":
        unlike = trustme.CA(key_type=trustme.KeyType.RSA).issue_cert("localhost", key_type=trustme.KeyType.RSA)
        key.write_bytes(unlike.private_key_pem.bytes())
    elif spoil == "cert cut off":
        cert.write_bytes(cert.read_bytes()[:300])
    elif spoil == "key as cert":
        cert.write_bytes(key.read_bytes())
    elif spoil == "cert as key":
        key.write_bytes(cert.read_bytes())
    elif spoil == "damaged":
        key.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    elif spoil.startswith("encrypted"):
        form = PrivateFormat.PKCS8 if spoil == "encrypted" else PrivateFormat.TraditionalOpenSSL
        loaded = load_pem_private_key(key.read_bytes(), None)
        key.write_bytes(loaded.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))
    else:
        (cert if "cert" in spoil else key).write_text("not PEM")
    with pytest.raises(BadCertificate, match=reason):
        tls_context(Settings(tls_cert=str(cert), tls_key=str(key)))


async def test_a_connection_without_a_request_stays_open_for_its_time() -> None:
    async with running(Recorder(), keep_alive_timeout=33) as served:
        assert served.server.config.timeout_keep_alive == 33
    # Load balancers keep connections for a minute, unless they are told otherwise.
    assert Settings().keep_alive_timeout > 60


# Stopping.


class Draining(Recorder):
    """Closes its connections when drained, as the worker does."""

    def __init__(self) -> None:
        super().__init__()
        self.draining = asyncio.Event()
        self.may_close = asyncio.Event()
        self.may_close.set()

    async def drain(self) -> None:
        self.draining.set()
        await self.may_close.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await super().__call__(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})
        await self.draining.wait()
        await self.may_close.wait()
        await send({"type": "websocket.close", "code": 1001, "reason": "going_away"})
        await receive()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_first_signal_drains_and_is_not_raised_again(number: signal.Signals) -> None:
    app = Draining()
    async with running(app, drain=app.drain) as served, connect(served.ws) as websocket:
        signal.raise_signal(number)
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "going_away")
        await served.task


async def test_a_draining_server_answers_requests() -> None:
    app = Draining()
    app.may_close.clear()
    async with running(app, drain=app.drain) as served:
        served.server.stop()
        await app.draining.wait()
        assert (await served.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).startswith(
            b"HTTP/1.1 200 "
        )
        app.may_close.set()
        await served.task


async def test_second_signal_does_not_wait() -> None:
    app = Draining()
    app.may_close.clear()
    async with running(app, drain=app.drain) as served:
        reader, writer = await served.upgrade()
        served.server.stop()
        await app.draining.wait()
        served.server.stop()
        async with asyncio.timeout(3):
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            await served.task
        writer.close()


async def test_a_client_without_a_close_frame_is_not_waited_for() -> None:
    app = Draining()
    async with running(app, drain=app.drain) as served:
        reader, writer = await served.upgrade()
        served.server.stop()
        async with asyncio.timeout(5):
            assert (await reader.read()).startswith(b"\x88\x0c\x03\xe9going_away")
            await served.task
        writer.close()


async def test_a_failed_drain_still_ends_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("no")

    async with running(Recorder(), drain=fail) as served:
        served.server.stop()
        await served.task
    assert "a step of stopping failed" in caplog.text


async def test_a_turn_accepts_several_connections() -> None:
    async with running(Recorder()) as served:
        await served.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        open_connections, counts = served.server.server_state.connections, [0]
        # The event loop stands still meanwhile, so all of them wait to be accepted.
        clients = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(8)]
        async with asyncio.timeout(5):
            while counts[-1] < len(clients):
                await asyncio.sleep(0)
                counts.append(len(open_connections))
        for client in clients:
            client.close()
    assert max(after - before for before, after in itertools.pairwise(counts)) >= 4


async def test_the_end_of_the_supervisor_stops_the_server() -> None:
    held, hand = socket.socketpair()
    with held, hand:
        async with running(Recorder(), supervisor_pipe=held.fileno()) as served:
            assert (await served.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).startswith(
                b"HTTP/1.1 200 "
            )
            hand.close()
            async with asyncio.timeout(5):
                await served.task
