"""Pages of RTCMultiConnection 3, SimpleWebRTC and PeerJS, and native clients, in one room on two workers."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

from websockets.asyncio.client import connect

from tests.conftest import MakeClient
from tests.fleet import Relay
from tests.integration.rmc3 import CUSTOM, RmcPage
from tests.integration.signalmaster import Page


async def test_envelopes_reach_all_and_nobody_takes_one_for_a_call(
    pair: tuple[Relay, Relay], enter: MakeClient
) -> None:
    async with AsyncExitStack() as stack:
        multi = await RmcPage.connect(pair[0], "multi")
        stack.push_async_callback(multi.close)
        assert (await multi.open("r"))[0] is True
        simple = await Page.over_websocket(pair[1])
        stack.push_async_callback(simple.wire.drop)
        # The room has a member of another protocol: it is taken, and nobody is there to call.
        assert await simple.ask("create", "r") == ["taken"]
        assert await simple.ask("join", "r") == [None, {"clients": {}}]
        peerjs = await stack.enter_async_context(
            connect(f"{pair[0].ws}/rooms/r/peerjs?key=peerjs&id=js&token=the-token-of-js", proxy=None)
        )
        assert json.loads(await peerjs.recv())["type"] == "OPEN"
        native = await enter(pair[1], "/rooms/r?peer=nat")

        await native.send({"channel": "chat", "message": {"type": "offer"}})
        name, envelope = await simple.event()
        assert (name, envelope["message"], envelope["from"]) == ("relay", {"type": "offer"}, "nat")
        assert (await frame(peerjs))["payload"] == {"channel": "chat", "message": {"type": "offer"}}

        assert (await simple.ask("relay", {"event": CUSTOM, "args": [{"hello": "from simple"}]}))[0] is None
        assert await multi.heard(CUSTOM) == [{"hello": "from simple"}]
        heard = await native.next()
        assert (heard["event"], heard["from"]) == (CUSTOM, simple.sid)
        assert (await frame(peerjs))["type"] == "RELAY"

        await multi.emit(CUSTOM, {"hello": "from multi"})
        name, envelope = await simple.event()
        assert (name, envelope["event"], envelope["args"]) == ("relay", CUSTOM, [{"hello": "from multi"}])
        assert (await native.next())["args"] == [{"hello": "from multi"}]


async def frame(socket: Any) -> Any:
    async with asyncio.timeout(20):
        return json.loads(await socket.recv())
