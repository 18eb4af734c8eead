"""Socket.IO clients of all versions with tokens: where each gives one, and the error for a lack of rights."""

import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.conformance.sio import POLLING, WEBSOCKET, Node, SocketIO
from tests.fleet import Relay
from tests.tokens import SECRET, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOM = "guarded"
GOOD = token(sub="ann-*", rooms=[ROOM])
CASES = {
    "none": ("", "token_required"),
    "wrong": (token("x" * 40, rooms=[ROOM]), "bad_token"),
    "expired": (token(ttl=-60, rooms=[ROOM]), "token_expired"),
    "narrow": (token(rooms=["other"]), "not_granted"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay() -> AsyncIterator[Relay]:
    relay = Relay(auth="required", auth_secret=SECRET, auth_leeway=0, url_tokens="on", reconnect_grace=30)
    yield await relay.ready()
    relay.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    node = await Node.start()
    yield node
    await node.close()


async def opened(
    node: Node, relay: Relay, version: str, text: str, *, transport: Any = WEBSOCKET, **options: Any
) -> SocketIO:
    """Open a client whose version gives the token in `auth`, or in the address."""
    modern = version in ("3", "4")
    query = f"room={ROOM}" + ("" if modern or not text else f"&token={text}")
    if modern and text:
        options["auth"] = {"token": text}
    return await node.open(version, relay.http, query=query, **transport, **options)


@pytest.mark.parametrize("transport", [WEBSOCKET, POLLING], ids=["websocket", "polling"])
@pytest.mark.parametrize("version", ["4", "3", "2", "1", "0.9"])
async def test_each_version_enters_with_a_token_and_is_refused_without(
    node: Node, relay: Relay, version: str, transport: Any
) -> None:
    for name, (text, code) in CASES.items():
        client = await opened(node, relay, version, text, transport=transport, connect=False, reconnection=False)
        # Clients of the versions 1 and 2 take a refused namespace for an error of a connection that stands.
        refused = await client.until("connect_error")
        if version in ("3", "4"):
            assert refused["data"]["code"] == code, name
        else:
            assert refused["message"], name
        client.do("disconnect")
    ann = await opened(node, relay, version, GOOD, transport=transport)
    ben = await opened(node, relay, "4", GOOD)
    ann.emit("message", {"channel": "hello"})
    assert await ben.event() == ("message", [{"channel": "hello"}])
    for client in (ann, ben):
        client.do("disconnect")


async def test_a_client_asks_its_page_for_a_newer_token_when_its_token_has_ended(node: Node, relay: Relay) -> None:
    ends = math.ceil(time.time() + 2)
    auths = [{"token": token(sub="ann-*", exp=ends, rooms=[ROOM])}, {"token": GOOD}]
    ann = await node.open("4", relay.http, query=f"room={ROOM}", auths=auths, reconnectionDelay=50, **WEBSOCKET)
    assert (await ann.event())[0] == "relay:token-expiring"
    name, [error] = await ann.event()
    assert (name, error["code"]) == ("error", "token_expired")
    back = await ann.until("connect")
    assert (back["recovered"], back["id"]) == (True, ann.connected["id"])
    [answer] = await ann.ask("relay:refresh", token(sub="ann-*", ttl=7200, rooms=[ROOM]))
    assert answer["expires"] > time.time() + 7000
    ann.do("disconnect")
