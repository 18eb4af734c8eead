"""Socket.IO clients whose requests may each reach another worker: behind `deploy/haproxy`, and behind one port."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.conformance.sio import POLLING, UPGRADE, WEBSOCKET, Node, SocketIO
from tests.fleet import Relay, require
from tests.integration.served import served
from tests.ports import free_port

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
CASES = [
    (version, transport)
    for version in ("4", "3", "2", "1", "0.9")
    for transport in ("polling", "websocket", "upgrade")
    if (version, transport) != ("0.9", "upgrade")
]
TRANSPORTS = {"polling": POLLING, "websocket": WEBSOCKET, "upgrade": UPGRADE}


PORT = "PORT-OF-THE-LOAD-BALANCER"


def here(text: str, ports: Sequence[int]) -> str:
    """Return the configuration with workers on these ports instead of those that Docker's DNS names."""
    servers = "".join(f"    server w{number} 127.0.0.1:{port}\n" for number, port in enumerate(ports))
    for pattern, put in (
        (r"resolvers docker\n(?:    .*\n)+", ""),
        (r" resolvers docker init-addr none", ""),
        (r"frontend operator\n(?:    .*\n?)+", ""),
        (r"bind :8888.*", f"bind 127.0.0.1:{PORT}"),
        (r"balance leastconn", "balance roundrobin"),
        (r" +server-template .*\n", servers),
    ):
        text, found = re.subn(pattern, lambda _, put=put: put, text)
        assert found, f"{pattern} is not in {CONFIGURATION.name}"
    return text


@asynccontextmanager
async def balancing(configuration: str, folder: Path) -> AsyncIterator[str]:
    """Run HAProxy with a configuration of `here`, and give its address."""
    port, path = free_port(), folder / "haproxy.cfg"
    path.write_text(configuration.replace(PORT, str(port)))
    command = [require("haproxy"), "-db", "-f", str(path)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
async def balancer(pair: tuple[Relay, Relay], tmp_path: Path) -> AsyncIterator[str]:
    async with balancing(here(CONFIGURATION.read_text(), [one.port for one in pair]), tmp_path) as url:
        yield url


async def test_sessions_that_poll_stay_with_their_worker(balancer: str, pair: tuple[Relay, Relay]) -> None:
    node = await Node.start()
    try:
        for version, transport in CASES:
            options = TRANSPORTS[transport] | {"query": f"room={transport}-{version}"}
            ann, ben = [await node.open(version, balancer, **options) for _ in range(2)]
            for client in (ann, ben) if transport == "upgrade" else ():
                await client.until("upgrade")
            for number in range(3):
                ann.emit("message", {"n": number})
                assert await ben.event() == ("message", [{"n": number}])
        assert [await relay.metric("relay_errors_total", code="unknown_session") for relay in pair] == [0, 0]
        assert min([await relay.metric("relay_connections") for relay in pair]) > len(CASES) / 2
    finally:
        await node.close()


async def test_pages_of_simplewebrtc_behind_the_load_balancer(balancer: str) -> None:
    node = await Node.start()
    try:
        for transport in ("polling", "upgrade"):
            options = TRANSPORTS[transport] | {"query": "dialect=signalmaster"}
            ann, ben = [await node.open("1", balancer, **options) for _ in range(2)]
            for client in (ann, ben) if transport == "upgrade" else ():
                await client.until("upgrade")
            assert await ann.ask("create", transport) == [None, transport]
            error, described = await ben.ask("join", transport)
            assert (error, set(described["clients"])) == (None, {ann.connected["id"]})
            ben.emit("message", {"to": ann.connected["id"], "type": "offer"})
            name, [message] = await ann.event()
            assert (name, message["type"], message["from"]) == ("message", "offer", ben.connected["id"])
            ben.do("disconnect")
            assert await ann.event() == ("remove", [{"id": ben.connected["id"]}])
    finally:
        await node.close()


async def test_pages_of_rtcmulticonnection_behind_the_load_balancer(balancer: str) -> None:
    node = await Node.start()

    async def page(version: str, transport: str, userid: str) -> SocketIO:
        query = f"userid={userid}&msgEvent=signal&socketCustomEvent=chat&maxParticipantsAllowed=1000&extra=%7B%7D"
        opened = await node.open(version, balancer, **TRANSPORTS[transport], query=query)
        if transport == "upgrade":
            await opened.until("upgrade")
        return opened

    try:
        for version, transport in [(version, name) for version in ("4", "2", "1") for name in ("polling", "upgrade")]:
            room = f"{version}-{transport}"
            asked = {"sessionid": room, "session": {"data": True}, "extra": {}, "identifier": "", "password": ""}
            ann, ben = [await page(version, transport, f"{name}-{room}") for name in ("ann", "ben")]
            assert await ann.ask("open-room", asked) == [True]
            assert await ben.ask("join-room", asked) == [True]
            request = {"remoteUserId": room, "message": {"newParticipationRequest": True}, "sender": "?"}
            ben.emit("signal", request)
            name, [heard] = await ann.event()
            assert (name, heard["sender"], heard["remoteUserId"]) == ("signal", f"ben-{room}", f"ann-{room}")
            ann.emit("signal", {"remoteUserId": f"ben-{room}", "message": {"type": "offer"}, "sender": "?"})
            assert await ben.event() == ("user-connected", [f"ann-{room}"])
            name, [heard] = await ben.event()
            assert (name, heard["sender"], heard["message"]) == ("signal", f"ann-{room}", {"type": "offer"})
            assert await ann.event() == ("user-connected", [f"ben-{room}"])
            ben.emit("chat", room)
            assert await ann.event() == ("chat", [room])
            ann.do("disconnect")
            assert await ben.event() == ("user-disconnected", [f"ann-{room}"])
            assert await ben.event() == ("set-isInitiator-true", [room])
            ben.do("disconnect")
    finally:
        await node.close()


async def test_paths_arrive_as_the_client_wrote_them(balancer: str) -> None:
    async with httpx.AsyncClient(timeout=10) as client:
        for path, status, room in (
            ("a%2Fb", 200, "a%2Fb"),
            ("a%2Fevents", 200, "a%2Fevents"),
            ("..%2Fhealth", 200, "..%2Fhealth"),
            ("main%20hall", 200, "main%20hall"),
            ("%D1%8F%2520", 200, "%D1%8F%2520"),
            ("a/b", 404, None),
        ):
            answer = await client.get(f"{balancer}/rooms/{path}")
            assert (answer.status_code, answer.json().get("room")) == (status, room)


async def test_workers_behind_one_port_forward_requests_to_each_other(redis_url: str, prefix: str) -> None:
    with served("--workers", "3", "--redis-url", redis_url, "--redis-prefix", prefix) as url:
        node = await Node.start()
        try:
            for version in ("4", "3", "2", "1", "0.9"):
                ann, ben = [await node.open(version, url, **POLLING, query=f"room=a-{version}") for _ in range(2)]
                for number in range(10):
                    assert await ann.ask("message", {"n": number})
                    assert await ben.event() == ("message", [{"n": number}])
                ann.do("disconnect")
                ben.do("disconnect")
            # A client whose WebSocket reaches another worker goes on polling.
            ann, ben = [await node.open("4", url, **UPGRADE) for _ in range(2)]
            for number in range(10):
                ann.emit("count", number)
            for number in range(10):
                assert await ben.event() == ("count", [number])
        finally:
            await node.close()


async def leave_as_pages(url: str) -> None:
    """Leave as pages with version 0.9 do: by a separate request, over a connection of its own."""

    async def get(path: str) -> str:
        async with httpx.AsyncClient(timeout=10) as new:
            return (await new.get(f"{url}/socket.io/1/{path}")).text

    for _ in range(8):
        sid = (await get("")).partition(":")[0]
        assert await get(f"xhr-polling/{sid}") == "1::"
        assert await get(f"/{sid}/?disconnect=1") == ""
        assert await get(f"xhr-polling/{sid}") == "7:::1+0"  # an unknown session, on which clients begin anew


async def test_a_page_that_is_closed_ends_its_session_on_any_worker(redis_url: str, prefix: str, balancer: str) -> None:
    await leave_as_pages(balancer)
    with served("--workers", "3", "--redis-url", redis_url, "--redis-prefix", prefix) as url:
        await leave_as_pages(url)


async def test_a_forwarded_client_counts_by_its_own_address(redis_url: str, prefix: str) -> None:
    options = ("--workers", "3", "--connections-per-address", "2", "--redis-url", redis_url, "--redis-prefix", prefix)
    with served(*options) as url:

        async def begin() -> int:
            async with httpx.AsyncClient(timeout=10) as new:
                handshake = await new.get(f"{url}/socket.io/1/")
            if handshake.status_code != 200:
                return handshake.status_code
            sid = handshake.text.partition(":")[0]
            async with httpx.AsyncClient(timeout=10) as new:  # any worker may accept this connection
                return (await new.get(f"{url}/socket.io/1/xhr-polling/{sid}")).status_code

        statuses = [await begin() for _ in range(20)]
        assert set(statuses) == {200, 429}
        assert statuses.count(200) <= 6
