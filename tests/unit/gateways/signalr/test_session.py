"""Sessions of hub clients over a WebSocket: handshake, goodbye, broken messages, pings."""

import asyncio
from typing import Any

import pytest

from relay.gateways.signalr.places import COOKIE
from relay.model.errors import GOING_AWAY
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.signalr.site import (
    HANDSHAKE,
    PACKED_HANDSHAKE,
    SignalRSite,
    records,
    say,
    sent,
    site,
    until_sent,
)
from tests.unit.gateways.signalr.test_gateway import opened
from tests.unit.gateways.signalr.test_messages import MALFORMED_JSON, MALFORMED_PACKED

KEPT = [(b"cookie", f"{COOKIE}={'A' * 22}".encode())]


def closed(client: Any) -> bool:
    return any(one["type"] == "websocket.close" for one in client.sent)


async def test_a_client_without_a_handshake_is_closed() -> None:
    async with site(handshake_timeout=0.05) as one:
        client = one.socket()
        task = one.run(client)
        await until(lambda: closed(client))
        assert records(sent(client)) == [{"error": "bad_packet: the handshake did not come in time"}]
        client.leave()
        await task
        assert len(one.state) == 0


async def test_a_client_that_goes_before_its_handshake_leaves_nothing() -> None:
    async with site() as one:
        client = one.socket()
        task = one.run(client)
        await until(lambda: len(one.state) == 1)
        client.leave()
        async with asyncio.timeout(5):
            await task
        assert len(one.state) == 0


@pytest.mark.parametrize(
    ("handshake", "code"),
    [(b"nonsense\x1e", "bad_packet"), (b'{"protocol":"other","version":1}\x1e', "bad_protocol")],
)
async def test_a_handshake_that_is_refused(handshake: bytes, code: str) -> None:
    async with site() as one:
        client = one.socket()
        task = one.run(client)
        say(client, handshake)
        await until(lambda: closed(client))
        [answer] = records(sent(client))
        assert answer["error"].startswith(f"{code}: ")
        client.leave()
        await task


async def test_a_client_that_may_not_enter_is_told_in_the_answer_to_its_handshake() -> None:
    async with site() as one:
        client, task = await opened(one, "peer=ann")
        other = one.socket("peer=ann")
        second = one.run(other)
        say(other, HANDSHAKE)
        await until(lambda: closed(other))
        [answer] = records(sent(other))
        assert answer["error"].startswith("peer_taken: ")
        for each in (client, other):
            each.leave()
        await asyncio.gather(task, second)


async def test_a_goodbye_counts_at_once_and_a_close_without_one_does_not() -> None:
    async with site(reconnect_grace=60) as one:
        for query, goodbye, members in (("peer=ann", True, {}), ("peer=ben", False, {"ben": True})):
            client = one.socket(query, headers=KEPT)
            task = one.run(client)
            say(client, HANDSHAKE)
            await until_sent(client, b"{}\x1e")
            if goodbye:
                say(client, b'{"type":7}\x1e{"type":1,"target":"Send","arguments":[1],"invocationId":"0"}\x1e')
                await until_members(one.worker, "room", {})
            client.leave(1005)
            await task
            await until_members(one.worker, "room", members)
            assert b"invocationId" not in sent(client)


async def test_a_client_that_says_goodbye_and_stays_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.gateways.signalr.session._CLOSE_AFTER", 0.01)
    async with site() as one:
        client, task = await opened(one)
        say(client, b'{"type":7}\x1e')
        await until(lambda: closed(client))
        client.leave()
        await task


async def break_it(one: SignalRSite, handshake: bytes, data: bytes) -> list[Any]:
    client = one.socket("peer=breaker")
    task = one.run(client)
    say(client, handshake)
    await until_sent(client, b"{}\x1e")
    client.from_client.put_nowait({"type": "websocket.receive", "text": None, "bytes": data})
    await until(lambda: closed(client))
    client.leave()
    await task
    await until_members(one.worker, "room", {"bystander": False})
    return client.sent


async def test_every_malformed_message_ends_its_own_connection_and_no_other() -> None:
    """Of each class in JSON and in MessagePack."""
    async with site(handshake_rate=1000) as one:
        bystander, task = await opened(one, "peer=bystander&presence=0")
        for data in MALFORMED_JSON.values():
            pieces = await break_it(one, HANDSHAKE, data)
            assert any('"type":7,"error":"bad_packet: ' in (piece.get("text") or "") for piece in pieces)
        for data in MALFORMED_PACKED.values():
            pieces = await break_it(one, PACKED_HANDSHAKE, data)
            assert any(b"bad_packet: " in (piece.get("bytes") or b"") for piece in pieces)
        say(bystander, b'{"type":1,"target":"Presence","arguments":[],"invocationId":"0"}\x1e')
        await until_sent(bystander, b'"invocationId":"0"')
        assert records(sent(bystander))[0] == {}
        assert len(records(sent(bystander))) == 2
        bystander.leave()
        await task


async def test_streams_are_refused_and_their_items_ignored() -> None:
    async with site() as one:
        client, task = await opened(one)
        say(
            client,
            b'{"type":4,"target":"Count","arguments":[],"invocationId":"0"}\x1e'
            b'{"type":1,"target":"Send","arguments":[],"invocationId":"1","streamIds":["2"]}\x1e'
            b'{"type":2,"invocationId":"2","item":1}\x1e{"type":3,"invocationId":"2"}\x1e{"type":5,"invocationId":"0"}\x1e'
            b'{"type":8,"sequenceId":1}\x1e{"type":99}\x1e'
            b'{"type":1,"target":"Presence","arguments":[],"invocationId":"3"}\x1e',
        )
        await until_sent(client, b'"invocationId":"3"')
        first, second, last = records(sent(client))[1:]
        for number, answer in enumerate((first, second)):
            assert answer["invocationId"] == str(number)
            assert answer["error"].startswith("streams_unsupported: ")
        assert "error" not in last
        client.leave()
        await task


@pytest.mark.timeout(240)
async def test_ten_thousand_open_invocations_are_all_answered_once() -> None:
    async with site(message_rate=1e6, max_inflight_publishes=64) as one:
        client, task = await opened(one)
        for start in range(0, 10_000, 500):
            say(
                client,
                b"".join(
                    b'{"type":1,"target":"Send","arguments":[%d],"invocationId":"%d"}\x1e' % (number, number)
                    for number in range(start, start + 500)
                ),
            )
        async with asyncio.timeout(200):
            # The accept, the answer to the handshake, and those to the invocations.
            while len(client.sent) < 10_002:
                await asyncio.sleep(0.01)
        answered = [answer["invocationId"] for answer in records(sent(client))[1:]]
        assert answered == [str(number) for number in range(10_000)]
        client.leave()
        await task


async def test_a_client_that_joins_its_own_room_again_gets_no_second_answer_to_its_handshake() -> None:
    async with site() as one:
        client, task = await opened(one)
        say(
            client,
            b'{"type":1,"target":"LeaveRoom","arguments":[]}\x1e{"type":1,"target":"JoinRoom","arguments":["room"]}\x1e'
            b'{"type":1,"target":"Presence","arguments":["room"],"invocationId":"1"}\x1e',
        )
        await until_sent(client, b'"invocationId":"1"')
        greeting, *others = records(sent(client))
        assert greeting == {}
        assert {} not in others
        client.leave()
        await task


async def test_pings_are_sent_once_the_client_was_greeted() -> None:
    async with site() as one:
        client = one.socket()
        task = one.run(client)
        await until(lambda: len(one.state) == 1)
        [socket] = one.state._sockets.values()
        socket.ping()
        say(client, HANDSHAKE)
        await until_sent(client, b"{}\x1e")
        socket.ping()
        socket.check()
        await until_sent(client, b'{"type":6}\x1e')
        assert records(sent(client)) == [{}, {"type": 6}]
        client.leave()
        await task


async def test_a_worker_that_stops_asks_its_clients_to_come_back() -> None:
    async with site(reconnect_grace=60) as one:
        client = one.socket("peer=ann", headers=KEPT)
        task = one.run(client)
        say(client, HANDSHAKE)
        await until_sent(client, b"{}\x1e")
        one.worker.clients.close_all(GOING_AWAY)
        await until_sent(client, b'{"type":7,"allowReconnect":true}\x1e')
        client.leave(1001)
        await task
        await until_members(one.worker, "room", {"ann": True})
