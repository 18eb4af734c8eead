"""Clients that do not read, and sessions that do not poll: they cost their worker little, and other clients nothing."""

import asyncio
import json

from tests.abuse.target import ATTACKER, frame, target
from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import eventually
from tests.integration.socketio import OverPolling

MEGABYTE = "x" * 1_000_000
MEMBERS = 30


async def test_clients_that_do_not_read_are_closed_by_the_bytes_of_their_address(
    fleet_of: MakeFleet, enter: MakeClient
) -> None:
    # One client may have more than the address, so that only the bound of the address closes it.
    first, second = await fleet_of(2, address_buffer=1_048_576, send_buffer=2**25, byte_rate=2**25)
    sender = await enter(first, "/rooms/unread?peer=sender")
    ann, ben = await enter(second, "/rooms/quiet"), await enter(second, "/rooms/quiet")

    async def drops() -> float:
        return await second.metric("relay_dropped_buffers_total", scope="address")

    async with target("127.0.0.1", second.port) as unread:
        for number in range(2):
            await unread.websocket(f"/rooms/unread?peer=p{number}")
        for count in range(20):
            # Each message is for one of them, so that they share none of it.
            await sender.send({"to": f"p{count % 2}", "message": MEGABYTE})
            await ann.send({"n": count})
            assert (await ben.next())["n"] == count
        await eventually(drops)
        assert await second.metric("relay_closed_connections_total", reason="slow") >= 1
        assert f"clients of {ATTACKER}" in second.logged
    await ann.send({"n": "last"})
    assert (await ben.next())["n"] == "last"


async def test_a_large_room_behind_one_address_gets_large_messages(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(address_buffer=2_097_152, worker_buffer=4_194_304)
    sender = await enter(relay, "/rooms/school?peer=sender")
    members = [await enter(relay, "/rooms/school") for _ in range(MEMBERS)]
    for _ in range(2):
        await sender.send({"message": MEGABYTE})
        for member in members:
            assert len((await member.next())["message"]) == len(MEGABYTE)
    assert await relay.metric("relay_dropped_buffers_total") == 0

    async def read() -> bool:
        return await relay.metric("relay_buffered_bytes") == 0

    await eventually(read)


async def test_a_session_that_polls_becomes_a_member_with_its_first_poll(start: MakeRelay) -> None:
    relay = await start()
    old = OverPolling(relay)
    old.url = "/socket.io/?EIO=3&transport=polling&b64=1"
    opened = (await old.get()).text
    old.url += "&sid=" + json.loads(opened[opened.index("{") : opened.index("}") + 1])["sid"]
    modern = await OverPolling.open(relay)
    await modern.send("40")
    assert await relay.metric("relay_sessions", protocol="socketio") == 0
    assert await relay.metric("relay_members") == 0
    assert "40" in (await old.get()).text
    await modern.next()
    assert await relay.metric("relay_members") == 2
    await old.close()
    await modern.close()


async def test_a_session_that_never_polls_ends_with_the_handshake_timeout(start: MakeRelay) -> None:
    relay = await start(handshake_timeout=0.3)
    client = await OverPolling.open(relay)
    assert await relay.metric("relay_connections", protocol="socketio") == 1

    async def gone() -> bool:
        return await relay.metric("relay_connections", protocol="socketio") == 0

    await eventually(gone)
    await client.close()


async def test_acknowledgements_that_no_client_waits_for_are_read_no_faster_than_messages(start: MakeRelay) -> None:
    relay = await start(message_rate=20)

    async def delayed() -> float:
        return await relay.metric("relay_delayed_reads_total", protocol="socketio")

    async with target("127.0.0.1", relay.port) as one:
        _, writer = await one.websocket("/socket.io/?EIO=4&transport=websocket")
        await one.write(writer, frame("40"))
        writer.write(frame("43[]") * 2_000_000)
        await eventually(delayed)
        await asyncio.sleep(0.1)
        assert writer.transport.get_write_buffer_size() > 0, "TCP holds the client back"
        assert await relay.metric("relay_closed_connections_total") == 0
