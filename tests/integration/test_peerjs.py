"""PeerJS clients on two workers over Redis, by the wire: places, absent peers, bad input, other protocols."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any, Self

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from relay.model.names import escape_peer
from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import Client, Json, RedisServer, Relay, eventually

OPEN = {"type": "OPEN"}


class Peer:
    """One PeerJS client, which speaks the wire by itself."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    @classmethod
    async def connect(
        cls, relay: Relay, name: str, *, token: str = "", path: str = "/peerjs", key: str = "peerjs"
    ) -> Self:
        query = f"key={key}&id={name}&token={token or f'the token of {name}'}&version=1.5.5".replace(" ", "%20")
        return cls(await connect(f"{relay.ws}{path}?{query}", compression=None, ping_interval=None, proxy=None))

    async def next(self) -> Json:
        async with asyncio.timeout(10):
            frame: Json = json.loads(await self.socket.recv())
            return frame

    async def send(self, kind: str, dst: str = "", **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind} | ({"dst": dst} if dst else {}) | fields))

    async def until_closed(self) -> list[Json]:
        """Return the frames up to the end of the connection."""
        frames = []
        while True:
            try:
                frames.append(await self.next())
            except ConnectionClosed:
                return frames

    async def lose(self) -> None:
        self.socket.transport.abort()
        await self.socket.wait_closed()


class Stage:
    """Opens peers, and drops them at the end."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def peer(self, relay: Relay, name: str, **options: Any) -> Peer:
        """Connect a peer; its first frame is not read."""
        peer = await Peer.connect(relay, name, **options)
        self._stack.callback(peer.socket.transport.abort)
        return peer

    async def open(self, relay: Relay, name: str, **options: Any) -> Peer:
        peer = await self.peer(relay, name, **options)
        assert await peer.next() == OPEN
        return peer


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        yield Stage(stack)


async def call(caller: Peer, called: Peer, src: str, dst: str, number: int = 0) -> None:
    """Send a call as PeerJS does: an offer and twenty candidates in one burst."""
    frames = [{"type": "OFFER", "payload": {"connectionId": f"dc_{number}", "sdp": "v=0\r\n", "reliable": True}}]
    frames += [{"type": "CANDIDATE", "payload": {"connectionId": f"dc_{number}", "n": one}} for one in range(20)]
    for frame in frames:
        await caller.send(dst=dst, kind=str(frame["type"]), payload=frame["payload"])
    for frame in frames:
        assert await called.next() == frame | {"src": src, "dst": dst}


async def test_calls_between_workers(pair: tuple[Relay, Relay], stage: Stage) -> None:
    names = ("ann", "ben of the second worker", "x" * 255)
    ann, ben, long = [await stage.open(relay, name) for relay, name in zip((*pair, pair[1]), names, strict=True)]
    for number in range(5):
        await call(ann, ben, names[0], names[1], number)
        await call(ben, ann, names[1], names[0], number)
    await call(long, ann, names[2], names[0])


async def test_each_path_and_key_is_a_room(pair: tuple[Relay, Relay], stage: Stage) -> None:
    for path, key in (("/peerjs", "a key"), ("/rooms/a/peerjs", "x"), ("/peerjs", "peerjs"), ("/peerjs", "eyJ.a.b")):
        # No other room has an ann; the last two are the default room.
        name = "ann" if key != "eyJ.a.b" else "ben"
        await stage.open(pair[0], name, path=path, key=key)
    rooms = [(await pair[1].describe(room))["count"] for room in ("a%20key", "a", "default", "x", "eyJ.a.b")]
    assert rooms == [1, 1, 2, 0, 0]
    await stage.open(pair[1], "cid", path="/peerjs/peerjs")
    assert (await pair[0].describe("default"))["count"] == 3


async def test_the_same_token_takes_the_place_over_and_no_other(pair: tuple[Relay, Relay], stage: Stage) -> None:
    here, there = pair
    old = await stage.open(here, "ann")
    new = await stage.open(there, "ann")
    assert await old.until_closed() == []
    other = await stage.peer(here, "ann", token="the token of somebody else")
    assert await other.until_closed() == [{"type": "ID-TAKEN", "payload": {"msg": "ID is taken"}}]
    await new.lose()
    ben = await stage.open(there, "ben")
    await ben.send("OFFER", "ann", payload=1)
    back = await stage.open(here, "ann")
    assert await back.next() == {"type": "OFFER", "src": "ben", "dst": "ann", "payload": 1}
    # Short tokens hold nothing.
    short = await stage.open(here, "cid", token="short")
    await short.lose()
    await eventually(lambda: is_gone(there, "cid"))
    await stage.open(there, "cid", token="other")


async def is_gone(relay: Relay, name: str) -> bool:
    return name not in {one["peer"] for one in (await relay.describe("default"))["members"]}


async def test_an_id_is_free_when_the_grace_time_is_over(pair: tuple[Relay, Relay], stage: Stage) -> None:
    ann = await stage.open(pair[0], "ann")
    await ann.lose()

    async def comes_back() -> bool:
        peer = await stage.peer(pair[1], "ann", token="of the page after its reload")
        return await peer.next() == OPEN

    await eventually(comes_back)


async def test_signals_wait_for_peers_on_any_worker(pair: tuple[Relay, Relay], stage: Stage) -> None:
    here, there = pair
    ann, cid = await stage.open(here, "ann"), await stage.open(there, "cid")
    for number in range(3):
        await ann.send("OFFER" if number == 0 else "CANDIDATE", "ben", payload={"connectionId": "a", "n": number})
    await cid.send("OFFER", "ben", payload={"connectionId": "c", "n": 3})
    await asyncio.sleep(0.1)
    ben = await stage.open(there, "ben")
    heard = [await ben.next() for _ in range(4)]
    assert [one["payload"]["n"] for one in heard if one["src"] == "ann"] == [0, 1, 2]
    assert [one["payload"]["n"] for one in heard if one["src"] == "cid"] == [3]


async def test_an_absent_peer_expires_once(pair: tuple[Relay, Relay], stage: Stage) -> None:
    ann = await stage.open(pair[0], "ann")
    for dst in ("no one", "nobody"):
        for number in range(3):
            await ann.send("OFFER" if number == 0 else "CANDIDATE", dst, payload={"connectionId": dst, "n": number})
    await ann.send("LEAVE", "somebody")
    expired = [await ann.next(), await ann.next()]
    assert expired == [{"type": "EXPIRE", "src": dst, "dst": "ann"} for dst in ("no one", "nobody")]
    await ann.send("CANDIDATE", "nobody", payload={"connectionId": "nobody"})
    await ann.send("no such type")
    assert (await ann.next())["payload"]["code"] == "unknown_command"


async def test_a_lost_socket_is_no_goodbye(pair: tuple[Relay, Relay], stage: Stage) -> None:
    ann, ben = await stage.open(pair[0], "ann"), await stage.open(pair[1], "ben")
    await call(ann, ben, "ann", "ben")
    await ann.lose()
    await eventually(lambda: is_gone(pair[1], "ann"))
    # No frame about it; the next one is an answer to this.
    await ben.send("LEAVE", "ann")
    await ben.socket.send("[]")
    assert (await ben.next())["payload"]["code"] == "bad_command"


async def test_a_killed_worker_loses_no_offer(redis_server: RedisServer, fleet_of: MakeFleet, stage: Stage) -> None:
    here, victim, third = await fleet_of(3, reconnect_grace=20)
    ann, ben = await stage.open(here, "ann"), await stage.open(victim, "ben")
    await call(ann, ben, "ann", "ben")
    victim.process.kill()
    assert await ben.until_closed() == []
    for number in range(3):
        await ann.send("OFFER", "ben", payload={"connectionId": f"after {number}"})
    back = await stage.open(third, "ben")
    missed: list[str] = []
    while missed[-1:] != ["after 2"]:
        missed.append((await back.next())["payload"]["connectionId"])
    # Messages of the last second before the kill may come again.
    assert missed[-3:] == ["after 0", "after 1", "after 2"]
    assert set(missed[:-3]) <= {"dc_0"}


async def is_recorded(server: RedisServer, count: int) -> bool:
    """Whether Redis has so many signals that wait, in all rooms."""
    with server.client as redis:
        # One more field of each has the number of bytes.
        return sum(redis.hlen(key) - 1 for key in redis.scan_iter("*:waiting")) == count


async def test_signals_that_wait_outlive_the_worker_of_their_sender(
    own_redis: RedisServer, start: MakeRelay, stage: Stage
) -> None:
    victim, second, third = [await start(redis_url=own_redis.url, reconnect_grace=60) for _ in range(3)]
    ann = await stage.open(victim, "ann")
    for number in range(3):
        await ann.send("OFFER" if number == 0 else "CANDIDATE", "ben", payload={"connectionId": "a", "n": number})
    await eventually(lambda: is_recorded(own_redis, 3))
    victim.process.kill()
    assert await ann.until_closed() == []
    ben, back = await stage.open(second, "ben"), await stage.open(third, "ann")
    # Delivered when ben arrived; on a slow machine, whose five seconds are over by then, when ann was back.
    assert [(await ben.next())["payload"]["n"] for _ in range(3)] == [0, 1, 2]
    await back.send("CANDIDATE", "ben", payload={"connectionId": "a", "n": 3})
    assert (await ben.next())["payload"]["n"] == 3
    await eventually(lambda: is_recorded(own_redis, 0))


def lengthen_waits(server: RedisServer) -> None:
    """Have all recorded signals wait for a minute more, so that a slow machine loses none."""
    with server.client as redis:
        for key in redis.scan_iter("*:waiting"):
            for place, value in redis.hgetall(key).items():
                if place != b"bytes":
                    recorded, ends, rest = value.split(b" ", 2)
                    redis.hset(key, place, b"%b %d %b" % (recorded, int(ends) + 60_000, rest))


@pytest.mark.parametrize("protocol", ["native", "plainhttp"])
async def test_an_offer_outlives_the_worker_of_its_sender_for_clients_of_other_protocols(
    own_redis: RedisServer, start: MakeRelay, stage: Stage, protocol: str
) -> None:
    victim, second = [await start(redis_url=own_redis.url, reconnect_grace=60) for _ in range(2)]
    ann = await stage.open(victim, "ann")
    for number in range(3):
        await ann.send("OFFER" if number == 0 else "CANDIDATE", "ben", payload={"connectionId": "a", "n": number})
    await eventually(lambda: is_recorded(own_redis, 3))
    lengthen_waits(own_redis)
    victim.process.kill()
    assert await ann.until_closed() == []
    heard = hear_natively(second) if protocol == "native" else hear_by_polls(second)
    async with aclosing(heard):
        assert [(await anext(heard))["message"]["payload"]["n"] for _ in range(3)] == [0, 1, 2]
    await eventually(lambda: is_recorded(own_redis, 0))


async def hear_natively(relay: Relay) -> AsyncIterator[Json]:
    client = await Client.open(f"{relay.ws}/rooms/default?peer=ben")
    try:
        while True:
            yield await client.next()
    finally:
        await client.close()


async def hear_by_polls(relay: Relay) -> AsyncIterator[Json]:
    poll = "/rooms/default/messages?peer=ben&wait=9"
    since = resume = ""
    while True:
        answer = (await relay.get(f"{poll}{since}{resume}")).json()
        resume = f"&resume={answer['resume']}" if "resume" in answer else resume
        since = f"&since={answer['next']}"
        for message in answer["messages"]:
            yield message


async def test_an_absent_peer_expires_once_also_after_a_worker_was_killed(
    own_redis: RedisServer, start: MakeRelay, stage: Stage
) -> None:
    victim, second, third = [await start(redis_url=own_redis.url, reconnect_grace=60) for _ in range(3)]
    ann = await stage.open(victim, "ann")
    for number in range(3):
        await ann.send("OFFER" if number == 0 else "CANDIDATE", "ben", payload={"connectionId": "a", "n": number})
    await eventually(lambda: is_recorded(own_redis, 3))
    victim.process.kill()
    await ann.until_closed()
    back = await stage.open(second, "ann")
    assert await back.next() == {"type": "EXPIRE", "src": "ben", "dst": "ann"}
    # Only the note that this connection has expired is left.
    await eventually(lambda: is_recorded(own_redis, 1))
    again = await stage.open(third, "ann")
    await again.send("CANDIDATE", "ben", payload={"connectionId": "a", "n": 3})
    await again.send("no such type")
    assert (await again.next())["payload"]["code"] == "unknown_command"
    assert await is_recorded(own_redis, 1)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "No id, token, or key supplied to websocket server"),
        ("key=peerjs&id=ann", "No id, token, or key supplied to websocket server"),
        ("key=peerjs&token=t&id=", "No id, token, or key supplied to websocket server"),
        ("id=ann&token=t", "No id, token, or key supplied to websocket server"),
        (f"key=peerjs&token=t&id={'x' * 256}", "256 characters"),
        ("key=peerjs&token=t&id=%01", "control character"),
        ("key=peerjs&token=t&id=%ff", "UTF-8"),
        (f"key=peerjs&id=a&token={'x' * 5000}", "4096"),
        ("key=peerjs&token=t&id=$server", "$server"),
        ("key=rooms&token=t&id=ann", "no room may be named"),
        ("key=%00&token=t&id=ann", "control character"),
        (f"key={'x' * 300}&token=t&id=ann", "300 characters"),
    ],
)
async def test_bad_handshakes(pair: tuple[Relay, Relay], query: str, text: str) -> None:
    await is_refused(pair[0], f"/peerjs?{query}", text)


@pytest.mark.parametrize(("room", "text"), [("%00", "control character"), ("%ff", "UTF-8"), ("", "name")])
async def test_a_bad_name_of_a_room(pair: tuple[Relay, Relay], room: str, text: str) -> None:
    await is_refused(pair[0], f"/rooms/{room}/peerjs?key=peerjs&token=t&id=ann", text)


async def is_refused(relay: Relay, target: str, text: str) -> None:
    """Assert that a client gets an error and nothing else, as PeerServer tells it."""
    async with connect(f"{relay.ws}{target}", proxy=None) as socket:
        frames = await Peer(socket).until_closed()
    assert [frame["type"] for frame in frames] == ["ERROR"]
    assert text in frames[0]["payload"]["msg"]


async def test_bad_frames_disturb_nobody(fleet_of: MakeFleet, stage: Stage) -> None:
    here, there = await fleet_of(2, max_message=8192)
    ann, ben = await stage.open(here, "ann"), await stage.open(there, "ben")
    payloads = (
        "[]", '"text"', "7", '{"from":"ben"}', '{"id":"1-1"}', '{"type":"welcome"}', '{"to":{}}', '{"to":"x y"}',
        '{"key":7}', '{"to":"nobody"}', '{"to":"ben"}', '{"a":NaN}', "[" * 300 + "]" * 300,
    )  # fmt: skip
    bad: list[str | bytes] = [
        "", "no JSON", "[]", "7", "null", '"OFFER"', b"{}", b"\xff", "{}", '{"type":', '{"type":7}', '{"type":null}',
        '{"type":"OFFER"}', '{"type":"OFFER","dst":""}', '{"type":"OFFER","dst":null}', '{"type":"OFFER","dst":[]}',
        '{"type":"OPEN"}', '{"type":"EXPIRE","dst":"ben"}', '{"type":"ERROR","dst":"ben","payload":{"msg":"x"}}',
        '{"type":"ID-TAKEN","dst":"ben","payload":{}}', '{"type":"offer","dst":"ben"}', '{"type":"%s"}' % ("x" * 5000),
        '{"type":"OFFER","dst":"%s"}' % ("x" * 300), '{"type":"OFFER","dst":"\\u0000"}',
        '{"type":"OFFER","dst":"\\ud800"}', '{"type":"OFFER","dst":"$server"}',
        '{"type":"OFFER","dst":"ben","payload":NaN}', '{"type":"OFFER","dst":"ben","payload":%s}' % ("[" * 300),
        '{"type":"OFFER","dst":"ben","payload":"%s"}' % ("x" * 9000), "[" * 5000, '{"type":"RELAY"}',
        '{"type":"RELAY","dst":"nobody","payload":{}}',
        *('{"type":"RELAY","dst":"ben","payload":' + payload + "}" for payload in payloads),
    ]  # fmt: skip
    for frame in bad:
        await ann.socket.send(frame)
        answer = await ann.next()
        assert answer["type"] == "RELAY-ERROR", (frame, answer)
    await call(ann, ben, "ann", "ben")


async def test_fields_that_mean_nothing_are_not_passed_on(pair: tuple[Relay, Relay], stage: Stage) -> None:
    ann, ben = await stage.open(pair[0], "ann"), await stage.open(pair[1], "ben")
    for fields in ({}, {"dst": "ben"}, {"payload": [], "more": 1}):
        await ann.send("HEARTBEAT", **fields)
    await ann.send("OFFER", "ben", payload={"connectionId": "c"}, src="eve", more=1)
    assert await ben.next() == {"type": "OFFER", "src": "ann", "dst": "ben", "payload": {"connectionId": "c"}}
    # Heartbeats have no answer.
    await ann.send("no such type")
    assert (await ann.next())["payload"]["code"] == "unknown_command"


async def test_a_client_that_has_left_sends_nothing(pair: tuple[Relay, Relay], stage: Stage) -> None:
    ann, ben = await stage.open(pair[0], "ann"), await stage.open(pair[1], "ben")
    await ann.send("LEAVE")
    for kind in ("OFFER", "RELAY"):
        await ann.send(kind, "ben", payload={"message": 1})
        assert (await ann.next())["payload"]["code"] == "not_joined"
    await stage.open(pair[1], "ann", token="of another page")
    await ben.send("RELAY", "ann", payload={"message": 1})
    await ben.send("no such type")
    assert (await ben.next())["payload"]["code"] == "unknown_command"


async def test_other_protocols_hear_and_call_a_page(pair: tuple[Relay, Relay], stage: Stage, enter: MakeClient) -> None:
    native = await enter(pair[1], "/rooms/r?peer=nat")
    ann = await stage.open(pair[0], "ann x", path="/rooms/r/peerjs")
    assert escape_peer("ann x") == "ann%20x"
    await native.send({"channel": "chat", "message": "to all"})
    envelope = {"channel": "chat", "message": "to all"}
    assert await ann.next() == {"type": "RELAY", "src": "nat", "payload": envelope}
    await ann.send("RELAY", payload={"message": 1, "channel": "chat"})
    heard = await native.next()
    assert (heard["message"], heard["channel"], heard["from"]) == (1, "chat", "ann%20x")
    payload = {"connectionId": "dc_n", "serialization": "json"}
    offer = {"to": "ann%20x", "channel": "peerjs", "message": {"type": "OFFER", "payload": payload}}
    await native.send(offer)
    assert await ann.next() == {"type": "OFFER", "src": "nat", "dst": "ann x", "payload": payload}
    await ann.send("ANSWER", "nat", payload={"connectionId": "dc_n"})
    answer = await native.next()
    assert (answer["from"], answer["to"], answer["channel"]) == ("ann%20x", "nat", "peerjs")
    assert answer["message"] == {"type": "ANSWER", "payload": {"connectionId": "dc_n"}}


async def test_no_secret_is_in_the_log(fleet_of: MakeFleet, stage: Stage) -> None:
    here, there = await fleet_of(2, log_level="debug")
    await stage.open(here, "ann", token="secret-of-ann", key="eyJsecret.of.key")
    other = await stage.peer(there, "ann", token="wrong-secret", key="eyJsecret.of.key")
    await other.until_closed()
    await here.get("/eyJsecret.of.key/id")
    await eventually(lambda: "the token of another client" in there.logged)
    for relay in (here, there):
        assert not [word for word in ("secret-of-ann", "wrong-secret", "eyJsecret") if word in relay.logged]
