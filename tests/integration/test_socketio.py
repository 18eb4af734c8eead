"""Socket.IO clients when workers, connections or Redis fail, and when a limit or a rule refuses something."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay.gateways.socketio.packets import CLOSE, FRAMINGS, MESSAGE, EnginePacket
from tests.conftest import MakeClient, MakeRelay
from tests.fleet import RedisServer, Relay, eventually
from tests.integration.socketio import OverPolling, OverWebSocket, Packets

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"
Open = Callable[..., Awaitable[Any]]


_numbers = itertools.count()


@pytest.fixture(scope="module")
def couple(redis_server: RedisServer) -> Iterator[tuple[Relay, Relay]]:
    """Two workers that no test of this module stops or changes."""
    relays = [Relay(redis_url=redis_server.url, redis_prefix="relay:socketio-faults") for _ in range(2)]
    for relay in relays:
        asyncio.run(relay.ready())
    yield relays[0], relays[1]
    for relay in relays:
        relay.close()


@pytest.fixture
def space() -> str:
    """A namespace for one test; it is also the path of its room for native clients."""
    return f"/rooms/test-{next(_numbers)}"


@pytest.fixture
async def open_socket(space: str) -> AsyncIterator[Open]:
    """Opens clients and enters the test's namespace: `open_socket(OverPolling, relay)`."""
    async with AsyncExitStack() as stack:

        async def open_socket(kind: type[OverWebSocket] | type[OverPolling], relay: Relay, **auth: Any) -> Packets:
            client = await kind.open(relay, space)
            if isinstance(client, OverWebSocket):
                stack.callback(client.lose)
            else:
                stack.push_async_callback(client.close)
            return await client.enter(**auth)

        yield open_socket


async def closed(client: OverWebSocket) -> int:
    async with asyncio.timeout(10):
        while True:
            try:
                await client.raw()
            except ConnectionClosed as end:
                return end.rcvd.code if end.rcvd else 1006


# Faults.


@pytest.mark.parametrize("kind", [OverWebSocket, OverPolling])
async def test_a_client_of_a_killed_worker_is_recovered_on_another(
    pair: tuple[Relay, Relay], open_socket: Open, enter: MakeClient, kind: type, space: str
) -> None:
    ann = await open_socket(kind, pair[0])
    ben = await enter(pair[1], space + "?presence=1")
    await ben.send({"message": 1})
    _, data, offset = await ann.event()
    assert data == {"message": 1}
    pair[0].process.kill()
    await ben.send({"message": 2})
    await ben.all_up_to_now()
    back = await open_socket(kind, pair[1], pid=ann.entered["pid"], offset=offset)
    assert back.entered == ann.entered  # the same private id, which tells the client that it has recovered
    assert (await back.event())[:2] == ["message", {"message": 2}]
    await ben.send({"message": 3})
    assert (await back.event())[:2] == ["message", {"message": 3}]
    assert [event for event in await ben.all_up_to_now() if event.get("left")] == []


async def test_a_client_that_comes_back_too_late_gets_another_private_id(
    start: MakeRelay, open_socket: Open, enter: MakeClient, space: str
) -> None:
    relay = await start(reconnect_grace=0.2)
    ben = await enter(relay, space + "?presence=1")
    ann = await open_socket(OverWebSocket, relay)
    ann.lose()
    await ben.until(lambda event: event.get("left"))
    back = await open_socket(OverWebSocket, relay, pid=ann.entered["pid"], offset="1-1")
    assert back.entered["pid"] != ann.entered["pid"]


# Clients that moved to another room.


async def moved_to(client: Packets, room: str) -> str:
    """Move to another room, and return the offset from which the client would recover."""
    assert (await client.ask("join", room))["room"] == room
    name, received, offset = await client.event()
    assert (name, received["room"]) == ("relay:joined", room)
    return str(offset)


@pytest.mark.parametrize("kind", [OverWebSocket, OverPolling])
async def test_a_client_that_had_moved_is_recovered_in_that_room(
    pair: tuple[Relay, Relay], open_socket: Open, enter: MakeClient, kind: type, space: str
) -> None:
    there = space.removeprefix("/rooms/") + "-there"
    ben = await enter(pair[1], f"/rooms/{there}?presence=1")
    ann = await open_socket(kind, pair[0])
    offset = await moved_to(ann, there)
    pair[0].process.kill()
    await ben.send({"message": 1})
    await ben.all_up_to_now()
    for message in (1, 2, 3):  # each time it recovers from another offset
        back = await open_socket(kind, pair[1], pid=ann.entered["pid"], offset=offset)
        assert back.entered == ann.entered
        _, data, offset = await back.event()
        assert (data, offset.partition("@")[2]) == ({"message": message}, there)
        await back.emit("message", {"heard": message})
        await ben.until(lambda event, message=message: event.get("heard") == message)
        if isinstance(back, OverWebSocket):
            back.lose()
        await ben.send({"message": message + 1})
    assert [event for event in await ben.all_up_to_now() if event.get("left")] == []


async def test_a_client_that_had_moved_and_comes_back_too_late_is_in_its_first_room(
    start: MakeRelay, open_socket: Open, enter: MakeClient, space: str
) -> None:
    relay = await start(reconnect_grace=0.2)
    there = space.removeprefix("/rooms/") + "-there"
    home, ben = await enter(relay, space), await enter(relay, f"/rooms/{there}?presence=1")
    ann = await open_socket(OverWebSocket, relay)
    offset = await moved_to(ann, there)
    await ben.until(lambda event: event.get("joined"))
    ann.lose()
    await ben.until(lambda event: event.get("left"))
    back = await open_socket(OverWebSocket, relay, pid=ann.entered["pid"], offset=offset)
    assert back.entered["sid"] != ann.entered["sid"]  # a new client, as with a server in Node
    assert (await back.event())[1]["room"] == space.removeprefix("/rooms/")
    await home.send({"message": "here"})
    assert (await back.event())[1] == {"message": "here"}
    # The other room has seen no join and no leave.
    assert await ben.all_up_to_now() == []


async def test_a_client_that_moved_back_is_recovered_in_its_first_room(
    couple: tuple[Relay, Relay], open_socket: Open, enter: MakeClient, space: str
) -> None:
    home, there = space.removeprefix("/rooms/"), space.removeprefix("/rooms/") + "-there"
    ben = await enter(couple[1], space)
    ann = await open_socket(OverWebSocket, couple[0])
    await moved_to(ann, there)
    offset = await moved_to(ann, home)
    assert "@" not in offset
    ann.lose()
    await ben.send({"message": 1})
    await ben.all_up_to_now()
    back = await open_socket(OverWebSocket, couple[1], pid=ann.entered["pid"], offset=offset)
    assert back.entered == ann.entered
    assert (await back.event())[1] == {"message": 1}


async def test_joining_the_same_room_again_changes_nothing(
    couple: tuple[Relay, Relay], open_socket: Open, enter: MakeClient, space: str
) -> None:
    """Pages join on every connect, also when the client has recovered."""
    there = space.removeprefix("/rooms/") + "-there"
    ben = await enter(couple[1], f"/rooms/{there}?presence=1")
    ann = await open_socket(OverWebSocket, couple[0])
    await moved_to(ann, there)
    await ben.until(lambda event: event.get("joined"))
    offset = await moved_to(ann, there)
    await ben.send({"message": 1})
    assert (await ann.event())[1] == {"message": 1}
    assert [event for event in await ben.all_up_to_now() if event.get("joined") or event.get("left")] == []
    back = await open_socket(OverWebSocket, couple[0], pid=ann.entered["pid"], offset=offset)
    assert (back.entered, (await back.event())[1]) == (ann.entered, {"message": 1})


@pytest.mark.parametrize("claim", [{"pid": 5}, {"pid": "x"}, {"pid": "a.b.c"}, {"pid": "{}.key.1-1"}, {"pid": "." * 9}])
async def test_a_private_id_that_the_relay_never_issued_is_ignored(
    couple: tuple[Relay, Relay], open_socket: Open, claim: dict[str, Any]
) -> None:
    client = await open_socket(OverWebSocket, couple[0], **claim)
    assert client.entered["pid"] != claim["pid"]


async def test_a_client_that_comes_back_replaces_its_older_connection(
    couple: tuple[Relay, Relay], open_socket: Open, space: str
) -> None:
    ann = await open_socket(OverWebSocket, couple[0])
    back = await open_socket(OverWebSocket, couple[1], pid=ann.entered["pid"])
    assert back.entered == ann.entered
    assert await ann.next() == f"41{space},"  # after a DISCONNECT packet, a client does not come back by itself
    await ann.send("40")  # its connection is open for other namespaces
    assert str(await ann.next()).startswith("40{")


async def test_a_wrong_resume_key_takes_over_no_membership(
    couple: tuple[Relay, Relay], open_socket: Open, space: str
) -> None:
    ann = await open_socket(OverWebSocket, couple[0])
    thief = await OverWebSocket.open(couple[1], space)
    peer, _, place = ann.entered["pid"].split(".")
    await thief.send(f"40{space}," + json.dumps({"pid": f"{peer}.guess.{place}"}))
    received = str(await thief.next())
    assert received.startswith(f"40{space},")
    assert json.loads(received.removeprefix(f"40{space},"))["sid"] != peer
    await ann.emit("message", "still here")
    assert "still here" in str(await thief.next()) + str(await thief.next())
    thief.lose()


async def test_a_dropped_poll_ends_the_session_and_loses_nothing(
    couple: tuple[Relay, Relay], open_socket: Open, enter: MakeClient, space: str
) -> None:
    ann = await open_socket(OverPolling, couple[0])
    ben = await enter(couple[1], space)
    poll = asyncio.create_task(ann.get())
    await eventually(lambda: couple[0].metric("relay_connections"))
    poll.cancel()
    await asyncio.wait([poll])
    await eventually(lambda: _gone(ann))
    await ben.send({"message": "missed"})
    await ben.all_up_to_now()
    back = await open_socket(OverPolling, couple[1], pid=ann.entered["pid"])
    assert (await back.event())[:2] == ["message", {"message": "missed"}]


async def _gone(client: OverPolling) -> bool:
    answer = await client.post("3")
    return answer.status_code == 400 and answer.json()["code"] == 1


@pytest.mark.parametrize("probed", [False, True])
async def test_an_upgrade_that_is_interrupted_leaves_the_session_polling(
    couple: tuple[Relay, Relay], open_socket: Open, enter: MakeClient, probed: bool, space: str
) -> None:
    ann = await open_socket(OverPolling, couple[0])
    ben = await enter(couple[1], space)
    query = ann.url.partition("?")[2].replace("transport=polling", "x=1")
    socket = await _upgrading(couple[0], query)
    if probed:
        await socket.send("2probe")
        assert await socket.recv() == "3probe"
    await ben.send({"message": 1})
    socket.transport.abort()
    assert (await ann.event())[:2] == ["message", {"message": 1}]
    # The next upgrade succeeds, and carries once the events that were not polled.
    await ben.send({"message": 2})
    await ben.all_up_to_now()
    socket = await eventually(lambda: _upgrading(couple[0], query))
    await socket.send("2probe")
    assert await socket.recv() == "3probe"
    await socket.send("5")
    await ben.send({"message": 3})
    # Each event and the event with its offset.
    received = [json.loads(str(await socket.recv()).partition(",")[2]) for _ in range(4)]
    assert [data for name, data in received if name == "message"] == [{"message": 2}, {"message": 3}]
    socket.transport.abort()


async def _upgrading(relay: Relay, query: str) -> Any:
    try:
        return await connect(f"{relay.ws}/socket.io/?{query}&transport=websocket", ping_interval=None, proxy=None)
    except InvalidStatus:
        return None


async def test_a_client_stays_connected_while_redis_restarts(
    start: MakeRelay, own_redis: RedisServer, open_socket: Open, enter: MakeClient, space: str
) -> None:
    relays = [await start(redis_url=own_redis.url) for _ in range(2)]
    ann = await open_socket(OverWebSocket, relays[0])
    ben = await enter(relays[1], space)
    own_redis.kill()
    await ann.send(f'42{space},7["message",1]')
    name, error = (await ann.event())[:2]
    assert name == "error"
    assert error["code"] in {"unavailable", "outcome_unknown"}
    own_redis.start()
    for relay in relays:
        await relay.ready()
    async with asyncio.timeout(10):
        while True:
            await ann.send(f'42{space},8["message",2]')
            received = str(await ann.next())
            if received.startswith(f"43{space},8"):
                break
    assert (await ben.until(lambda event: event.get("args") == [2]))[-1]["event"] == "message"


async def test_clients_of_a_worker_that_stops_come_back_by_themselves(start: MakeRelay, open_socket: Open) -> None:
    relay = await start()
    socket, poller = await open_socket(OverWebSocket, relay), await open_socket(OverPolling, relay)
    waiting = asyncio.create_task(poller.next())
    await eventually(lambda: relay.metric("relay_connections"))
    stopped = asyncio.create_task(relay.terminate())
    # The transport closes without a DISCONNECT packet, so clients come back by themselves.
    assert await closed(socket) == 1001
    assert await waiting == "1"
    assert await stopped == 0


async def test_an_old_client_is_not_held_because_it_cannot_recover(
    start: MakeRelay, enter: MakeClient, space: str
) -> None:
    relay = await start(reconnect_grace=30)
    ben = await enter(relay, space + "?presence=1")
    old = await OverWebSocket.open(relay, query=f"EIO=3&room={space.removeprefix('/rooms/')}")
    assert await old.next() == "40"
    await ben.until(lambda event: event.get("joined"))
    old.lose()
    await ben.until(lambda event: event.get("left"))  # at once: it is not held


# Requests.


async def test_a_session_is_unknown_to_another_worker(couple: tuple[Relay, Relay], open_socket: Open) -> None:
    ann = await open_socket(OverPolling, couple[0])
    for method in ("GET", "POST"):
        async with httpx.AsyncClient() as http:
            answer = await http.request(method, couple[1].http + ann.url)
        assert (answer.status_code, answer.json()) == (400, {"code": 1, "message": "Session ID unknown"})
    with pytest.raises(InvalidStatus):
        await OverWebSocket.open(couple[1], query=ann.url.partition("?")[2].replace("transport=polling", ""))


async def test_pages_may_poll_with_or_without_credentials(start: MakeRelay, open_socket: Open) -> None:
    relay = await start(allowed_origins="https://good.example")
    good, bad = {"Origin": "https://good.example"}, {"Origin": "https://bad.example"}
    answer = await relay.get(HANDSHAKE, headers=good)
    assert answer.headers["access-control-allow-origin"] == "https://good.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"
    refused = await relay.get(HANDSHAKE, headers=bad)
    assert (refused.status_code, refused.json()["code"], refused.json()["message"]) == (403, 4, "Forbidden")
    assert "access-control-allow-origin" not in refused.headers
    async with httpx.AsyncClient() as http:
        asked = good | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-mine"}
        preflight = await http.options(relay.http + "/socket.io/", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-methods"] == "GET, POST"
    assert preflight.headers["access-control-allow-headers"] == "x-mine"


@pytest.mark.parametrize(
    ("query", "code", "body"),
    [
        ("EIO=4&transport=polling&j=0", "jsonp_unsupported", 3),
        ("EIO=4&transport=polling&sid=x", "unknown_session", {"code": 1, "message": "Session ID unknown"}),
        ("EIO=4&transport=websocket", "transport_mismatch", 3),
        ("EIO=4&transport=webtransport", "bad_transport", {"code": 0, "message": "Transport unknown"}),
        ("EIO=5&transport=polling", "bad_version", {"code": 5, "message": "Unsupported protocol version"}),
        ("EIO=4&transport=polling&room=%FF", "bad_query", 3),
        ("EIO=4&transport=polling&" + "&".join(f"q{n}=" for n in range(1100)), "bad_query", 3),
    ],
)
async def test_refused_requests(shared: Relay, query: str, code: str, body: Any) -> None:
    before = await shared.metric("relay_errors_total", code=code)
    answer = await shared.get(f"/socket.io/?{query}")
    assert answer.status_code == 400
    if body == 3:
        assert (answer.json()["code"], answer.json()["message"]) == (3, "Bad request")
        assert answer.json()["error"]["code"] == code
    else:
        assert answer.json() == body
    assert await shared.metric("relay_errors_total", code=code) == before + 1


@pytest.fixture(scope="module")
def shared() -> Any:
    relay = Relay(max_message=1024, message_rate=10, message_delay=0, send_buffer=65_536, rooms_per_connection=3)
    asyncio.run(relay.ready())
    yield relay
    relay.close()


# One client and the others.


@pytest.mark.parametrize("handshake", ["/socket.io/?EIO=3&transport=polling&room={}", "/socket.io/1/?room={}"])
async def test_a_client_that_does_not_poll_loses_no_message_of_others(
    start: MakeRelay, enter: MakeClient, space: str, handshake: str
) -> None:
    relay = await start(send_buffer=20_000, max_message=10_000)
    room = space.removeprefix("/rooms/")
    answer = (await relay.get(handshake.format(room))).text
    if "/1/" in handshake:
        await relay.get(f"/socket.io/1/xhr-polling/{answer.partition(':')[0]}?room={room}")
    else:
        sid = answer.split('"')[3]
        await relay.get(f"/socket.io/?EIO=3&transport=polling&sid={sid}")
    ann, *others = [await enter(relay, space) for _ in range(5)]
    for number in range(60):  # in bursts, which leave in one write for each client
        await ann.send({"n": number, "pad": "x" * 900})
    await ann.all_up_to_now()
    for other in others:
        assert [(await other.next())["n"] for _ in range(60)] == list(range(60))
    await eventually(lambda: relay.metric("relay_closed_connections_total", reason="slow"))


async def test_a_dropped_post_does_not_end_a_session_that_has_upgraded(start: MakeRelay, space: str) -> None:
    relay = await start()
    ann = await OverPolling.open(relay)
    _, posting = await asyncio.open_connection("127.0.0.1", relay.port)
    posting.write(f"POST {ann.url} HTTP/1.1\r\nhost: relay\r\ncontent-length: 10\r\n\r\n40".encode())
    await posting.drain()
    address = relay.ws + ann.url.replace("transport=polling", "transport=websocket")
    async with connect(address, compression=None, proxy=None) as socket:
        await socket.send("2probe")
        assert await socket.recv() == "3probe"
        await socket.send("5")
        posting.transport.abort()
        await socket.send(f"40{space},")
        assert str(await socket.recv()).startswith(f"40{space},")
        assert await relay.metric("relay_connections") == 1
        assert (await relay.get(space)).json()["count"] == 1
        await socket.close()
    await eventually(lambda: _is_empty(relay, space))
    await ann.close()


async def _is_empty(relay: Relay, space: str) -> bool:
    return bool((await relay.get(space)).json()["count"] == 0)


# Limits.


async def test_the_clients_script_is_redirected_to_the_operators_copy(shared: Relay, start: MakeRelay) -> None:
    answer = await shared.get("/socket.io/socket.io.js")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_client_script")
    for place in ("https://cdn.example/socket.io.js?v=4", "/static/socket.io.js"):
        relay = await start(socketio_client_url=place)
        for name in ("socket.io.js", "socket.io.min.js"):
            answer = await relay.get(f"/socket.io/{name}", headers={"Origin": "https://page.example"})
            assert (answer.status_code, answer.headers["location"]) == (302, place)
            assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("path", ["/socket.io", "/socket.io/"])
async def test_the_slash_at_the_end_may_be_left_out(shared: Relay, path: str) -> None:
    assert (await shared.get(f"{path}?EIO=4&transport=polling")).status_code == 200


async def test_a_payload_that_is_too_large_is_refused_and_the_session_goes_on(shared: Relay, open_socket: Open) -> None:
    ann = await open_socket(OverPolling, shared)
    refused = await ann.post("4" * (16 * 1024 + 1))
    assert (refused.status_code, refused.text) == (413, "")
    assert (await ann.ask("message", 1))["id"]


@pytest.mark.parametrize("kind", [OverWebSocket, OverPolling])
async def test_a_message_that_is_too_large_is_answered(shared: Relay, open_socket: Open, kind: type) -> None:
    ann = await open_socket(kind, shared)
    assert (await ann.ask("message", "x" * 1100))["error"]["code"] == "too_large"
    assert (await ann.ask("message", "x"))["id"]


async def test_messages_that_come_too_fast_get_an_error_event_and_no_acknowledgement(
    shared: Relay, open_socket: Open, space: str
) -> None:
    ann = await open_socket(OverWebSocket, shared)
    for number in range(40):
        await ann.send(f'42{space},{number}["message",{number}]')
    received = [str(await ann.next()) for _ in range(40)]
    errors = [text for text in received if '"too_fast"' in text]
    assert errors
    assert all(text.startswith(f'42{space},["error",') for text in errors)
    assert all(text.startswith(f"43{space},") for text in received if text not in errors)


async def test_a_client_that_does_not_poll_is_closed_as_slow(
    start: MakeRelay, open_socket: Open, enter: MakeClient, space: str
) -> None:
    relay = await start(send_buffer=65_536, max_message=4096, message_rate=1000)
    ann = await open_socket(OverPolling, relay)
    ben = await enter(relay, space)
    async with asyncio.timeout(10):
        while not await relay.metric("relay_closed_connections_total", reason="slow"):
            for _ in range(30):
                await ben.ask({"message": "x" * 900})
    assert (await ann.get()).text == "1"


async def test_the_number_of_namespaces_is_limited_and_room_names_are_checked(shared: Relay) -> None:
    ann = await OverWebSocket.open(shared)
    for name in ("/rooms/a", "/rooms/b", "/rooms/c", "/rooms/d"):
        await ann.send(f"40{name},")
    received = [str(await ann.next()) for _ in range(4)]
    assert sorted(text[:2] for text in received) == ["40", "40", "40", "44"]
    await ann.send("41/rooms/a,")
    for name in ("/rooms/%0A", "/rooms/", "/rooms/%FF", "/rooms/" + "x" * 999):
        await ann.send(f"40{name},")
        refused = str(await ann.next())
        head, _, error = refused.partition(",")
        assert (head, json.loads(error)["data"]["code"]) == (f"44{name}", "bad_room")
    ann.lose()


async def test_refused_namespaces_take_no_memory(start: MakeRelay) -> None:
    relay = await start(max_message=1024, message_rate=10_000)

    def megabytes() -> int:
        [line] = re.findall(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{relay.process.pid}/status").read_text())
        return int(line) // 1024

    ann = await OverWebSocket.open(relay, max_size=None)
    before = megabytes()
    for number in range(300):
        await ann.send(f"40/{number}{'x' * 15_000},")
        assert str(await ann.next()).startswith(f"44/{number}x")
    assert megabytes() - before < 8
    ann.lose()


async def test_a_flood_of_connect_packets_is_read_no_faster_than_messages(shared: Relay) -> None:
    ann = await OverWebSocket.open(shared)
    before = await shared.metric("relay_delayed_reads_total", protocol="socketio")
    for number in range(300):
        await ann.send(f"40/{number},")
    answers = [str(await ann.next()) for _ in range(30)]
    assert all(answer.startswith("44/") for answer in answers)

    async def delayed() -> bool:
        return await shared.metric("relay_delayed_reads_total", protocol="socketio") > before

    await eventually(delayed)
    ann.lose()


async def test_entering_a_namespace_counts_against_the_message_rate(shared: Relay) -> None:
    ann = await OverWebSocket.open(shared)
    for _ in range(60):
        await ann.send("40/rooms/a,")
        await ann.send("41/rooms/a,")
    async with asyncio.timeout(10):
        while '"too_fast"' not in str(await ann.next()):
            pass
    ann.lose()


async def test_polling_and_websockets_on_another_asgi_server(start: MakeRelay, open_socket: Open, space: str) -> None:
    relay = await start(server="other")
    ann, ben = await open_socket(OverWebSocket, relay), await open_socket(OverPolling, relay)
    await ann.send(f'451-{space},["blob",{{"_placeholder":true,"num":0}}]')
    await ann.send(b"\1\2\3")
    assert str(await ben.next()).startswith(f"451-{space},")
    assert await ben.next() == "bAQID"
    socket = await _upgrading(relay, ben.url.partition("?")[2].replace("transport=polling", "x=1"))
    await socket.send("2probe")
    assert await socket.recv() == "3probe"
    await socket.send("5")
    await ann.send(f'451-{space},["blob",{{"_placeholder":true,"num":0}}]')
    await ann.send(b"\4")
    assert str(await socket.recv()).startswith(f"451-{space},")
    assert await socket.recv() == b"\4"
    socket.transport.abort()


@pytest.mark.parametrize("limit", [{"connections_per_address": 1}, {"max_connections": 1}])
async def test_an_upgrade_counts_no_second_connection(
    start: MakeRelay, open_socket: Open, limit: dict[str, int]
) -> None:
    relay = await start(**limit)
    ann = await open_socket(OverPolling, relay)
    socket = await _upgrading(relay, ann.url.partition("?")[2].replace("transport=polling", "x=1"))
    await socket.send("2probe")
    assert await socket.recv() == "3probe"
    await socket.send("5")
    await socket.send(f'42{ann.prefix}7["presence","nobody"]')  # its answer comes once the upgrade is done
    assert "presence" in str(await socket.recv())
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{relay.ws}/", proxy=None)
    assert refused.value.response.status_code in {429, 503}
    socket.transport.abort()
    # The session has ended: its one ticket was released.
    async with await eventually(lambda: _connected(relay)) as next_one:
        assert json.loads(await next_one.recv())["type"] == "welcome"


async def _connected(relay: Relay) -> Any:
    try:
        return await connect(f"{relay.ws}/", proxy=None)
    except InvalidStatus:
        return None


async def test_only_allowed_events_are_relayed(start: MakeRelay, open_socket: Open) -> None:
    ann = await open_socket(OverWebSocket, await start(socketio_events="message, offer"))
    assert (await ann.ask("offer", 1))["id"]
    assert (await ann.ask("other", 1))["error"]["code"] == "event_not_allowed"
    await ann.emit("presence", "x")
    assert await ann.event() == ["presence", False]


async def test_an_old_client_that_stops_pinging_is_closed(start: MakeRelay) -> None:
    relay = await start(ping_interval=0.2, ping_timeout=0.1)
    old = await OverWebSocket.open(relay, query="EIO=3")
    assert await old.raw() == "40"
    for _ in range(4):
        await asyncio.sleep(0.15)
        await old.send("2")
        assert await old.raw() == "3"
    assert await closed(old) == 4001


async def test_a_ping_of_a_new_client_is_a_bad_packet(shared: Relay) -> None:
    ann = await OverWebSocket.open(shared)
    await ann.send("2")
    assert await closed(ann) == 4503


async def test_a_client_that_cannot_read_binary_frames_gets_base64(
    shared: Relay, open_socket: Open, space: str
) -> None:
    ann = await OverWebSocket.open(shared, space, query="EIO=4&b64=1")
    await ann.enter()
    ben = await open_socket(OverWebSocket, shared)
    await ben.send(f'451-{space},["blob",{{"_placeholder":true,"num":0}}]')
    await ben.send(b"\1\2\3")
    assert str(await ann.next()).startswith(f"451-{space},")
    assert await ann.next() == "bAQID"
    ann.lose()


@pytest.mark.parametrize("version", [3, 2])
@pytest.mark.parametrize("binary", [True, False])
async def test_an_old_client_that_polls_gets_the_payloads_that_it_reads(
    shared: Relay, open_socket: Open, space: str, version: int, binary: bool
) -> None:
    room = space.removeprefix("/rooms/")
    url = f"/socket.io/?EIO={version}&transport=polling&room={room}" + ("" if binary else "&b64=1")
    received: list[EnginePacket] = []
    async with httpx.AsyncClient(base_url=shared.http) as http:

        async def poll() -> None:
            answer = await http.get(url)
            kind = "application/octet-stream" if binary else "text/plain; charset=UTF-8"
            assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
            received.extend(FRAMINGS[3].read_payload(answer.content, binary=binary))

        await poll()
        url += "&sid=" + json.loads(received[0].data)["sid"]
        while received[-1] != EnginePacket(MESSAGE, b"0"):
            await poll()
        ben = await open_socket(OverWebSocket, shared)
        await ben.send(f'451-{space},["blob",{{"_placeholder":true,"num":0}},"\u2603"]')
        await ben.send(b"\1\2\xff")
        while not received[-1].binary:
            await poll()
        assert received[-2:] == [
            EnginePacket(MESSAGE, rb'51-["blob",{"_placeholder":true,"num":0},"\u2603"]'),
            EnginePacket(MESSAGE, b"\1\2\xff", binary=True),
        ]
        assert (await http.post(url, content="nonsense")).status_code == 400
        await poll()
    assert received[-1] == EnginePacket(CLOSE, b"")


# Version 0.9.


async def test_a_websocket_of_version_0_9_goes_to_any_worker(couple: tuple[Relay, Relay]) -> None:
    handshake = await couple[0].get("/socket.io/1/?t=1&room=legacy")
    sid, heartbeat, close, transports = handshake.text.split(":")
    assert (heartbeat, close, transports) == ("45", "45", "websocket,xhr-polling")
    async with connect(f"{couple[1].ws}/socket.io/1/websocket/{sid}?room=legacy", proxy=None) as socket:
        assert await socket.recv() == "1::"
        await socket.send('5:1+::{"name":"message","args":["x"]}')
        assert str(await socket.recv()).startswith('6:::1+[{"id":')
        await socket.send("3:::as text")
        await socket.send("9:::")
        with pytest.raises(ConnectionClosed) as end:
            await socket.recv()
        assert end.value.rcvd is not None
        assert end.value.rcvd.code == 4503


async def test_a_polling_session_of_version_0_9_is_on_the_worker_of_its_handshake(couple: tuple[Relay, Relay]) -> None:
    sid = (await couple[0].get("/socket.io/1/")).text.partition(":")[0]
    path = f"/socket.io/1/xhr-polling/{sid}"
    elsewhere = await couple[1].get(path)
    assert (elsewhere.status_code, elsewhere.text) == (200, "7:::1+0")  # "not handshaken", on which clients begin anew
    assert (await couple[0].get(path)).text == "1::"
    async with httpx.AsyncClient(base_url=couple[0].http) as http:
        assert (await http.post(path, content='5:1+::{"name":"a","args":[]}')).text == "1"
        assert (await http.get(path)).text.startswith("6:::1+[")
        assert (await http.post(path, content="nonsense")).status_code == 400
        assert (await http.get(path)).text == "0::"
        assert (await http.get(path)).text == "7:::1+0"


async def test_a_client_of_version_0_9_that_disconnects_leaves_at_once(
    couple: tuple[Relay, Relay], enter: MakeClient
) -> None:
    ben = await enter(couple[1], "/rooms/legacy-leave?presence=1")
    sid = (await couple[0].get("/socket.io/1/")).text.partition(":")[0]
    assert (await couple[0].get(f"/socket.io/1/xhr-polling/{sid}?room=legacy-leave")).text == "1::"
    await ben.until(lambda event: event.get("joined"))
    assert (await couple[0].get(f"/socket.io/1//{sid}/?disconnect=1")).status_code == 200
    await ben.until(lambda event: event.get("left"))


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/socket.io/1/?jsonp=0", 400, "jsonp_unsupported"),
        ("/socket.io/1/flashsocket/" + "x" * 22, 400, "bad_transport"),
        ("/socket.io/1/websocket/" + "x" * 22, 400, "bad_transport"),
        ("/socket.io/1/xhr-polling/short", 400, "bad_transport"),
        ("/socket.io/2/", 404, "not_found"),
    ],
)
async def test_refused_requests_of_version_0_9(shared: Relay, path: str, status: int, code: str) -> None:
    before = await shared.metric("relay_errors_total", code=code)
    assert (await shared.get(path)).status_code == status
    assert await shared.metric("relay_errors_total", code=code) == before + 1
