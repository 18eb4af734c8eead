"""Polling clients whose requests reach any replica, and attacks on the port for other replicas."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import httpx2 as httpx
import pytest
import redis.asyncio

from relay.fleet_key import FleetKey
from relay.gateways.base.request_seal import RequestHead, Sealer
from relay.ids import IdGenerator
from relay.model.workers import Owner
from relay.session_ids import SessionIds
from tests.conftest import MakeRelay, new_prefix
from tests.fleet import RedisServer, Relay, eventually
from tests.ports import free_port

SECRET = "s" * 32
KEY = FleetKey([SECRET])
NETWORKS = "127.0.0.1/32"


class Replica:
    """A worker with a port for other replicas."""

    def __init__(self, relay: Relay, port: int) -> None:
        self.relay = relay
        self.port = port

    async def refused(self, reason: str) -> float:
        return await self.relay.metric("relay_forward_refusals_total", reason=reason)

    async def closed(self, reason: str) -> float:
        return await self.relay.metric("relay_closed_connections_total", reason=reason)

    async def forwarded(self, outcome: str) -> float:
        return await self.relay.metric("relay_forwarded_requests_total", outcome=outcome)


MakeReplica = Callable[..., Any]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def settings_of(redis_url: str, prefix: str, port: int) -> dict[str, Any]:
    return {
        "redis_url": redis_url,
        "redis_prefix": prefix,
        "fleet_secret": SECRET,
        "forward_listen": f"127.0.0.1:{port}",
        "forward_networks": NETWORKS,
    }


@pytest.fixture
def start_replica(start: MakeRelay, redis_url: str, prefix: str) -> MakeReplica:
    async def make(**settings: Any) -> Replica:
        port = free_port()
        return Replica(await start(**(settings_of(redis_url, prefix, port) | settings)), port)

    return make


@pytest.fixture(scope="module")
def started(redis_url: str) -> Iterator[tuple[Replica, Replica]]:
    prefix = new_prefix()
    first, second = [
        Replica(Relay(**settings_of(redis_url, prefix, port)), port) for port in (free_port(), free_port())
    ]
    yield first, second
    first.relay.close()
    second.relay.close()


@pytest.fixture
async def replicas(started: tuple[Replica, Replica]) -> tuple[Replica, Replica]:
    """Two replicas for all tests that end neither."""
    for one in started:
        await one.relay.ready()
    return started


class Counting:
    """The increase of a replica's counters from now on."""

    def __init__(self, count: Callable[[str], Awaitable[float]], name: str, before: float) -> None:
        self._count = count
        self._name = name
        self._before = before

    @classmethod
    async def of(cls, count: Callable[[str], Awaitable[float]], name: str) -> Self:
        return cls(count, name, await count(name))

    async def more(self) -> float:
        return await self._count(self._name) - self._before


class Poller:
    """An Engine.IO client that sends its requests to the replicas in turn, each over a new connection."""

    def __init__(self, *replicas: Replica, address: str = "127.0.0.1") -> None:
        self._urls = itertools.cycle([one.relay.http for one in replicas])
        self._address = address
        self.sid = ""

    @property
    def path(self) -> str:
        return f"/socket.io/?EIO=4&transport=polling{f'&sid={self.sid}' if self.sid else ''}"

    async def request(self, method: str, path: str = "", **options: Any) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(local_address=self._address)
        async with httpx.AsyncClient(transport=transport, timeout=10) as client:
            return await client.request(method, next(self._urls) + (path or self.path), **options)

    async def open(self) -> None:
        """Begin a session, which stays on the replica that gets this request, and join the default namespace."""
        response = await self.request("GET")
        self.sid = json.loads(response.text[1:])["sid"]
        assert (await self.request("POST", content=b"40")).text == "ok"
        assert (await self.request("GET")).text.startswith("40")

    async def emit(self, *event: Any) -> None:
        assert (await self.request("POST", content=b"42" + json.dumps(event).encode())).text == "ok"

    async def events(self, count: int) -> list[Any]:
        """Poll until so many events have come; offsets are left out."""
        found: list[Any] = []
        while len(found) < count:
            response = await self.request("GET")
            assert response.status_code == 200, response.text
            for packet in response.text.split("\x1e"):
                if packet == "2":
                    await self.request("POST", content=b"3")
                elif packet.startswith("42"):
                    event = json.loads(packet[2:])
                    found += [event] if event[0] != "relay:position" else []
        return found


async def test_requests_that_alternate_between_replicas_are_one_session(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    ann, ben = Poller(first, second), Poller(second, first)
    await ann.open()
    await ben.open()
    await ben.events(0)
    for number in range(10):
        await ann.emit("count", number)
    counted = [event for event in await ben.events(10) if event[0] == "count"]
    assert counted == [["count", number] for number in range(10)]
    assert await first.forwarded("answered") + await second.forwarded("answered") > 5


async def test_headers_travel_along_and_those_of_the_answer_come_once(replicas: tuple[Replica, Replica]) -> None:
    ann = Poller(*replicas)
    await ann.open()
    # The header for load balancers comes only from the replica that has the session.
    for names in ([], [ann.sid]):
        response = await ann.request("POST", content=b"3", headers={"origin": "https://page.example", "cookie": "a=b"})
        assert response.headers.get_list("access-control-allow-origin") == ["https://page.example"]
        assert response.headers.get_list("x-engine-sid") == names
        assert response.headers.get_list("content-length") == ["2"]
        assert len(response.headers.get_list("date")) == 1


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_the_session_of_a_worker_that_is_gone_is_unknown(start_replica: MakeReplica, end: str) -> None:
    first, second = await asyncio.gather(start_replica(), start_replica())
    ann = Poller(first)
    await ann.open()
    old = (await ann.request("GET", "/socket.io/1/")).text.partition(":")[0]
    first.relay.process.kill() if end == "kill" else await first.relay.terminate()
    far = Poller(second)
    far.sid = ann.sid
    assert (await far.request("GET", f"/socket.io/1/xhr-polling/{old}")).text == "7:::1+0"
    response = await far.request("GET")
    assert (response.status_code, response.json()["message"]) == (400, "Session ID unknown")


async def test_a_worker_that_has_the_address_of_one_that_was_killed(start_replica: MakeReplica) -> None:
    first, second = await asyncio.gather(start_replica(worker_lease=10), start_replica())
    ann = Poller(first)
    await ann.open()
    far = Poller(second)
    far.sid = ann.sid
    await far.emit("message", "hello")
    first.relay.process.kill()
    first.relay.process.wait()
    third = await start_replica(forward_listen=f"127.0.0.1:{first.port}")
    assert (await far.request("GET")).json()["message"] == "Session ID unknown"
    assert await third.relay.metric("relay_forward_refusals_total", reason="misdirected") == 1
    assert await third.relay.metric("relay_forward_refusals_total", reason="bad_mac") == 0


async def test_a_session_goes_on_when_redis_loses_its_data(
    start_replica: MakeReplica, redis_server: RedisServer
) -> None:
    first, second = await asyncio.gather(start_replica(), start_replica())
    ann = Poller(first, second)
    await ann.open()
    # Long enough that each address is looked up again, some of them between a loss and the next heartbeat.
    for _ in range(12):
        with redis_server.client as client:
            client.flushall()
        for _ in range(4):
            await ann.emit("message", "hello")
            await asyncio.sleep(0.1)


async def test_a_poll_that_waits_when_its_worker_is_killed(start_replica: MakeReplica) -> None:
    first, second = await asyncio.gather(start_replica(), start_replica())
    ann = Poller(first)
    await ann.open()
    far = Poller(second)
    far.sid = ann.sid
    poll = asyncio.create_task(far.request("GET"))
    await asyncio.sleep(0.3)
    assert not poll.done()
    first.relay.process.kill()
    assert (await poll).json()["message"] == "Session ID unknown"


async def test_a_client_that_drops_a_forwarded_poll_ends_its_session(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    ann = Poller(first)
    await ann.open()
    far = Poller(second)
    far.sid = ann.sid
    lost, dropped = await Counting.of(first.closed, "lost"), await Counting.of(second.forwarded, "dropped")
    poll = asyncio.create_task(far.request("GET"))
    await asyncio.sleep(0.3)
    poll.cancel()
    with suppress(asyncio.CancelledError):
        await poll

    async def ended() -> bool:
        return await lost.more() == 1 and await dropped.more() == 1

    await eventually(ended)


async def test_a_forwarded_client_counts_by_its_own_address_at_the_owner(start_replica: MakeReplica) -> None:
    first, second = await asyncio.gather(*[start_replica(connections_per_address=1) for _ in range(2)])

    async def begin(address: str) -> int:
        # The session begins with the first poll, which another replica forwards.
        sid = (await Poller(first, address=address).request("GET", "/socket.io/1/")).text.partition(":")[0]
        return (await Poller(second, address=address).request("GET", f"/socket.io/1/xhr-polling/{sid}")).status_code

    assert await begin("127.0.0.1") == 200
    assert await begin("127.0.0.2") == 200
    sid = (await Poller(first, address="127.0.0.3").request("GET", "/socket.io/1/")).text.partition(":")[0]
    path = f"/socket.io/1/xhr-polling/{sid}"
    assert (await Poller(second, address="127.0.0.2").request("GET", path)).status_code == 429


async def test_a_client_cannot_pretend_to_be_forwarded(replicas: tuple[Replica, Replica]) -> None:
    first, _ = replicas
    ann = Poller(first)
    await ann.open()
    headers = {"x-relay-forwarded": "1 0 0 0 http 00 0 0", "x-relay-client": "9.9.9.9"}
    assert (await ann.request("POST", content=b"3", headers=headers)).text == "ok"


async def test_forwarding_is_off_without_its_settings(start_replica: MakeReplica) -> None:
    off = {"forward_listen": "", "forward_networks": ""}
    first, second = await asyncio.gather(start_replica(), start_replica(**off))
    ann = Poller(first)
    await ann.open()
    far = Poller(second)
    far.sid = ann.sid
    assert (await far.request("POST", content=b"3")).status_code == 400
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", second.port)


async def test_several_workers_of_each_replica(start_replica: MakeReplica) -> None:
    # Each replica needs two ports in a row; no other test reserves the ports in between.
    ports = sorted(free_port() for _ in range(6))
    starts = [port for port, following in itertools.pairwise(ports) if following == port + 1][::2]
    first, second = await asyncio.gather(
        *[start_replica(workers=2, forward_listen=f"127.0.0.1:{port}") for port in starts[:2]]
    )
    ann, ben = Poller(first, second), Poller(second, first)
    await ann.open()
    await ben.open()
    for number in range(5):
        await ann.emit("count", number)
    assert await ben.events(5) == [["count", number] for number in range(5)]


# Attacks on the port for other replicas.


@asynccontextmanager
async def raw(port: int, address: str = "127.0.0.1") -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer_to(port: int, request: bytes, address: str = "127.0.0.1") -> bytes:
    """Everything that the port sends until it closes the connection."""
    async with raw(port, address) as (reader, writer), asyncio.timeout(10):
        writer.write(request)
        with suppress(ConnectionError):
            return await reader.read()
        return b""


def owner_of(sid: str) -> Owner:
    return SessionIds(KEY, Owner(b"nobody", 0), IdGenerator()).owner(sid)


def sealed(
    sid: str, body: bytes = b"3", *, ahead: int = 0, key: FleetKey = KEY, owner: Owner | None = None, **changed: Any
) -> bytes:
    """A request as another replica sends it; `changed` are parts that are changed after it was sealed."""
    target = f"/socket.io/?EIO=4&transport=polling&sid={sid}".encode()
    headers = [(b"host", b"relay"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    sealer = Sealer(key, owner or owner_of(sid), lambda: round(time.time() * 1000) + ahead)
    seal = sealer.seal(RequestHead(b"POST", target, headers), address="10.1.2.3", scheme="http", body=body)
    if "address" in changed:
        seal = seal.replace(b"10.1.2.3".hex().encode(), changed["address"].hex().encode())
    headers += [(b"x-relay-forwarded", seal), *changed.get("headers", [])]
    lines = [b"POST %b HTTP/1.1" % changed.get("target", target), *(b"%b: %b" % header for header in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + changed.get("sent", body)


async def test_a_sealed_request_is_served_once(replicas: tuple[Replica, Replica]) -> None:
    first, _ = replicas
    ann = Poller(first)
    await ann.open()
    replayed = await Counting.of(first.refused, "replayed")
    request = sealed(ann.sid)
    assert (await answer_to(first.port, request)).startswith(b"HTTP/1.1 200 ")
    assert (await answer_to(first.port, request)).startswith(b"HTTP/1.1 404 ")
    assert await replayed.more() == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"key": FleetKey(["t" * 32])}, "bad_mac"),
        ({"target": b"/metrics"}, "bad_mac"),
        ({"target": b"/rooms"}, "bad_mac"),
        ({"address": b"127.0.0.9"}, "bad_mac"),
        ({"headers": [(b"origin", b"https://evil")]}, "bad_mac"),
        ({"headers": [(b"x-relay-forwarded", b"1")]}, "malformed"),
        ({"sent": b"4"}, "bad_body"),
        ({"ahead": 31_000}, "expired"),
        ({"ahead": -31_000}, "expired"),
    ],
)
async def test_any_other_request_gets_an_empty_404(
    replicas: tuple[Replica, Replica], changes: dict[str, Any], reason: str
) -> None:
    first, _ = replicas
    ann = Poller(first)
    await ann.open()
    refused = await Counting.of(first.refused, reason)
    answer = await answer_to(first.port, sealed(ann.sid, **changes))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b"\r\n\r\n")
    assert await refused.more() == 1
    assert (await ann.request("POST", content=b"3")).text == "ok"


HANDSHAKE = (
    b"GET / HTTP/1.1\r\nhost: relay\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /health HTTP/1.1\r\nhost: relay\r\n\r\n", 404),
        (b"GET /metrics HTTP/1.1\r\nhost: relay\r\n\r\n", 404),
        (b"GET / HTTP/1.0\r\n\r\n", 404),
        (b"POST /rooms/x HTTP/1.1\r\nhost: relay\r\ncontent-length: 100000000000\r\n\r\n" + b"x" * 200_000, 404),
        (b"POST / HTTP/1.1\r\nhost: relay\r\ntransfer-encoding: chunked\r\n\r\n" + b"ffff\r\n" + b"x" * 65_535, 404),
        (HANDSHAKE, 403),
        (b"GET / HTTP/1.1\r\n" + b"x-a: b\r\n" * 20_000, 431),
        (b"GET /" + b"a" * 100_000, 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"*1\r\n$4\r\nPING\r\n", 400),
    ],
)
async def test_strangers_get_nothing(replicas: tuple[Replica, Replica], request_bytes: bytes, status: int) -> None:
    first, _ = replicas
    answer = await answer_to(first.port, request_bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status) or (answer == b"" and status == 404)
    assert b"relay_" not in answer
    assert await first.relay.healthy()


async def test_a_connection_from_another_network_is_dropped_at_once(replicas: tuple[Replica, Replica]) -> None:
    first, _ = replicas
    strangers = await Counting.of(first.refused, "stranger")
    assert await answer_to(first.port, b"GET /health HTTP/1.1\r\nhost: relay\r\n\r\n", "127.0.0.2") == b""
    assert await strangers.more() == 1


async def test_slow_requests_are_dropped(start_replica: MakeReplica) -> None:
    one = await start_replica(handshake_timeout=0.5)

    async def trickle(request: bytes) -> float:
        began = time.monotonic()
        async with raw(one.port) as (reader, writer), asyncio.timeout(10):
            with suppress(ConnectionError):
                for byte in request:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    if reader.at_eof():
                        break
                    await asyncio.sleep(0.05)
                await reader.read()
        return time.monotonic() - began

    slow_head = b"GET / HTTP/1.1\r\nhost: relay\r\n" + b"x-a: b\r\n" * 20
    times = await asyncio.gather(trickle(b""), *[trickle(slow_head) for _ in range(50)])
    assert max(times) < 5
    assert await one.relay.healthy()


async def test_a_slow_body_of_a_sealed_request_is_dropped(start_replica: MakeReplica) -> None:
    one = await start_replica(handshake_timeout=0.5)
    ann = Poller(one)
    await ann.open()
    request = sealed(ann.sid, b"3" * 10)
    assert await answer_to(one.port, request[:-1]) == b""
    assert (await ann.request("POST", content=b"3")).text == "ok"


# Attacks by way of session ids and of Redis.


async def test_ids_that_no_worker_issued_are_not_forwarded(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    ann = Poller(first)
    await ann.open()
    foreign = SessionIds(FleetKey(["t" * 32]), owner_of(ann.sid), IdGenerator()).issue()
    far = Poller(second)
    bad, unsigned = await Counting.of(second.forwarded, "bad_id"), await Counting.of(first.refused, "unsigned")
    for sid in (foreign, ann.sid[:-2] + "AA", "x" * 44, "x", ann.sid.lower()):
        far.sid = sid
        assert (await far.request("GET")).json()["message"] == "Session ID unknown"
    assert (await bad.more(), await unsigned.more()) == (5, 0)


async def test_addresses_in_redis_are_not_believed(start_replica: MakeReplica, redis_url: str, prefix: str) -> None:
    one = await start_replica()
    reached = asyncio.Event()

    async def reach(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    server = await asyncio.start_server(reach, "127.0.0.2", 0)
    elsewhere = f"127.0.0.2:{server.sockets[0].getsockname()[1]}"
    far = Poller(one)
    async with server, redis.asyncio.from_url(redis_url) as client:
        (lease,) = await client.zrange(f"{prefix}:workers", 0, -1)
        values = [
            f"{address} {lease.decode()}"
            for address in (elsewhere, "localhost:80", "127.0.0.1:80\r\nx:y", "/tmp/socket", "[::1]:80")
        ]
        # The last one is within the networks, but of a lease that does not live.
        for number, value in enumerate([*values, f"127.0.0.1:{one.port} nobody/1"]):
            owner = Owner(b"forged", number)
            await client.set(f"{prefix}:address:{owner}", value)
            far.sid = SessionIds(KEY, owner, IdGenerator()).issue()
            response = await far.request("GET")
            assert (response.status_code, response.json()["message"]) == (400, "Session ID unknown")
        assert await one.forwarded("forbidden") == len(values)
    assert not reached.is_set()


async def test_a_request_that_is_forwarded_in_a_circle_ends_after_one_hop(
    start_replica: MakeReplica, redis_url: str, prefix: str
) -> None:
    one = await start_replica()
    owner = Owner(b"forged", 0)
    far = Poller(one)
    far.sid = SessionIds(KEY, owner, IdGenerator()).issue()
    async with redis.asyncio.from_url(redis_url) as client:
        (lease,) = await client.zrange(f"{prefix}:workers", 0, -1)
        # The worker's own port, as that of another one.
        await client.set(f"{prefix}:address:{owner}", f"127.0.0.1:{one.port} ".encode() + lease)
    assert (await far.request("GET")).json()["message"] == "Session ID unknown"
    assert await one.refused("misdirected") == 1
