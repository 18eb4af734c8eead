"""Forwarding a request: the request to the other worker, the response to the client, and ends without a response."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message

from relay.fleet_key import FleetKey
from relay.gateways.base.forward_targets import ForwardTargets
from relay.gateways.base.forwarded import FORWARDED
from relay.gateways.base.forwarding import Forwarder
from relay.gateways.base.request_seal import RequestHead, SealVerifier
from relay.ids import IdGenerator
from relay.metrics import Metrics
from relay.model.errors import Refused, Unavailable
from relay.model.workers import LocalWorkers, Owner
from relay.session_ids import SessionIds

KEY = FleetKey(["s" * 32])
ME, OWNER = Owner(b"group1", 0), Owner(b"group1", 1)
NOW = 1_000_000
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi"


class OtherWorker:
    """The owner of the session: has the requests that came, and answers each as `answer` says."""

    def __init__(self, answer: Callable[[asyncio.StreamWriter], Awaitable[None]] | bytes) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.dropped = asyncio.Event()
        self.asked = asyncio.Event()
        self._answer = answer
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(length or 0)))
                self.asked.set()
                if isinstance(self._answer, bytes):
                    writer.write(self._answer)
                    if not self._answer:
                        await reader.read()
                        break
                else:
                    await self._answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.dropped.set()
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Client:
    """A request of a client, and the messages of its response."""

    def __init__(self, sid: str, body: bytes = b"", **scope: Any) -> None:
        self.sent: list[Message] = []
        self.leave = asyncio.Event()
        self._messages: list[Message] = [{"type": "http.request", "body": body}]
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST" if body else "GET",
            "raw_path": b"/socket.io/",
            "query_string": b"sid=" + sid.encode(),
            "scheme": "http",
            "client": ("10.1.2.3", 1),
            "headers": [(b"host", b"relay.example"), (b"cookie", b"a=b"), (b"authorization", b"Bearer x")],
            "state": {},
        } | scope

    async def receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        await self.leave.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return list(self.sent[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])


class World:
    """A worker that forwards to `target`, and the session id `sid` of the owner."""

    def __init__(self, target: str, most: int = 10, patience: float = 60.0) -> None:
        self.target: str | Exception = target
        self.metrics = Metrics()
        self.sid = SessionIds(KEY, OWNER, IdGenerator()).issue()
        local = LocalWorkers(ME, ("/none", target))
        targets = ForwardTargets(local, [], self._look_up, lambda: 0.0)
        ids = SessionIds(KEY, ME, IdGenerator())
        self.forwarder = Forwarder(
            ids, targets, KEY, now=lambda: NOW, metrics=self.metrics, most=most, patience=patience
        )

    async def _look_up(self, _: str) -> str:
        raise Unavailable

    async def forward(self, client: Client, sid: str = "", limit: int = 1000, body: bytes | None = None) -> bool:
        return await self.forwarder.forward(
            client.scope, client.receive, client.send, sid or self.sid, limit=limit, body=body
        )

    def count(self, outcome: str) -> float:
        labels = {"outcome": outcome}
        return self.metrics.registry.get_sample_value("relay_forwarded_requests_total", labels) or 0


@asynccontextmanager
async def world(
    tmp_path: Path, answer: Callable[[asyncio.StreamWriter], Awaitable[None]] | bytes = OK, **options: Any
) -> AsyncIterator[tuple[OtherWorker, World]]:
    other, path = OtherWorker(answer), str(tmp_path / "owner")
    one = World(path, **options)
    async with await asyncio.start_unix_server(other, path):
        try:
            yield other, one
        finally:
            one.forwarder.close()
            await other.stop()
            await asyncio.sleep(0)  # the transports end


def read(head: bytes) -> tuple[RequestHead, bytes]:
    """The parts of a request, as the server of the other worker reads them, and its seal."""
    line, *fields = head.rstrip().split(b"\r\n")
    method, target, _ = line.split(b" ")
    headers = [(name, value.strip()) for name, _, value in (field.partition(b":") for field in fields)]
    return RequestHead(method, target, headers), dict(headers)[b"x-relay-forwarded"]


async def test_a_request_and_its_response_are_passed_on(tmp_path: Path) -> None:
    async with world(tmp_path) as (other, one):
        client = Client(one.sid, b"body")
        assert await one.forward(client)
    assert (client.status, client.body) == (200, b"hi")
    assert client.headers == [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    head, seal = read(other.heads[0])
    assert (head.method, head.target) == (b"POST", b"/socket.io/?sid=" + one.sid.encode())
    assert list(head.headers)[:3] == client.scope["headers"]
    sealed = SealVerifier(KEY, OWNER, lambda: NOW).verify(head, seal)
    assert (sealed.address, sealed.scheme) == ("10.1.2.3", "http")
    sealed.check(b"body")
    assert other.bodies == [b"body"]
    assert one.count("answered") == 1


async def test_a_body_that_the_gateway_has_read(tmp_path: Path) -> None:
    async with world(tmp_path) as (other, one):
        assert await one.forward(Client(one.sid, method="POST"), body=b"read before")
        assert other.bodies == [b"read before"]


async def test_headers_of_the_connection_and_internal_ones_are_left_out(tmp_path: Path) -> None:
    headers = [
        (b"connection", b"close, X-Private"),
        (b"x-private", b"1"),
        (b"keep-alive", b"timeout=5"),
        (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"expect", b"100-continue"),
        (b"content-length", b"999"),
        (b"x-relay-forwarded", b"forged"),
        (b"x-relay-anything", b"forged"),
        (b"x-forwarded-for", b"9.9.9.9"),
        (b"bad name", b"1"),
        (b"", b"1"),
        (b"x-injected", b"a\r\nx-relay-forwarded: forged"),
        (b"x-nul", b"a\x00b"),
        (b"x-kept", b"1"),
    ]
    answer = (
        b"HTTP/1.1 200 OK\r\ndate: now\r\nx-relay-secret: 1\r\nkeep-alive: timeout=5\r\nset-cookie: a=1\r\n"
        b"set-cookie: b=2\r\ncontent-length: 0\r\n\r\n"
    )
    async with world(tmp_path, answer) as (other, one):
        client = Client(one.sid, headers=headers)
        assert await one.forward(client)
    names = [name for name, _ in read(other.heads[0])[0].headers]
    assert names == [b"x-forwarded-for", b"x-kept", b"host", b"x-relay-forwarded"]
    assert client.headers == [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"content-length", b"0")]


@pytest.mark.parametrize("query", [b"sid=x HTTP/1.1\r\nx-relay-forwarded: forged", b"a b", b"\x00", b"a\nb"])
async def test_a_query_with_a_line_feed_or_space_is_refused(tmp_path: Path, query: bytes) -> None:
    async with world(tmp_path) as (other, one):
        with pytest.raises(Refused, match="bad_query"):
            await one.forward(Client(one.sid, query_string=query))
        assert other.heads == []


async def test_polls_share_a_connection(tmp_path: Path) -> None:
    connections = 0

    class Counting(OtherWorker):
        async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await super().__call__(reader, writer)

    other, path = Counting(OK), str(tmp_path / "owner")
    one = World(path)
    async with await asyncio.start_unix_server(other, path):
        for _ in range(5):
            client = Client(one.sid)
            assert await one.forward(client)
            client.leave.set()  # as a server says once the response is complete
        one.forwarder.close()
        await other.stop()
        await asyncio.sleep(0)
    assert connections == 1
    assert len({read(head)[1] for head in other.heads}) == 5


async def test_a_stream_is_passed_on_as_it_arrives_and_its_end_is_seen_by_both(tmp_path: Path) -> None:
    async def stream(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\ndata1\r\n")
        await asyncio.Event().wait()

    async with world(tmp_path, stream) as (_, one):
        client = Client(one.sid)
        task = asyncio.create_task(one.forward(client))
        async with asyncio.timeout(5):
            while client.body != b"data1":
                await asyncio.sleep(0)
        assert client.headers == []
        assert client.sent[-1]["more_body"]
        client.leave.set()
        assert await task
        assert one.count("dropped") == 1


async def test_a_client_that_leaves_drops_the_request_to_the_other_worker(tmp_path: Path) -> None:
    async with world(tmp_path, b"") as (other, one):
        client = Client(one.sid)
        task = asyncio.create_task(one.forward(client))
        await other.asked.wait()
        client.leave.set()
        assert await task
        async with asyncio.timeout(5):
            await other.dropped.wait()
        assert client.sent == []
        assert one.count("dropped") == 1


async def test_a_client_that_leaves_before_its_body_is_whole(tmp_path: Path) -> None:
    async with world(tmp_path) as (other, one):
        client = Client(one.sid, b"x")
        client._messages = [{"type": "http.disconnect"}]
        assert await one.forward(client)
        assert (other.heads, one.count("dropped")) == ([], 1)


async def test_a_body_beyond_the_limit(tmp_path: Path) -> None:
    async with world(tmp_path) as (other, one):
        with pytest.raises(Refused, match="too_large"):
            await one.forward(Client(one.sid, b"x" * 1001))
        assert other.heads == []


async def test_an_id_that_no_worker_has_issued_is_not_forwarded(tmp_path: Path) -> None:
    foreign = SessionIds(FleetKey(["t" * 32]), OWNER, IdGenerator()).issue()
    async with world(tmp_path) as (other, one):
        for sid in ("x", foreign, one.sid[:-1], one.sid + "A"):
            assert not await one.forward(Client(one.sid), sid)
        assert (other.heads, one.count("bad_id")) == ([], 4)


async def test_the_id_of_this_worker_itself_is_not_forwarded(tmp_path: Path) -> None:
    async with world(tmp_path) as (other, one):
        assert not await one.forward(Client(one.sid), SessionIds(KEY, ME, IdGenerator()).issue())
        assert other.heads == []


async def test_a_forwarded_request_is_not_forwarded_again(tmp_path: Path) -> None:
    async with world(tmp_path) as (other, one):
        assert not await one.forward(Client(one.sid, state={FORWARDED: True}))
        assert other.heads == []


async def test_a_worker_that_is_gone_has_no_session(tmp_path: Path) -> None:
    one = World(str(tmp_path / "gone"))
    assert not await one.forward(Client(one.sid))
    assert one.count("gone") == 1


@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"HTTP/1.1 200"])
async def test_a_worker_that_ends_before_its_response_has_no_session(tmp_path: Path, answer: bytes) -> None:
    async def end(writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with world(tmp_path, end) as (_, one):
        client = Client(one.sid)
        assert not await one.forward(client)
        assert (client.sent, one.count("gone")) == ([], 1)


async def test_another_worker_that_has_the_address_of_one_that_is_gone(tmp_path: Path) -> None:
    async with world(tmp_path, b"HTTP/1.1 421 Misdirected Request\r\ncontent-length: 0\r\n\r\n") as (_, one):
        client = Client(one.sid)
        assert not await one.forward(client)
        assert (client.sent, one.count("gone")) == ([], 1)


async def test_a_worker_that_ends_within_its_response(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    async with world(tmp_path, cut) as (_, one):
        client = Client(one.sid)
        # The response has begun, so there is no other answer: the server closes the connection.
        assert await one.forward(client)
        assert client.sent[-1]["more_body"]
        assert await one.forward(Client(one.sid))
        assert one.count("cut") == 2
    # One line in a minute: a worker that ends may have thousands of responses in progress.
    assert caplog.text.count("in the middle of a response") == 1


async def test_a_worker_that_does_not_answer_in_time(tmp_path: Path) -> None:
    async with world(tmp_path, b"", patience=0.05) as (_, one):
        with pytest.raises(Refused, match="unavailable"):
            await one.forward(Client(one.sid))
        assert one.count("unreachable") == 1


async def test_requests_at_the_same_time_are_bounded(tmp_path: Path) -> None:
    async with world(tmp_path, b"", most=20) as (_, one):
        other = SessionIds(KEY, OWNER, IdGenerator()).issue()
        clients = [Client(one.sid) for _ in range(16)]
        tasks = [asyncio.create_task(one.forward(client)) for client in clients]
        await asyncio.sleep(0.02)
        with pytest.raises(Refused, match="too_many_connections"):
            await one.forward(Client(one.sid))
        others = [Client(other) for _ in range(4)]
        clients += others
        tasks += [asyncio.create_task(one.forward(client, other)) for client in others]
        await asyncio.sleep(0.02)
        with pytest.raises(Refused, match="worker_full"):
            await one.forward(Client(other), other)
        for client in clients:
            client.leave.set()
        await asyncio.gather(*tasks)
        client = Client(one.sid)
        client.leave.set()
        assert await one.forward(client)
        assert not one.forwarder._requests._of_session


@pytest.mark.parametrize(
    ("address", "failure", "outcome"),
    [("", None, "none"), ("169.254.169.254:80", None, "forbidden"), ("", Unavailable(), "unreachable")],
)
async def test_a_worker_of_another_replica_whose_address_is_of_no_use(
    address: str, failure: Exception | None, outcome: str
) -> None:
    async def look_up(_: str) -> str:
        if failure:
            raise failure
        return address

    metrics = Metrics()
    targets = ForwardTargets(LocalWorkers(ME), [ip_network("10.0.0.0/8")], look_up, lambda: 0.0)
    ids = SessionIds(KEY, ME, IdGenerator())
    forwarder = Forwarder(ids, targets, KEY, now=lambda: NOW, metrics=metrics, most=1, patience=1.0)
    sid = SessionIds(KEY, Owner(b"group2", 0), IdGenerator()).issue()
    client = Client(sid)
    if failure:
        with pytest.raises(Refused, match="unavailable"):
            await forwarder.forward(client.scope, client.receive, client.send, sid, limit=1)
    else:
        assert not await forwarder.forward(client.scope, client.receive, client.send, sid, limit=1)
    counted = metrics.registry.get_sample_value("relay_forwarded_requests_total", {"outcome": outcome})
    assert counted == (None if outcome == "none" else 1)
