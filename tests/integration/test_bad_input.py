"""Wrong input from clients: each case gets its answer, and affects no other client."""

import asyncio
import contextlib
import json
import socket
import time

import httpx2 as httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import Client, Relay, eventually

SMALL = {
    "max_message": 1024,
    "message_rate": 10_000,
    "rooms_per_connection": 2,
    "channels_per_room": 3,
}


def nested(levels: int) -> str:
    """An envelope with so many levels of nesting."""
    return '{"a":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"


@pytest.fixture
async def relay(fleet_of: MakeFleet) -> Relay:
    [relay] = await fleet_of(1, **SMALL)
    return relay


@pytest.fixture
async def big(fleet_of: MakeFleet) -> Relay:
    [relay] = await fleet_of(1)
    return relay


async def unharmed(sender: Client, neighbour: Client) -> None:
    """Both clients still work, and the neighbour got no refused message."""
    await sender.send({"still": "here"})
    assert (await neighbour.next())["still"] == "here"


@pytest.mark.parametrize(
    ("frame", "code", "about"),
    [
        ("", "bad_json", "envelope"),
        ("hello", "bad_json", "envelope"),
        ('{"a":1', "bad_json", "envelope"),
        ('{"a":NaN}', "bad_json", "envelope"),
        ('{"a":-Infinity}', "bad_json", "envelope"),
        ("[1]", "bad_envelope", "envelope"),
        ("null", "bad_envelope", "envelope"),
        ('{"to":{}}', "bad_envelope", "envelope"),
        ('{"to":[]}', "bad_envelope", "envelope"),
        ('{"channel":"' + "é" * 1025 + '"}', "bad_envelope", "envelope"),
        ('{"key":5}', "bad_envelope", "envelope"),
        ('{"to":"\\u001b[31mred"}', "bad_peer", "envelope"),
        ('{"to":"%6eobody"}', "bad_peer", "envelope"),
        ('{"to":"a%20b"}', "no_such_peer", "envelope"),
        ('{"to":"nobody"}', "no_such_peer", "envelope"),
        ('{"from":"somebody"}', "reserved_field", "envelope"),
        ('{"fr\\u006fm":"somebody"}', "reserved_field", "envelope"),
        ('{"id":"1-1"}', "reserved_field", "envelope"),
        ('{"room":"r"}', "reserved_field", "envelope"),
        ('{"from":1,"from":2}', "reserved_field", "envelope"),
        ('{"type":"dance"}', "unknown_command", None),
        ('{"type":7}', "unknown_command", None),
        ('{"type":"welcome"}', "unknown_command", None),
        ('{"type":"join"}', "bad_room", "join"),
        ('{"type":"join","room":"a/b"}', "bad_room", "join"),
        ('{"type":"join","room":"{a}"}', "bad_room", "join"),
        ('{"type":"join","room":"a%2fb"}', "bad_room", "join"),
        ('{"type":"join","room":"health"}', "bad_room", "join"),
        ('{"type":"join","room":"\\u001b]0;x\\u0007"}', "bad_room", "join"),
        ('{"type":"join","room":5}', "bad_command", "join"),
        ('{"type":"join","room":"r","since":"yesterday"}', "bad_command", "join"),
        ('{"type":"leave","room":"elsewhere"}', "not_joined", "leave"),
        ('{"type":"publish","room":"elsewhere","envelope":{}}', "not_joined", "envelope"),
        ('{"type":"publish","envelope":{"type":"welcome"}}', "reserved_field", "envelope"),
        ('{"type":"publish","envelope":[]}', "bad_envelope", "envelope"),
        ('{"type":"publish"}', "bad_command", "publish"),
        ('{"type":"subscribe","room":"elsewhere","channels":["a"]}', "not_joined", "subscribe"),
        ('{"type":"subscribe","channels":["a","b","c","d"]}', "too_many_channels", "subscribe"),
        ('{"type":"subscribe","channels":[[1]]}', "bad_command", "subscribe"),
        ('{"type":"ping","room":"elsewhere"}', "not_joined", "ping"),
        (b"\x00\x01", "binary_frame", None),
        (b"{}", "binary_frame", None),
        ('{"a":"' + "x" * 2000 + '"}', "too_large", "envelope"),
    ],
)
async def test_a_bad_frame_is_answered(relay: Relay, enter: MakeClient, frame, code: str, about: str | None) -> None:
    sender, neighbour = await enter(relay), await enter(relay)
    await sender.send(frame)
    error = await sender.next()
    assert (error["type"], error["code"], error.get("about")) == ("error", code, about)
    assert "Traceback" not in error["text"]
    await unharmed(sender, neighbour)
    assert await relay.metric("relay_errors_total", code=code) >= 1


@pytest.mark.parametrize("levels", [257, 5000, 15_000])
async def test_nesting_beyond_the_bound_is_refused_on_every_way_in(big: Relay, enter: MakeClient, levels: int) -> None:
    sender, neighbour = await enter(big), await enter(big)
    for text in (nested(levels), f'{{"type":"publish","envelope":{nested(levels)}}}'):
        await sender.send(text)
        assert (await sender.next())["code"] == "bad_json"
    headers = {"Content-Type": "application/json", **big.authorised}
    async with httpx.AsyncClient(base_url=big.http, headers=headers) as http:
        answer = await http.post("/rooms/room", content=nested(levels))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_json")
    await unharmed(sender, neighbour)


async def test_nesting_up_to_the_bound_is_relayed(big: Relay, enter: MakeClient) -> None:
    sender, neighbour = await enter(big), await enter(big)
    for text in (nested(256), f'{{"type":"publish","envelope":{nested(256)}}}'):
        await sender.send(text)
        assert (await neighbour.raw()).startswith(nested(256)[:-1])


async def test_a_key_that_stands_twice_counts_as_the_last(relay: Relay, enter: MakeClient) -> None:
    sender, a, b = [await enter(relay, f"/rooms/room?peer={name}") for name in ("s", "a", "b")]
    await sender.send('{"to":"a","to":"b","n":1}')
    assert await b.raw() == '{"to":"a","to":"b","n":1,"from":"s","id":"%s"}' % (await b_id(sender))
    await unharmed(sender, a)


async def b_id(sender: Client) -> str:
    return str((await sender.ask({"type": "ping"}))["id"])


async def test_text_that_is_not_utf8_ends_the_connection_with_1007(relay: Relay, enter: MakeClient) -> None:
    sender, neighbour, other = await enter(relay), await enter(relay), await enter(relay)
    data = Frame(Opcode.TEXT, b'{"a":"\xff\xfe"}').serialize(mask=True)
    sender.socket.transport.write(data)
    assert await sender.closed() == 1007
    assert await relay.metric("relay_closed_connections_total", reason="not_utf8") == 1
    await unharmed(other, neighbour)


async def test_a_frame_beyond_sixteen_limits_ends_the_connection_with_1009(relay: Relay, enter: MakeClient) -> None:
    sender, neighbour, other = await enter(relay), await enter(relay), await enter(relay)
    await sender.send("x" * (16 * 1024 + 1))
    assert await sender.closed() == 1009
    assert await relay.metric("relay_closed_connections_total", reason="too_large") == 1
    await unharmed(other, neighbour)


@pytest.mark.parametrize(
    "name",
    ["", "..", ".", "%2e%2e", "a%0Ab", "%0A", "a%00", "%1B[2J", "%FF", "%ED%A0%80", "%EF%BF%BD", "%", "%zz", "x" * 256],
)
async def test_a_bad_room_name_is_answered_then_closed(relay: Relay, enter: MakeClient, name: str) -> None:
    client = await enter(relay, f"/rooms/{name}")
    assert (client.welcome["code"], client.welcome["about"]) == ("bad_room", "join")
    assert await client.closed() == 4502
    assert (await relay.get("/health")).json()["rooms"] == 0


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("peer=%1B[2J", "bad_peer"),
        ("peer=%EF%BF%BD", "bad_peer"),
        ("peer=%FF", "bad_query"),
        ("peer=" + "p" * 256, "bad_peer"),
        ("peer=%24server", "bad_peer"),
        ("peer=$server", "bad_peer"),
        ("since=now", "bad_query"),
        ("echo=maybe", "bad_query"),
        ("presence=2", "bad_query"),
        ("channel=" + "c" * 2049, "bad_query"),
        ("channel=a&channel=b&channel=c&channel=d", "too_many_channels"),
    ],
)
async def test_a_bad_query_is_answered_then_closed(relay: Relay, enter: MakeClient, query: str, code: str) -> None:
    client = await enter(relay, f"/rooms/room?{query}")
    assert client.welcome["code"] == code
    assert await client.closed() == 4502


async def test_there_is_nothing_elsewhere(relay: Relay, enter: MakeClient) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await enter(relay, "/elsewhere")
    assert refused.value.response.status_code in {403, 404}


async def test_a_command_before_the_welcome_is_answered_after_it(relay: Relay) -> None:
    client = await Client.open(relay.ws + "/rooms/room", welcome=False)
    await client.send({"type": "ping"})
    assert [(await client.next())["type"] for _ in range(2)] == ["welcome", "pong"]
    client.lose()


async def test_too_many_rooms(relay: Relay, enter: MakeClient) -> None:
    client, neighbour = await enter(relay), await enter(relay)
    assert (await client.ask({"type": "join", "room": "two"}))["type"] == "welcome"
    assert (await client.ask({"type": "join", "room": "three"}))["code"] == "too_many_rooms"
    await unharmed(client, neighbour)


async def test_too_many_members(start: MakeRelay, enter: MakeClient, redis_url, prefix) -> None:
    relay = await start(redis_url=redis_url, redis_prefix=prefix, members_per_room=2)
    members = [await enter(relay), await enter(relay)]
    late = await enter(relay)
    assert late.welcome["code"] == "room_full"
    assert await late.closed() == 4004
    await unharmed(*members)


async def refused(relay: Relay) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as error:
        await Client.open(relay.ws + "/rooms/room")
    response = error.value.response
    return response.status_code, json.loads(response.body)["error"]["code"]


async def test_too_many_connections(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(max_connections=2)
    members = [await enter(relay), await enter(relay)]
    assert await refused(relay) == (503, "worker_full")
    await unharmed(*members)
    await members[0].close()
    await eventually(lambda: _entered(relay))


async def test_too_many_connections_from_one_address(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(connections_per_address=2)
    members = [await enter(relay), await enter(relay)]
    assert await refused(relay) == (429, "too_many_connections")
    await unharmed(*members)
    await members[0].close()
    await eventually(lambda: _entered(relay))


async def _entered(relay: Relay) -> bool:
    try:
        (await Client.open(relay.ws + "/rooms/room")).lose()
    except InvalidStatus:
        return False
    return True


async def test_too_many_handshakes_from_one_address(start: MakeRelay) -> None:
    relay = await start(handshake_rate=3)
    for _ in range(3):
        (await Client.open(relay.ws + "/rooms/room")).lose()
    assert await refused(relay) == (429, "too_many_handshakes")
    assert await relay.metric("relay_errors_total", code="too_many_handshakes") == 1


async def test_forwarded_addresses_are_believed_only_from_proxies(start: MakeRelay, enter: MakeClient) -> None:
    forwarded = {"additional_headers": {"X-Forwarded-For": "203.0.113.9"}}
    strict = await start(connections_per_address=1)
    await enter(strict)
    with pytest.raises(InvalidStatus):
        await enter(strict, **forwarded)
    trusting = await start(connections_per_address=1, trusted_proxies="127.0.0.0/8")
    await enter(trusting)
    await enter(trusting, **forwarded)
    with pytest.raises(InvalidStatus):
        await enter(trusting, **forwarded)


@pytest.mark.parametrize(
    "spellings",
    [
        ["203.0.113.9", "203.0.113.009", "::ffff:cb00:7109", "3405803785", "0xcb.0.0x71.9", "[::ffff:203.0.113.9]:80"],
        ["2001:db8:0:1::7", "2001:DB8:0:1::8", "[2001:db8:0:1:ffff::9]:443", "198.51.100.1, 2001:db8:0:1::a"],
        ["203.0.113.9", "64:ff9b::cb00:7109", "2002:cb00:7109:1::1", "2002:cb00:7109:2::1"],
    ],
    ids=["IPv4", "a network of IPv6", "IPv4 behind IPv6"],
)
async def test_an_address_is_counted_once_in_all_its_spellings(
    spellings: list[str], start: MakeRelay, enter: MakeClient
) -> None:
    relay = await start(connections_per_address=1, trusted_proxies="127.0.0.0/8")
    await enter(relay, additional_headers={"X-Forwarded-For": spellings[0]})
    for spelling in spellings:
        with pytest.raises(InvalidStatus) as refusal:
            await enter(relay, additional_headers={"X-Forwarded-For": spelling})
        assert refusal.value.response.status_code == 429
    await enter(relay, additional_headers={"X-Forwarded-For": "203.0.113.10"})


async def test_too_fast_is_an_error_for_each_message_and_then_ends_the_connection(
    start: MakeRelay, enter: MakeClient
) -> None:
    relay = await start(message_rate=0.1, message_delay=0)
    hasty, neighbour = await enter(relay), await enter(relay)
    for number in range(13):
        await hasty.send({"key": f"k{number}"})
    answers = {}
    while len(answers) < 13:
        event = await hasty.next()
        answers[event["key"]] = event.get("code", "ack")
    assert answers == {f"k{n}": "ack" if n < 10 else "too_fast" for n in range(13)}
    assert len([await neighbour.next() for _ in range(10)]) == 10
    with contextlib.suppress(OSError):
        for _ in range(200):
            await hasty.send({"n": 1})
    assert await hasty.closed() == 4002


async def test_a_slow_reader_is_closed_and_no_member_waits_for_it(
    start: MakeRelay, enter: MakeClient, redis_url, prefix
) -> None:
    quick = {"message_rate": 100_000, "byte_rate": 10**9, "max_message": 65_536}
    relay = await start(redis_url=redis_url, redis_prefix=prefix, send_buffer=200_000, **quick)
    slow, reader, sender = await enter(relay, "/rooms/room?peer=slow"), await enter(relay), await enter(relay)
    slow.socket.transport.pause_reading()
    slowest = 0.0
    text = "x" * 30_000

    async def cut_off() -> bool:
        return await relay.metric("relay_closed_connections_total", reason="slow") == 1

    for number in range(2000):
        began = time.monotonic()
        await sender.send({"n": number, "text": text})
        assert (await reader.next())["n"] == number
        slowest = max(slowest, time.monotonic() - began)
        if number % 50 == 49 and await cut_off():
            break
    assert await cut_off()
    assert slowest < 1.0
    await eventually(lambda: _connections(relay, 2))
    slow.socket.transport.resume_reading()
    assert await slow.closed() in {4000, 1006}


async def _connections(relay: Relay, count: int) -> bool:
    return await relay.metric("relay_connections") == count


async def test_half_a_handshake_is_dropped_in_time(start: MakeRelay) -> None:
    relay = await start(handshake_timeout=0.5)
    for start_of_request in (b"", b"GET /rooms/room HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"):
        with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as sock:
            sock.sendall(start_of_request)
            # The socket has a timeout of its own.
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(sock.recv, 100) == b""
    assert await relay.metric("relay_closed_connections_total", reason="request_timeout") == 2


async def test_half_an_upgrade_is_answered(relay: Relay) -> None:
    request = b"GET /rooms/room HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as sock:
        sock.sendall(request)
        status = int((await asyncio.to_thread(sock.recv, 4000)).split(b" ")[1])
    assert 400 <= status < 500


async def test_a_client_that_never_pongs_is_closed_with_4001(start: MakeRelay) -> None:
    relay = await start(ping_interval=0.2, ping_timeout=0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(
        b"GET /rooms/room HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with asyncio.timeout(10):
        heard = await reader.read(-1)
    assert await relay.metric("relay_closed_connections_total", reason="pong_timeout") == 1
    assert b"\x88" + bytes([2 + len("pong_timeout")]) + (4001).to_bytes(2, "big") + b"pong_timeout" in heard
    writer.close()


async def test_nothing_from_a_client_reaches_the_log(start: MakeRelay, redis_url, prefix) -> None:
    relay = await start(redis_url=redis_url, redis_prefix=prefix, log_level="debug")
    for path in ("/rooms/%1B[31mred", "/rooms/room?peer=%1B[31mred", "/%1B[31mred", "/rooms/room?x=%0Aforged"):
        with contextlib.suppress(InvalidStatus, ConnectionClosed):
            client = await Client.open(relay.ws + path)
            await client.send('{"to":"\\u001b[31mred"}')
            await client.send('{"type":"\\u001b[31mred"}')
            await client.all_up_to_now()
            client.lose()
    for word in ("\x1b", "31mred", "forged"):
        assert word not in relay.logged


@pytest.mark.parametrize("frame", ["not JSON", b"binary", "{" + " " * 2000 + "}"])
async def test_envelopes_that_cannot_be_relayed_have_the_same_rate(
    start: MakeRelay, enter: MakeClient, frame: str | bytes
) -> None:
    relay = await start(message_rate=0.1, message_delay=0, max_message=1000)
    hasty = await enter(relay)
    with contextlib.suppress(OSError):
        for _ in range(200):
            await hasty.send(frame)
    assert await hasty.closed() == 4002


async def test_a_subscription_names_its_channels(start: MakeRelay, enter: MakeClient) -> None:
    client = await enter(await start())
    for command in ({"type": "subscribe"}, {"type": "subscribe", "channels": []}):
        assert (await client.ask(command))["code"] == "bad_command"


async def test_a_client_that_floods_with_control_frames_delays_no_other_client(
    start: MakeRelay, enter: MakeClient
) -> None:
    relay = await start()
    ann, ben = await enter(relay), await enter(relay)
    flooding = (await enter(relay)).socket.transport
    flooding.write(b"\x89\x80\0\0\0\0" * 2_000_000)
    for number in range(20):
        await ann.send({"n": number})
        assert (await ben.next())["n"] == number
    # Two million pings take a worker some twenty seconds; it has read a part of them by now.
    assert flooding.get_write_buffer_size() > 0
