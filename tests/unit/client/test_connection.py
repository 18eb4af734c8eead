"""One connection: how it ends, and how the client goes on then."""

import asyncio
import json

import pytest
from websockets.asyncio.server import ServerConnection

from relay.client.connection import ConnectionEnd, RelayConnection
from relay.client.events import Event
from relay.client.options import Options, RoomRequest
from relay.client.outbox import Outbox
from relay.client.own_info import OwnInfo
from relay.client.position import RoomPosition
from relay.model.errors import CLOSE_REASONS, GOING_AWAY, NORMAL, REPLACED, CloseReason
from tests.unit.client.script import Script, send, silent, welcome

HTTP_429 = "the relay answered with HTTP 429"


class Client:
    """A connection with all that it needs."""

    def __init__(self, options: Options | None = None) -> None:
        self.position = RoomPosition()
        self.outbox = Outbox(size=10, window=10)
        self.events: list[Event] = []
        self.welcomes = 0
        self.connection = RelayConnection(
            RoomRequest("r"),
            options or Options(close_timeout=0.2),
            self.position,
            self.outbox,
            OwnInfo(),
            deliver=self.deliver,
            on_welcome=self.welcomed,
        )

    async def deliver(self, event: Event) -> None:
        self.events.append(event)

    def welcomed(self) -> None:
        self.welcomes += 1


@pytest.mark.parametrize("reason", [reason for reason in CLOSE_REASONS if reason.code != 1002])
async def test_each_close_reason_says_whether_to_reconnect(script: Script, reason: CloseReason) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.close(reason.code)

    script.parts = [only]
    client = Client()
    end = await client.connection.run(script.url)
    assert end == ConnectionEnd(reason.name, reason.text, not reason.reconnect, reason is GOING_AWAY)
    assert client.welcomes == 1


async def test_a_connection_that_breaks_is_lost(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        socket.transport.abort()

    script.parts = [only]
    assert await Client().connection.run(script.url) == ConnectionEnd("lost", "the connection was lost")


@pytest.mark.parametrize(
    ("status", "headers", "body", "end"),
    [
        (503, {"Retry-After": "7"}, b"", ConnectionEnd("http_503", "the relay answered with HTTP 503", retry_after=7)),
        (429, {"Retry-After": "soon"}, b"[]", ConnectionEnd("http_429", HTTP_429)),
        (429, {"Retry-After": "9" * 400}, b"", ConnectionEnd("http_429", HTTP_429, retry_after=3600)),
        (400, {}, b'{"error":{"code":"bad_room","text":"no"}}', ConnectionEnd("bad_room", "no", final=True)),
    ],
)  # fmt: skip
async def test_a_refused_handshake(
    script: Script, status: int, headers: dict[str, str], body: bytes, end: ConnectionEnd
) -> None:
    script.refusals = [(status, headers, body)]
    assert await Client().connection.run(script.url) == end


async def test_an_unreachable_relay_may_have_received_the_attempt() -> None:
    client = Client()
    key = client.position.resume
    end = await client.connection.run("ws://u:secret@127.0.0.1:1")
    assert (end.code, end.final, "secret" in end.text) == ("unreachable", False, False)
    client.position.welcome({"peer": "me", "id": "1-1", "resume": "next"})
    assert client.position.take_back()
    assert client.position.resume == key


@pytest.mark.parametrize("code", ["unavailable", "outcome_unknown"])
async def test_a_join_that_failed_for_now_is_tried_again_after_any_close(script: Script, code: str) -> None:
    async def only(socket: ServerConnection) -> None:
        await send(socket, type="error", about="join", code=code, text="later")
        await socket.close(4502)

    script.parts = [only]
    assert await Client().connection.run(script.url) == ConnectionEnd(code, "later")


async def test_a_late_attempt_of_its_own_is_not_final(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.close(REPLACED.code)

    script.parts = [only]
    client = Client()
    client.position.note_unanswered()
    end = await client.connection.run(script.url)
    assert (end.code, end.final, end.elsewhere) == ("replaced", False, True)


async def test_a_server_that_is_no_relay_is_final_only_for_a_client_that_was_never_in_the_room(script: Script) -> None:
    async def no_relay(socket: ServerConnection) -> None:
        await socket.send('{"type":"welcome"}')
        await socket.wait_closed()

    script.parts = [no_relay, no_relay]
    client = Client()
    end = await client.connection.run(script.url)
    assert (end.code, end.final) == ("protocol_error", True)
    client = Client()
    client.position.welcome({"peer": "me", "id": "1-1", "resume": "key"})
    end = await client.connection.run(script.url)
    assert (end.code, end.final) == ("protocol_error", False)


async def test_a_pause_after_an_error_delays_messages(script: Script) -> None:
    times: list[float] = []

    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        for _ in range(2):
            frame = json.loads(await socket.recv())
            times.append(asyncio.get_running_loop().time())
            await send(socket, type="error", about="envelope", key=frame["key"], code="too_fast", text="")
        await socket.close()

    script.parts = [only]
    client = Client(Options(draw=lambda: 0.0, close_timeout=0.2))
    client.outbox.add({"n": 1})
    end = await client.connection.run(script.url)
    assert end.code == NORMAL.name
    assert times[1] - times[0] >= 0.05


async def test_a_failure_of_the_client_itself_aborts_the_connection(
    script: Script, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script.parts = [silent]
    client = Client()
    monkeypatch.setattr(client.outbox, "to_send", lambda: 1 / 0)
    assert (await client.connection.run(script.url)).code == "lost"
    assert "ZeroDivisionError" in caplog.text


async def test_closing_or_dropping_before_there_is_a_connection_does_nothing() -> None:
    client = Client()
    client.connection.drop()
    await client.connection.close()
