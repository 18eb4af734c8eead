"""The cases of the published protocol of ASP.NET Core SignalR, under the names of its sections.

They are `HubProtocol.md` and `TransportProtocols.md` in https://github.com/dotnet/aspnetcore, `src/SignalR/docs/specs`.
Each row is one connection. An answered call follows the messages of a row, and shows that nothing else was answered.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx2 as httpx
import msgspec
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.fleet import Relay
from tests.gateways.drivers.signalr import DataStream

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.gateways]

Message = Mapping[str, Any]
Row = tuple[Sequence[Message | str | bytes], Sequence[Message]]
"""Messages of the client, and the answers of the server; `...` stands for any value."""

PATIENCE = 30
ANY: Any = ...
END: Message = {"type": 1, "target": "Presence", "arguments": [], "invocationId": "the end"}
BROKEN: Message = {"type": 7, "error": "bad_packet"}
_rooms = (f"protocol-{number}" for number in itertools.count())


def call(target: str = "Send", *arguments: Any, **more: Any) -> Message:
    return {"type": 1, "target": target, "arguments": list(arguments or ["hello"])} | more


def done(invocation: str, **more: Any) -> Message:
    return {"type": 3, "invocationId": invocation} | more


UPLOAD = [
    call(invocationId="0", streamIds=["s"]),
    {"type": 2, "invocationId": "s", "item": 1},
    {"type": 3, "invocationId": "s"},
]
HUB_ROWS: dict[str, Row] = {
    "Invocations: a blocking one gets one Completion": ([call(invocationId="0")], [done("0", result=ANY)]),
    "Invocations: a non-blocking one gets none": ([call()], []),
    "Invocations: several at once, each with its own id": (
        [call(invocationId=str(number)) for number in range(9)],
        [done(str(number), result=ANY) for number in range(9)],
    ),
    "Invocations: an id is any text": ([call(invocationId="é ☃ {}")], [done("é ☃ {}", result=ANY)]),
    "Invocations: headers are allowed": ([call(invocationId="0", headers={"a": "b"})], [done("0", result=ANY)]),
    "Invocations: an unknown target fails": ([call("Nope", invocationId="0")], [done("0", error="unknown_method")]),
    "Invocations: an unknown target without an id calls the client": (
        [call("Nope")],
        [{"type": 1, "target": "error", "arguments": ANY}],
    ),
    "Invocations: too few arguments fail": ([call("SendTo", "x", invocationId="0")], [done("0", error="bad_command")]),
    "Invocations: too many arguments fail": (
        [call("Presence", "x", "y", invocationId="0")],
        [done("0", error="bad_command")],
    ),
    "Invocations: arguments of the wrong type fail": (
        [call("JoinRoom", 1, invocationId="0")],
        [done("0", error="bad_command")],
    ),
    "Invocations: a method without a value": ([call("LeaveRoom", None, invocationId="0")], [done("0")]),
    "Streaming: a StreamInvocation is completed with an error": (
        [call("Counter", 10, invocationId="0") | {"type": 4}],
        [done("0", error="streams_unsupported")],
    ),
    "Streaming: CancelInvocation is not answered": ([{"type": 5, "invocationId": "0"}], []),
    "Upload streaming: refused once, and its items are not answered": (
        UPLOAD,
        [done("0", error="streams_unsupported")],
    ),
    "Upload streaming: the end of a stream may have an error": ([done("s", error="x")], []),
    "Client results: a Completion that nobody asked for is not answered": ([done("9", result=1)], []),
    "Ping: is not answered": ([{"type": 6}, {"type": 6}], []),
    "Ack and Sequence: without stateful reconnect, not answered": (
        [{"type": 8, "sequenceId": 3}, {"type": 9, "sequenceId": 4}],
        [],
    ),
    "Messages of an unknown type are not answered": ([{"type": 99}], []),
    "Errors: a StreamInvocation without an id": ([call("Counter") | {"type": 4, "invocationId": ""}], [BROKEN]),
    "Errors: a StreamItem without an id": ([{"type": 2, "invocationId": "", "item": 1}], [BROKEN]),
    "Errors: a CancelInvocation without an id": ([{"type": 5, "invocationId": ""}], [BROKEN]),
    "Errors: a type below 1": ([{"type": 0}], [BROKEN]),
    "Errors: a negative sequence id": ([{"type": 9, "sequenceId": -1}], [BROKEN]),
}
"""Cases that both encodings have."""

JSON_ROWS: dict[str, Row] = {
    "JSON: properties in any order, and unknown ones": (
        ['{"x":{},"arguments":["é"],"invocationId":"0","target":"send","type":1}\x1e'],
        [done("0", result=ANY)],
    ),
    "JSON: white space and line ends between tokens": (
        ['{ "type": 1,\r\n"invocationId": "0", "target": "Send", "arguments": [ 1 ] }\x1e'],
        [done("0", result=ANY)],
    ),
    "JSON: an id of null is none": (['{"type":1,"invocationId":null,"target":"Send","arguments":[1]}\x1e'], []),
    "JSON: several messages in a frame": (
        ['{"type":6}\x1e{"type":1,"invocationId":"0","target":"Send","arguments":[1]}\x1e{"type":6}\x1e'],
        [done("0", result=ANY)],
    ),
    "JSON errors: no separator": (['{"type":6}'], [BROKEN]),
    "JSON errors: an empty record": (["\x1e"], [BROKEN]),
    "JSON errors: no JSON": (["nonsense\x1e"], [BROKEN]),
    "JSON errors: a list": (["[6]\x1e"], [BROKEN]),
    "JSON errors: no type": (['{"target":"Send","arguments":[]}\x1e'], [BROKEN]),
    "JSON errors: the type is text": (['{"type":"6"}\x1e'], [BROKEN]),
    "JSON errors: an Invocation without a target": (['{"type":1,"arguments":[]}\x1e'], [BROKEN]),
    "JSON errors: an Invocation without arguments": (['{"type":1,"target":"Send"}\x1e'], [BROKEN]),
    "JSON errors: the arguments are an object": (['{"type":1,"target":"Send","arguments":{}}\x1e'], [BROKEN]),
    "JSON errors: the id is a number": (['{"type":1,"invocationId":0,"target":"Send","arguments":[]}\x1e'], [BROKEN]),
}


def sized(data: bytes) -> bytes:
    """A message behind its length."""
    assert len(data) < 0x80
    return bytes([len(data)]) + data


OF_JAVASCRIPT = b"\x95\x01\x80\xa10\xa4Send\x91\x01"
PACKED_PING = b"\x02\x91\x06"
PACKED_ROWS: dict[str, Row] = {
    "MessagePack: an Invocation of five values, as the client in JavaScript writes it": (
        [sized(OF_JAVASCRIPT)],
        [done("0", result=ANY)],
    ),
    "MessagePack: an Invocation of six values, as the client in .NET writes it": (
        [sized(b"\x96" + OF_JAVASCRIPT[1:] + b"\x90")],
        [done("0", result=ANY)],
    ),
    "MessagePack: more values than are known": (
        [sized(b"\x97" + OF_JAVASCRIPT[1:] + b"\x90\x07")],
        [done("0", result=ANY)],
    ),
    "MessagePack: an id of nil is none": ([sized(b"\x95\x01\x80\xc0\xa4Send\x91\x01")], []),
    "MessagePack: a length of five bytes": (
        [bytes([0x80 | len(OF_JAVASCRIPT), 0x80, 0x80, 0x80, 0]) + OF_JAVASCRIPT],
        [done("0", result=ANY)],
    ),
    "MessagePack: several messages in a frame": (
        [PACKED_PING + sized(OF_JAVASCRIPT) + PACKED_PING],
        [done("0", result=ANY)],
    ),
    "MessagePack: binary data and times have a form in JSON": (
        [sized(OF_JAVASCRIPT[:-1] + data) for data in (b"\xc4\x02\x01\x02", b"\xd6\xff\x5f\x00\x00\x00")],
        [done("0", result=ANY)] * 2,
    ),
    "MessagePack errors: a length of six bytes": ([b"\x80\x80\x80\x80\x80\x01\x91\x06"], [BROKEN]),
    "MessagePack errors: shorter than its length": ([b"\x05\x91\x06"], [BROKEN]),
    "MessagePack errors: no array": ([b"\x01\x06"], [BROKEN]),
    "MessagePack errors: an empty array": ([b"\x01\x90"], [BROKEN]),
    "MessagePack errors: an empty message": ([b"\x00"], [BROKEN]),
    "MessagePack errors: the type is text": ([b"\x03\x91\xa1\x36"], [BROKEN]),
    "MessagePack errors: an array that is longer than the message": ([b"\x05\xdd\xff\xff\xff\xff"], [BROKEN]),
    "MessagePack errors: no MessagePack": ([b"\x02\xc1\xc1"], [BROKEN]),
    "MessagePack errors: an Invocation without a target": ([b"\x05\x95\x01\x80\xc0\xc0"], [BROKEN]),
    "MessagePack errors: an Invocation without arguments": ([b"\x09\x94\x01\x80\xc0\xa4Send"], [BROKEN]),
}

HANDSHAKES: dict[str, tuple[str, str]] = {
    "json": ('{"protocol":"json","version":1}\x1e', ""),
    "messagepack": ('{"protocol":"messagepack","version":1}\x1e', ""),
    "version 0": ('{"protocol":"json","version":0}\x1e', ""),
    "unknown properties": ('{"x":1,"version":1,"protocol":"json"}\x1e', ""),
    "an unknown protocol": ('{"protocol":"protobuf","version":1}\x1e', "bad_protocol"),
    "a version that is too new": ('{"protocol":"json","version":99}\x1e', "bad_protocol"),
    "no protocol": ('{"version":1}\x1e', "bad_packet"),
    "no version": ('{"protocol":"json"}\x1e', "bad_packet"),
    "no JSON": ("nonsense\x1e", "bad_packet"),
    "no separator": ('{"protocol":"json","version":1}', "bad_packet"),
    "too long": ("x" * 5000 + "\x1e", "bad_packet"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay() -> AsyncIterator[Relay]:
    relay = Relay(handshake_timeout=20)
    yield await relay.ready()
    relay.close()


@pytest_asyncio.fixture(loop_scope="module")
async def http(relay: Relay) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=relay.http, timeout=PATIENCE) as client:
        yield client


class Hub:
    """A connection over a WebSocket."""

    def __init__(self, socket: ClientConnection, *, packed: bool) -> None:
        self._socket = socket
        self._packed = packed

    async def send(self, one: Message | str | bytes) -> None:
        if isinstance(one, Mapping):
            one = framed(one) if self._packed else json.dumps(one) + "\x1e"
        await self._socket.send(one)

    async def answers(self, count: int) -> list[Message]:
        """The next messages but pings; fewer if the connection ends."""
        found = list[Message]()
        try:
            async with asyncio.timeout(PATIENCE):
                while len(found) < count:
                    data = await self._socket.recv()
                    assert isinstance(data, bytes) is self._packed
                    found += [one for one in self._read(data) if one["type"] != 6]
        except ConnectionClosed:
            pass
        return found

    def _read(self, data: str | bytes) -> list[Message]:
        if isinstance(data, str):
            return [json.loads(record) for record in data.split("\x1e")[:-1]]
        found, at = list[Message](), 0
        while at < len(data):
            size = shift = 0
            while True:
                byte, at = data[at], at + 1
                size |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            found.append(named(msgspec.msgpack.decode(data[at : at + size])))
            at += size
        return found


def framed(message: Message) -> bytes:
    """A message in MessagePack, behind its length."""
    kind, invocation = message["type"], message.get("invocationId")
    parts: list[Any] = [kind]
    match kind:
        case 1 | 4:
            parts += [message.get("headers", {}), invocation, message["target"], message["arguments"]]
            parts.append(message.get("streamIds", []))
        case 2:
            parts += [{}, invocation, message["item"]]
        case 3:
            parts += [{}, invocation, *([1, message["error"]] if "error" in message else [3, 1])]
        case 5:
            parts += [{}, invocation]
        case 8 | 9:
            parts.append(message["sequenceId"])
    data = msgspec.msgpack.encode(parts)
    return sized(data)


def named(parts: Sequence[Any]) -> Message:
    """A message of an array, as it is in JSON."""
    match parts:
        case [1, _, None, target, arguments, []]:
            return {"type": 1, "target": target, "arguments": arguments}
        case [3, _, invocation, 1, error]:
            return done(invocation, error=error)
        case [3, _, invocation, 2]:
            return done(invocation)
        case [3, _, invocation, 3, result]:
            return done(invocation, result=result)
        case [7, error, reconnect]:
            return {"type": 7} | ({"error": error} if error else {}) | ({"allowReconnect": True} if reconnect else {})
        case [6]:
            return {"type": 6}
    raise AssertionError(parts)


async def opened(relay: Relay, room: str, *, packed: bool) -> Hub:
    url = f"{relay.ws}/rooms/{room}/signalr?presence=0"
    hub = Hub(await connect(url, compression=None, ping_interval=None, proxy=None), packed=packed)
    handshake = '{"protocol":"%s","version":1}\x1e' % ("messagepack" if packed else "json")
    await hub.send(handshake.encode() if packed else handshake)
    answer = await hub._socket.recv()
    assert answer == (b"{}\x1e" if packed else "{}\x1e")
    return hub


def agree(found: Message, expected: Message) -> bool:
    """Whether an answer is as expected; of errors, the codes count."""
    if found.keys() != expected.keys():
        return False
    codes = {"error": str(found.get("error", "")).partition(":")[0]}
    return all(value is ... or value == codes.get(name, found[name]) for name, value in expected.items())


async def play(relay: Relay, row: Row, *, packed: bool) -> None:
    sent, expected = row
    hub = await opened(relay, next(_rooms), packed=packed)
    ends = any(one["type"] == 7 for one in expected)
    for one in sent:
        await hub.send(one)
    if not ends:
        await hub.send(END)
        expected = [*expected, done("the end", result=ANY)]
    # One more than is expected, if the connection is to end.
    found = await hub.answers(len(expected) + ends)
    assert len(found) == len(expected), found
    # The answer to a leave comes when Redis has been asked, and may follow that to a later call.
    left = list(found)
    for one in expected:
        agreeing = [other for other in left if agree(other, one)]
        assert agreeing, (one, found)
        left.remove(agreeing[0])
    hub._socket.transport.abort()


@pytest.mark.parametrize("packed", [False, True], ids=["json", "messagepack"])
@pytest.mark.parametrize("case", HUB_ROWS)
async def test_hub_protocol(relay: Relay, case: str, packed: bool) -> None:
    await play(relay, HUB_ROWS[case], packed=packed)


@pytest.mark.parametrize("case", JSON_ROWS)
async def test_hub_protocol_in_json(relay: Relay, case: str) -> None:
    await play(relay, JSON_ROWS[case], packed=False)


@pytest.mark.parametrize("case", PACKED_ROWS)
async def test_hub_protocol_in_messagepack(relay: Relay, case: str) -> None:
    await play(relay, PACKED_ROWS[case], packed=True)


@pytest.mark.parametrize("case", HANDSHAKES)
async def test_hub_protocol_handshake(relay: Relay, case: str) -> None:
    sent, error = HANDSHAKES[case]
    async with connect(f"{relay.ws}/rooms/{next(_rooms)}/signalr", compression=None, proxy=None) as socket:
        await socket.send(sent)
        async with asyncio.timeout(PATIENCE):
            answer = await socket.recv()
            text = answer.decode() if isinstance(answer, bytes) else answer
            assert text.endswith("\x1e")
            told = json.loads(text[:-1])
            assert str(told.get("error", "")).partition(":")[0] == error
            if error:
                with pytest.raises(ConnectionClosed):
                    await socket.recv()


async def test_hub_protocol_the_handshake_may_share_a_frame_with_messages(relay: Relay) -> None:
    async with connect(f"{relay.ws}/rooms/{next(_rooms)}/signalr", compression=None, proxy=None) as socket:
        await socket.send(HANDSHAKES["json"][0] + json.dumps(END) + "\x1e")
        heard = ""
        async with asyncio.timeout(PATIENCE):
            while "the end" not in heard:
                heard += str(await socket.recv())
        assert heard.startswith("{}\x1e")


async def test_hub_protocol_close_ends_the_connection_without_an_answer(relay: Relay) -> None:
    hub = await opened(relay, next(_rooms), packed=False)
    await hub.send({"type": 7})
    await hub.send(END)
    assert await hub.answers(1) == []


# The transports.


async def negotiated(http: httpx.AsyncClient, room: str, query: str = "negotiateVersion=1") -> dict[str, Any]:
    answer = await http.post(f"/rooms/{room}/signalr/negotiate?{query}")
    assert answer.status_code == 200
    return dict(answer.json())


@pytest.mark.parametrize(("asked", "version"), [("", 0), ("0", 0), ("1", 1), ("7", 1)])
async def test_transport_protocols_negotiate(http: httpx.AsyncClient, asked: str, version: int) -> None:
    answer = await negotiated(http, next(_rooms), f"negotiateVersion={asked}" if asked else "")
    assert answer["negotiateVersion"] == version
    assert ("connectionToken" in answer) is (version == 1)
    assert answer.get("connectionToken", "") != answer["connectionId"]
    assert [one["transport"] for one in answer["availableTransports"]] == [
        "WebSockets", "ServerSentEvents", "LongPolling",
    ]  # fmt: skip
    assert "useStatefulReconnect" not in answer


async def test_transport_protocols_negotiate_answers_a_refusal_with_its_text(http: httpx.AsyncClient) -> None:
    answer = await negotiated(http, next(_rooms), "negotiateVersion=1&resume=short")
    assert answer["error"].startswith("bad_query: ")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_transport_protocols_requests_need_a_connection(http: httpx.AsyncClient, method: str) -> None:
    path = f"/rooms/{next(_rooms)}/signalr"
    assert (await http.request(method, path)).status_code == 400
    assert (await http.request(method, f"{path}?id=unknown")).status_code == 404


async def test_transport_protocols_websockets_need_a_known_connection(relay: Relay) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{relay.ws}/rooms/{next(_rooms)}/signalr?id=unknown", proxy=None)
    assert refused.value.response.status_code == 404


async def test_transport_protocols_long_polling(http: httpx.AsyncClient) -> None:
    """The first poll is answered empty, at once; the last one by 204, and later ones by 404."""
    room = next(_rooms)
    target = f"/rooms/{room}/signalr?id={(await negotiated(http, room))['connectionToken']}"
    first = await http.get(target)
    assert (first.status_code, first.content) == (200, b"")
    posted = await http.post(target, content=HANDSHAKES["json"][0])
    assert (posted.status_code, posted.content) == (200, b"")
    answer = await http.get(target)
    assert (answer.status_code, answer.text) == (200, "{}\x1e")
    older = asyncio.create_task(http.get(target))
    while not older.done():
        newer = asyncio.create_task(http.get(target))
        await asyncio.wait([older, newer], return_when=asyncio.FIRST_COMPLETED)
        if not older.done():
            older, newer = newer, older
    assert older.result().status_code == 204
    assert (await http.delete(target)).status_code == 202
    assert (await newer).status_code == 204
    assert (await http.get(target)).status_code == 404
    assert (await http.post(target, content='{"type":7}\x1e')).status_code == 404


async def test_transport_protocols_server_sent_events(relay: Relay, http: httpx.AsyncClient) -> None:
    """The head comes at once; a message with a line end has several lines of data."""
    room = next(_rooms)
    target = f"/rooms/{room}/signalr?presence=0&id={(await negotiated(http, room))['connectionToken']}"
    stream = await DataStream.open(relay.port, target, Accept="text/event-stream")
    assert stream.status == 200
    assert (await http.post(target, content=HANDSHAKES["json"][0])).status_code == 200
    assert await stream.data() == b"{}\x1e"
    other = await opened(relay, room, packed=False)
    await other.send(call("Send", '{"message":\n"two lines"}'))
    heard = await stream.data()
    assert json.loads(heard[:-1])["arguments"][0]["message"] == "two lines"
    assert (await http.post(target, content='{"type":7}\x1e')).status_code == 200
    assert (await http.post(target, content='{"type":7}\x1e')).status_code == 404
    await stream.drop()
    other._socket.transport.abort()
