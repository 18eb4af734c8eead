"""Socket.IO clients of all versions on two workers, with each other and with native clients."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.conformance.sio import POLLING, UPGRADE, WEBSOCKET, Node, SocketIO
from tests.fleet import Client, Json, RedisServer, Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")

VERSIONS = ["4", "3", "2", "1", "0.9"]
TRANSPORTS = {"websocket": WEBSOCKET, "polling": POLLING, "upgrade": UPGRADE}
PAIRS = [
    (pair, transport)
    for pair in itertools.combinations_with_replacement(VERSIONS, 2)
    for transport in TRANSPORTS
    if transport != "upgrade" or "0.9" not in pair  # it has no upgrade
]
DATA = {"sender": "31337", "channel": "c", "message": {"sdp": "v=0\r\no=-", "snow": "é ☃ \U0001f600", "deep": [[[{}]]]}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def workers(redis_server: RedisServer) -> AsyncIterator[tuple[Relay, Relay]]:
    relays = [Relay(redis_url=redis_server.url, redis_prefix="relay:socketio", reconnect_grace=5.0) for _ in range(2)]
    yield await relays[0].ready(), await relays[1].ready()
    for relay in relays:
        relay.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node() -> AsyncIterator[Node]:
    node = await Node.start()
    yield node
    await node.close()


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    return f"room-{abs(hash(request.node.name))}"


class Plain(Client):
    """A client of the relay's own protocol."""

    async def envelope(self) -> dict[str, Any]:
        return (await self.until(lambda event: "type" not in event))[-1]


async def plain(relay: Relay, room: str, query: str = "") -> Plain:
    client: Plain = await Plain.open(f"{relay.ws}/rooms/{room}{query}")
    return client


@pytest.mark.smoke
async def test_the_snippets_of_pages_over_two_workers(workers: tuple[Relay, Relay], node: Node) -> None:
    ann, ben = await node.open("4", workers[0].http), await node.open("4", workers[1].http)
    ann.emit("message", DATA)
    assert await ben.event() == ("message", [DATA])
    ben.emit("presence", "c")
    assert await ben.event() == ("presence", [True])
    ben.emit("presence", "nobody-uses-this")
    assert await ben.event() == ("presence", [False])
    ben.emit("message", {"channel": "last"})
    assert await ann.event() == ("message", [{"channel": "last"}])  # a sender does not get its own messages
    ann.do("disconnect")
    ben.do("disconnect")


@pytest.mark.parametrize(
    ("pair", "transport"), PAIRS, ids=lambda value: value if isinstance(value, str) else "-".join(value)
)
async def test_each_pair_of_versions_over_each_transport(
    workers: tuple[Relay, Relay], node: Node, room: str, pair: tuple[str, str], transport: str
) -> None:
    options = TRANSPORTS[transport] | {"query": f"room={room}"}
    ann = await node.open(pair[0], workers[0].http, **options)
    ben = await node.open(pair[1], workers[1].http, **options)
    native = await plain(workers[0], room)
    clients: list[SocketIO] = [ann, ben]
    if transport == "upgrade":
        assert [(await client.until("upgrade"))["transport"] for client in clients] == ["websocket"] * 2
    else:
        assert [client.connected["transport"].removeprefix("xhr-") for client in clients] == [transport] * 2
    for sender, receiver in (clients, clients[::-1]):
        [answer] = await sender.ask("message", DATA)
        assert await receiver.event() == ("message", [DATA])
        envelope = await native.envelope()
        assert {**DATA, "from": envelope["from"], "id": answer["id"]} == envelope
        sender.emit("offer", "é ☃ \U0001f600", None, [1.5, {"a": True}])
        assert await receiver.event() == ("offer", ["é ☃ \U0001f600", None, [1.5, {"a": True}]])
        assert (await native.envelope())["args"] == ["é ☃ \U0001f600", None, [1.5, {"a": True}]]
        if sender.version == "0.9":
            continue  # it has no binary data, and gets that of others in Base64
        blob = {"bytes": "AAH/gA=="}
        sender.emit("blob", {"deep": [blob]}, blob)
        received: Any = "AAH/gA==" if receiver.version == "0.9" else blob
        assert await receiver.event() == ("blob", [{"deep": [received]}, received])
        assert (await native.envelope())["attachments"] == ["AAH/gA==", "AAH/gA=="]
    await native.send({"channel": "c", "message": "from a plain page: é"})
    for client in clients:
        assert await client.event() == ("message", [{"channel": "c", "message": "from a plain page: é"}])
        client.do("disconnect")
    await native.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_text_that_ends_in_half_a_character(
    workers: tuple[Relay, Relay], node: Node, room: str, version: str
) -> None:
    ann, ben = [await node.open(version, relay.http, **WEBSOCKET, query=f"room={room}") for relay in workers]
    ann.emit("message", "cut \ud83d")
    assert await ben.event() == ("message", ["cut \ufffd"])
    ann.emit("message", {"message": "\ude00 cut"})
    assert await ben.event() == ("message", [{"message": "\ufffd cut"}])
    for client in (ann, ben):
        client.do("disconnect")


@pytest.mark.parametrize("version", VERSIONS)
async def test_namespaces_are_rooms(workers: tuple[Relay, Relay], node: Node, room: str, version: str) -> None:
    ann = await node.open(version, f"{workers[0].http}/rooms/{room}", **WEBSOCKET)
    native = await plain(workers[1], room, "?presence=1")
    ann.emit("message", "hi")
    assert (await native.envelope())["args"] == ["hi"]
    assert await ann.ask("x") == [{"id": (await native.envelope())["id"]}]
    ann.do("disconnect")
    left = (await native.until(lambda event: event.get("left")))[-1]
    others = [one["peer"] for one in native.welcome["members"] if one["peer"] != native.welcome["peer"]]
    assert left["left"] == others
    await native.close()


@pytest.mark.parametrize("options", [POLLING, WEBSOCKET], ids=["polling", "websocket"])
@pytest.mark.parametrize(
    ("version", "namespace"),
    # The versions 1 differ in how they write such a name, so the relay cannot name it in its answer.
    [*itertools.product(VERSIONS, ["/chat"]), *((version, "/café") for version in VERSIONS if version != "1")],
)
async def test_an_invalid_namespace(
    workers: tuple[Relay, Relay], node: Node, version: str, namespace: str, options: Json
) -> None:
    lost = await node.open(version, workers[0].http + namespace, connect=False, **options)
    event = await lost.next()
    while event["what"] == "connect":  # versions 1 and 2 enter / first
        event = await lost.next()
    message = "unauthorized" if version == "0.9" else "Invalid namespace"
    assert (event["what"], event["message"]) == ("connect_error", message)


@pytest.mark.parametrize("version", VERSIONS)
async def test_join_moves_to_another_room(workers: tuple[Relay, Relay], node: Node, room: str, version: str) -> None:
    ann = await node.open(version, workers[0].http, **WEBSOCKET)
    here, there = await plain(workers[1], "default"), await plain(workers[1], room)
    assert (await ann.ask("join", room))[0]["room"] == room
    ann.emit("message", "there")
    assert (await there.envelope())["args"] == ["there"]
    [refused] = await ann.ask("join", "not\na room")
    assert refused["error"]["code"] == "bad_room"
    ann.emit("message", "still there")
    assert (await there.envelope())["args"] == ["still there"]
    await here.send({"message": "unheard"})
    await there.send({"message": "heard"})
    assert await ann.event() == ("message", [{"message": "heard"}])
    ann.do("disconnect")
    await here.close()
    await there.close()


@pytest.mark.parametrize("version", VERSIONS)
async def test_rooms_have_names_of_any_text(workers: tuple[Relay, Relay], node: Node, room: str, version: str) -> None:
    name = f"{room} a/b %20 é \U0001f600"
    there, beside = await plain(workers[1], quote(name, safe="")), await plain(workers[1], quote(name + "2", safe=""))
    assert there.welcome["room"] == quote(name)[: len(room)] + "%20a%2Fb%20%2520%20%C3%A9%20%F0%9F%98%80"
    ann = await node.open(version, workers[0].http, **WEBSOCKET, query=f"room={quote(name, safe='')}")
    ann.emit("message", "by address")
    assert (await there.envelope())["args"] == ["by address"]
    ann.emit("presence", name)
    assert await ann.event() == ("presence", [True])
    assert (await ann.ask("join", name + "2"))[0]["room"] == name + "2"
    ann.emit("message", "by event")
    assert (await beside.envelope())["args"] == ["by event"]
    ann.do("disconnect")
    if version in {"4", "3"}:
        ben = await node.open(version, f"{workers[0].http}/rooms/{quote(name, safe='')}", **POLLING)
        ben.emit("message", "by namespace")
        assert (await there.envelope())["args"] == ["by namespace"]
        ben.do("disconnect")
    await there.close()
    await beside.close()


async def test_a_native_client_can_address_a_socket_io_client(
    workers: tuple[Relay, Relay], node: Node, room: str
) -> None:
    ann = await node.open("4", f"{workers[0].http}/rooms/{room}", **WEBSOCKET)
    native = await plain(workers[1], room)
    answer = await native.ask({"to": ann.connected["id"], "message": "for you"})
    assert answer["type"] == "ack"
    name, [received] = await ann.event()
    assert (name, received["message"]) == ("message", "for you")
    await native.send({"event": "offer", "args": ["sdp", 1]})
    assert await ann.event() == ("offer", ["sdp", 1])
    ann.do("disconnect")
    await native.close()


async def test_a_client_recovers_the_missed_events_after_a_short_absence(
    workers: tuple[Relay, Relay], node: Node, room: str
) -> None:
    options = WEBSOCKET | {"reconnectionDelay": 200, "reconnectionDelayMax": 200}
    ann = await node.open("4", f"{workers[0].http}/rooms/{room}", **options)
    native = await plain(workers[1], room, "?presence=1")
    await native.send({"message": 1})
    assert await ann.event() == ("message", [{"message": 1}])
    ann.do("lose")
    await ann.until("disconnect")
    for number in (2, 3):
        await native.send({"message": number})
    await native.all_up_to_now()
    back = await ann.until("connect")
    assert (back["recovered"], back["id"]) == (True, ann.connected["id"])
    assert [await ann.event() for _ in range(2)] == [("message", [{"message": number}]) for number in (2, 3)]
    await native.send({"message": 4})
    assert await ann.event() == ("message", [{"message": 4}])
    assert [event for event in await native.all_up_to_now() if event.get("left")] == []
    ann.do("disconnect")
    await native.close()


async def test_a_client_that_had_received_nothing_yet_is_recovered(
    workers: tuple[Relay, Relay], node: Node, room: str
) -> None:
    options = WEBSOCKET | {"reconnectionDelay": 100, "reconnectionDelayMax": 100}
    ann = await node.open("4", f"{workers[0].http}/rooms/{room}", **options)
    native = await plain(workers[1], room)
    ann.do("lose")
    await ann.until("disconnect")
    await native.send({"message": "missed"})
    await native.all_up_to_now()
    assert (await ann.until("connect"))["recovered"]
    assert await ann.event() == ("message", [{"message": "missed"}])
    ann.do("disconnect")
    await native.close()


async def test_a_client_that_joined_another_room_is_recovered_there_and_may_join_it_again(
    workers: tuple[Relay, Relay], node: Node, room: str
) -> None:
    options = WEBSOCKET | {"reconnectionDelay": 100, "reconnectionDelayMax": 100}
    ann = await node.open("4", workers[0].http, **options)
    native = await plain(workers[1], room, "?presence=1")
    for number in range(2):
        assert (await ann.ask("join", room))[0]["room"] == room  # pages join on every connect
        await native.send({"message": number})
        assert await ann.event() == ("message", [{"message": number}])
        ann.do("lose")
        await ann.until("disconnect")
        await native.send({"message": "missed"})
        await native.all_up_to_now()
        back = await ann.until("connect")
        assert (back["recovered"], back["id"]) == (True, ann.connected["id"])
        assert await ann.event() == ("message", [{"message": "missed"}])
    assert ann.joined == [room, room]
    assert [event for event in await native.all_up_to_now() if event.get("left")] == []
    ann.do("disconnect")
    await native.close()


async def test_a_client_that_missed_more_than_the_history_has_is_not_recovered(
    redis_server: RedisServer, node: Node
) -> None:
    with closing(
        Relay(
            redis_url=redis_server.url,
            redis_prefix="relay:forgetful",
            reconnect_grace=30,
            worker_lease=30,
            history_size=10,
        )
    ) as relay:
        await relay.ready()
        ann = await node.open("4", relay.http, **WEBSOCKET, reconnection=False)
        native = await Plain.open(relay.ws)
        ann.do("lose")
        await ann.until("disconnect")
        for number in range(300):  # Redis trims a stream in blocks of a hundred entries
            await native.send({"message": number})
        await native.all_up_to_now()
        ann.do("connect")
        assert not (await ann.until("connect"))["recovered"]
        await native.send({"message": "after"})
        assert await ann.event() == ("message", [{"message": "after"}])
        ann.do("disconnect")
        await native.close()


async def test_messages_keep_their_order_through_an_upgrade(
    workers: tuple[Relay, Relay], node: Node, room: str
) -> None:
    native = await plain(workers[1], room)
    ann = await node.open("4", workers[0].http, **UPGRADE, query={"room": room})
    for number in range(100):
        ann.emit("count", number)
        await native.send({"message": number})
        await asyncio.sleep(0)
    received = [(await native.envelope())["args"] for _ in range(100)]
    assert received == [[number] for number in range(100)]
    ann.do("disconnect")
    await native.close()
