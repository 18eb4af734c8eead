"""Messages of up to a megabyte, as Socket.IO's own servers accept them, through every gateway and over Redis."""

import asyncio
import json
from typing import Any

import pytest

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Relay
from tests.integration.socketio import OverPolling, OverWebSocket, Packets

SIZES = [66_000, 400_000, 1_000_000, 2**20]


@pytest.fixture
async def relay(start: MakeRelay, redis_url: str, prefix: str) -> Relay:
    return await start(redis_url=redis_url, redis_prefix=prefix)


async def of_socketio(client: Packets) -> Any:
    """The next message, without the events about positions."""
    while (event := await client.event())[0] != "message":
        pass
    return event[1]


@pytest.mark.parametrize("size", SIZES)
async def test_a_large_offer_reaches_clients_of_every_kind(relay: Relay, enter: MakeClient, size: int) -> None:
    native = await enter(relay, "/?peer=native")
    socket = await (await OverWebSocket.open(relay, max_size=None)).enter()
    polling = await (await OverPolling.open(relay)).enter()
    offer = {"sdp": "x" * size}
    for sender in (native, socket, polling):
        if sender is native:
            await native.send(offer)
        elif sender is socket:
            await socket.emit("message", offer)
        else:
            await polling.emit("message", offer)
        if sender is not native:
            assert len((await native.next())["sdp"]) == size
        if sender is not socket:
            assert len((await of_socketio(socket))["sdp"]) == size
        if sender is not polling:
            assert len((await of_socketio(polling))["sdp"]) == size
    socket.lose()
    await polling.close()


async def test_binary_data_of_a_megabyte_passes_as_base64(relay: Relay, enter: MakeClient) -> None:
    native = await enter(relay, "/?peer=native")
    socket = await (await OverWebSocket.open(relay, max_size=None)).enter()
    await socket.send('451-["file",{"_placeholder":true,"num":0}]')
    await socket.send(b"x" * 1_000_000)
    assert len((await native.next())["attachments"][0]) == 1_333_336
    socket.lose()


async def test_a_client_that_comes_back_gets_a_large_message(relay: Relay, enter: MakeClient) -> None:
    ann, ben = await enter(relay, "/rooms/r?peer=ann"), await enter(relay, "/rooms/r?peer=ben")
    ben.lose()
    await ann.ask({"sdp": "x" * 1_000_000})
    url = f"/rooms/r?peer=ben&since={ben.welcome['id']}"
    again = await enter(relay, url, resume=ben.welcome["resume"])
    assert again.welcome["recovered"] is True
    assert len((await again.next())["sdp"]) == 1_000_000


async def test_a_message_above_the_limit_gets_an_answer_and_one_far_above_it_a_close(
    relay: Relay, enter: MakeClient
) -> None:
    ann = await enter(relay, "/rooms/r?peer=ann")
    await ann.send(json.dumps({"key": "k", "x": "x" * 2_000_000}))
    error = await ann.next()
    assert (error["code"], error["key"]) == ("too_large", "k")
    sending = asyncio.create_task(ann.send(json.dumps({"x": "x" * 3_000_000})))
    assert await ann.closed() == 1009
    await asyncio.gather(sending, return_exceptions=True)
