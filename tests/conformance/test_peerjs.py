"""PeerJS 1.5.5 in Node, unmodified, with real WebRTC between clients on two workers."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.programs import ClientProgram
from tests.conformance.sio import require_packages
from tests.conftest import MakeClient, MakeFleet
from tests.fleet import Relay, require
from tests.tokens import SECRET, token

PROGRAM = Path(__file__).parent / "peerjs_clients.mjs"
SECRET_OF_ANN = "the token of ann"


class PeerJS(ClientProgram):
    """A process that runs `peerjs_clients.mjs`."""

    async def until(self, client: str, what: str, **fields: Any) -> dict[str, Any]:
        """Return the next happening of this client, which must be this one; its socket may be lost before."""
        while (happened := await self.next(client))["what"] == "disconnected" != what:
            pass
        assert happened["what"] == what, happened
        assert fields.items() <= happened.items(), happened
        return happened

    def do(self, client: str, what: str, **fields: Any) -> None:
        self.send({"do": what, "client": client, **fields})

    async def open(self, relay: Relay, name: str, **options: Any) -> str:
        """Make a `Peer`, and wait until it is open; `name` is its id and its name here, "" for an id of the relay."""
        client = name or self.new_name()
        own = options | {"host": "127.0.0.1", "port": relay.port, "config": {"iceServers": []}}
        self.do(client, "open", id=name, options={"path": "/rooms/calls"} | own)
        assert (await self.until(client, "open"))["id"] == name or not name
        return client


@pytest.fixture
async def node() -> AsyncIterator[PeerJS]:
    require_packages("peerjs", "@roamhq/wrtc", "ws")
    program = await PeerJS.run([require("node"), str(PROGRAM)])
    yield program
    await program.close()


async def call(node: PeerJS, caller: str, called: str, **options: Any) -> None:
    """Open a data channel, and say something over it in both directions."""
    node.do(caller, "connect", to=called, options=options)
    await node.until(called, "connected", peer=caller, metadata=options.get("metadata"))
    await node.until(caller, "connected", peer=called)
    node.do(caller, "send", data=f"from {caller} ☃")
    await node.until(called, "data", data=f"from {caller} ☃")
    node.do(called, "send", data={"from": called, "list": [1, None, True]})
    await node.until(caller, "data", data={"from": called, "list": [1, None, True]})


@pytest.mark.smoke
async def test_a_call_between_two_workers(node: PeerJS, pair: tuple[Relay, Relay]) -> None:
    ann, ben = [await node.open(relay, name) for relay, name in zip(pair, ("ann", "ben x"), strict=True)]
    await call(node, ann, ben, metadata={"é": "☃"}, serialization="json")


async def test_all_serializations_and_paths(node: PeerJS, pair: tuple[Relay, Relay]) -> None:
    places = ({"path": "/"}, {"path": "/peerjs"}, {"path": "/", "key": "a key"})
    for place, serialization, number in zip(places, ("binary", "binary-utf8", "json"), itertools.count()):
        ann = await node.open(pair[0], f"ann{number}", **place)
        ben = await node.open(pair[1], f"ben{number}", **place)
        await call(node, ann, ben, serialization=serialization)


async def test_the_relay_gives_ids_and_says_which_are_taken(node: PeerJS, pair: tuple[Relay, Relay]) -> None:
    client = await node.open(pair[0], "")
    node.do("other", "open", id="ann", options={"host": "127.0.0.1", "port": pair[1].port})
    await node.until("other", "open", id="ann")
    node.do("third", "open", id="ann", options={"host": "127.0.0.1", "port": pair[0].port})
    await node.until("third", "error", type="unavailable-id")
    node.do(client, "connect", to="nobody")
    missing = await node.until(client, "error", type="peer-unavailable")
    assert "nobody" in missing["message"]


async def test_a_peer_that_comes_late_is_called(node: PeerJS, pair: tuple[Relay, Relay]) -> None:
    ann = await node.open(pair[0], "ann")
    node.do(ann, "connect", to="late")
    late = await node.open(pair[1], "late")
    await node.until(late, "connected", peer=ann)
    await node.until(ann, "connected", peer=late)


async def test_a_lost_socket_ends_no_call_and_the_place_is_taken_over(node: PeerJS, pair: tuple[Relay, Relay]) -> None:
    ann, ben = await node.open(pair[0], "ann", token=SECRET_OF_ANN), await node.open(pair[1], "ben")
    await call(node, ann, ben)
    node.do(ann, "lose")
    await node.until(ann, "error", type="network")
    node.do(ann, "reconnect")
    await node.until(ann, "open", id="ann")
    # The data channel lived on, and a new one can be opened.
    node.do(ann, "send", data="still here")
    await node.until(ben, "data", data="still here")
    await call(node, ben, ann)


async def test_a_peer_that_is_destroyed_leaves_its_id(node: PeerJS, pair: tuple[Relay, Relay]) -> None:
    ann = await node.open(pair[0], "ann")
    node.do(ann, "destroy")
    await node.until(ann, "destroyed")
    node.do("ann again", "open", id="ann", options={"host": "127.0.0.1", "port": pair[1].port, "path": "/rooms/calls"})
    await node.until("ann again", "open", id="ann")


async def test_the_list_of_peers(node: PeerJS, fleet_of: MakeFleet) -> None:
    here, there = await fleet_of(2, peerjs_discovery="on")
    ann, _ = await node.open(here, "ann"), await node.open(there, "ben")
    node.do(ann, "list")
    assert set((await node.until(ann, "listed"))["ids"]) == {"ann", "ben"}


async def test_envelopes_of_native_clients(node: PeerJS, pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    native, ann = await enter(pair[1], "/rooms/calls?peer=nat"), await node.open(pair[0], "ann")
    await native.send({"message": "hello"})
    message = {"type": "RELAY", "src": "nat", "payload": {"message": "hello"}}
    await node.until(ann, "relayed", message=message)
    node.do(ann, "relay", payload={"message": 1}, dst="nat")
    answer = await native.next()
    assert (answer["message"], answer["from"], answer["to"]) == (1, "ann", "nat")


async def test_the_key_is_the_token_where_auth_is_on(node: PeerJS, fleet_of: MakeFleet) -> None:
    here, there = await fleet_of(2, auth="required", auth_secret=SECRET, url_tokens="on")
    keys = [token(sub=name, rooms=[{"room": "calls", "can": ["join", "send-direct"]}]) for name in ("ann", "ben")]
    ann = await node.open(here, "", key=keys[0])
    ben = await node.open(there, "ben", key=keys[1])
    node.do(ann, "connect", to=ben, options={})
    await node.until(ben, "connected", peer="ann")
    node.do("guest", "open", id="cid", options={"host": "127.0.0.1", "port": here.port, "path": "/rooms/calls"})
    await node.until("guest", "error", type="server-error")
