"""A room over a scripted relay."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from relay.client import (
    Closed,
    Envelope,
    Interrupted,
    Lost,
    NotAcknowledged,
    NoToken,
    Options,
    QueueFull,
    Rejected,
    Resumed,
    Unreadable,
    join,
)
from relay.model.errors import GOING_AWAY
from tests.fleet import eventually
from tests.unit.client.script import Script, send, silent, welcome

QUICK = Options(connect_timeout=5, close_timeout=0.2)


@asynccontextmanager
async def room_of(script: Script, **options: Any) -> AsyncIterator[Any]:
    async with join(script.url, "r", **{"options": QUICK} | options) as room:
        yield room


async def test_it_gives_its_info_with_each_connection_and_changes_it(script: Script) -> None:
    async def first(socket: ServerConnection) -> None:
        await welcome(socket, members=[{"peer": "me", "info": {"n": 0}}, {"peer": "a", "info": {"x": 1}}], count=2)
        for number in (1, 2):
            frame = json.loads(await socket.recv())
            assert (frame["type"], frame["info"]) == ("info", {"n": number})
            if number == 1:
                await send(socket, type="info", info=frame["info"], key=frame["key"])
        socket.transport.abort()

    async def second(socket: ServerConnection) -> None:
        await welcome(socket, "1-7", recovered=True)
        frame = json.loads(await socket.recv())
        await send(socket, type="error", code="too_fast", text="later", about="info", key=frame["key"])
        frame = json.loads(await socket.recv())
        assert frame["info"] is None
        await send(socket, type="info", info=None, key=frame["key"])
        await socket.wait_closed()

    script.parts = [first, second]
    async with room_of(script, presence=True, info={"n": 0}) as room:
        assert dict(room.infos) == {"me": {"n": 0}, "a": {"x": 1}}
        await room.set_info({"n": 1})
        await room.set_info({"n": 2})
        await room.set_info(None)
    assert ["info=%7B%22n%22%3A0%7D" in path for path in script.paths] == [True, False]
    assert "info=%7B%22n%22%3A2%7D" in script.paths[1]
    with pytest.raises(Closed):
        await room.set_info({"n": 3})


async def test_a_relay_that_knows_no_infos_refuses_the_change(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        frame = json.loads(await socket.recv())
        await send(socket, type="error", code="unknown_command", text="no such type", key=frame["key"])
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script) as room:
        with pytest.raises(Rejected, match="unknown_command"):
            await room.set_info({"n": 1})


async def test_a_change_of_an_info_may_time_out_and_is_refused_where_it_is_too_large(script: Script) -> None:
    script.parts = [silent]
    async with room_of(script) as room:
        with pytest.raises(NotAcknowledged):
            await room.set_info({"n": 1}, timeout=0.05)
        with pytest.raises(Rejected):
            await room.set_info({"n": "x" * 2000})


async def test_it_resumes_with_its_id_and_key_and_resends(script: Script) -> None:
    async def first(socket: ServerConnection) -> None:
        await welcome(socket)
        await send(socket, x=1, **{"from": "a", "id": "1-7"})
        await socket.recv()
        socket.transport.abort()

    async def second(socket: ServerConnection) -> None:
        await welcome(socket, "1-7", recovered=True)
        await send(socket, x=2, **{"from": "a", "id": "1-8"})
        await send(socket, type="recovered", id="1-9", replayed=1)
        frame = json.loads(await socket.recv())
        await send(socket, type="ack", key=frame["key"], id="1-10")
        await socket.wait_closed()

    script.parts = [first, second]
    async with room_of(script, presence=True, channels=["a b"]) as room:
        sent = room.post({"y": 1})
        events = [await anext(room) for _ in range(4)]
        assert [type(event).__name__ for event in events] == ["Envelope", "Interrupted", "Envelope", "Resumed"]
        assert events[3] == Resumed(1)
        assert str(await sent) == "1-10"
        assert (room.peer, str(room.id), room.reconnects, room.resent) == ("me", "1-10", 1, 1)
    assert script.paths == ["/rooms/r?channel=a+b&presence=1", "/rooms/r?channel=a+b&peer=me&presence=1&since=1-7"]
    assert script.keys[1] == "key-1-1"
    assert len(script.keys[0]) > 20


async def test_after_a_lost_first_welcome_the_same_key_is_offered(script: Script) -> None:
    async def first(socket: ServerConnection) -> None:
        socket.transport.abort()

    async def second(socket: ServerConnection) -> None:
        await welcome(socket, resumed=True)
        await socket.wait_closed()

    script.parts = [first, second]
    async with room_of(script) as room:
        assert room.connected
    assert script.keys[0] == script.keys[1]


async def test_a_busy_relay_is_tried_again_and_a_refusal_is_final(script: Script) -> None:
    script.refusals = [(503, {"Retry-After": "0"}, b"{}"), (429, {}, b"")]
    script.parts = [lambda socket: welcome(socket)]
    async with room_of(script):
        assert len(script.requests) == 3
    body = b'{"error":{"code":"bad_origin","text":"pages of this origin may not connect"}}'
    script.refusals = [(403, {}, body)]
    with pytest.raises(Closed, match="bad_origin"):
        async with room_of(script):
            pass


@pytest.mark.parametrize(("code", "name"), [(4500, "replaced"), (4502, "bad_request"), (1009, "too_large")])
async def test_a_final_close_code_ends_everything(script: Script, code: int, name: str) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.recv()
        await socket.close(code)

    script.parts = [only]
    async with room_of(script) as room:
        with pytest.raises(Closed) as sending:
            await room.send({})
        with pytest.raises(Closed) as hearing:
            await anext(room)
        assert sending.value.code == hearing.value.code == name
        with pytest.raises(Closed):
            room.post({})


async def test_a_refused_join_says_why(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await send(socket, type="error", about="join", code="bad_room", text="no such name")
        await socket.close(4502)

    script.parts = [only]
    with pytest.raises(Closed, match="bad_room: no such name"):
        async with room_of(script, peer="bob"):
            pass


async def test_the_resume_key_is_handed_over_before_the_first_attempt_and_with_each_welcome(script: Script) -> None:
    async def lost(socket: ServerConnection) -> None:
        await welcome(socket)
        socket.transport.abort()

    async def second(socket: ServerConnection) -> None:
        await welcome(socket, "1-2", recovered=True)
        await socket.wait_closed()

    script.parts = [lost, second]
    keys: list[str] = []
    async with room_of(script, resume="from-before", store_key=keys.append) as room:
        assert isinstance(await anext(room), Interrupted)
        while len(keys) < 3:
            await asyncio.sleep(0.01)
    assert keys == ["from-before", "key-1-1", "key-1-2"]
    assert script.keys == ["from-before", "key-1-1"]


async def test_a_key_that_cannot_be_stored_is_logged_and_the_client_goes_on(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: str) -> None:
        raise OSError("no space left")

    script.parts = [silent]
    async with room_of(script, store_key=fail) as room:
        assert room.connected
    assert "no space left" in caplog.text


def test_a_resume_key_that_no_subprotocol_can_carry_is_refused() -> None:
    for key in ("with space", "a,b", "x" * 65, "é"):
        with pytest.raises(ValueError, match="resume key"):
            join("ws://localhost", "r", resume=key)


async def test_an_unreachable_relay_is_reported_after_the_timeout() -> None:
    options = Options(connect_timeout=0.2)
    with pytest.raises(Closed, match="unreachable"):
        async with join("ws://127.0.0.1:1", "r", options=options):
            pass


async def test_a_server_that_is_no_relay_is_reported(script: Script) -> None:
    script.parts = [lambda socket: socket.send("hello")]
    with pytest.raises(Closed, match="protocol"):
        async with room_of(script):
            pass


async def test_a_silent_connection_is_replaced(script: Script) -> None:
    async def without_answer(socket: ServerConnection) -> None:
        await welcome(socket)
        assert json.loads(await socket.recv()) == {"type": "ping"}
        await socket.wait_closed()

    async def with_answers(socket: ServerConnection) -> None:
        await welcome(socket, "1-1", recovered=True)
        for _ in range(3):
            assert json.loads(await socket.recv()) == {"type": "ping"}
            await send(socket, type="pong", id="1-1")
        await send(socket, x=1, **{"from": "a", "id": "1-2"})
        await socket.wait_closed()

    script.parts = [without_answer, with_answers]
    async with room_of(script, options=Options(ping_interval=0.05, ping_timeout=0.2, close_timeout=0.2)) as room:
        assert isinstance(await anext(room), Interrupted)
        assert (await anext(room)).data["x"] == 1
        assert room.reconnects == 1


async def test_retryable_errors_are_retried_and_others_reported(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        keys = [json.loads(await socket.recv())["key"] for _ in range(2)]
        await send(socket, type="error", about="envelope", key=keys[0], code="unavailable", text="")
        await send(socket, type="error", about="envelope", key=keys[1], code="out_of_order", text="")
        again = [json.loads(await socket.recv()) for _ in range(2)]
        assert [frame["key"] for frame in again] == keys
        assert again[1]["after"] == keys[0]
        await send(socket, type="ack", key=keys[0], id="1-2")
        await send(socket, type="error", about="envelope", key=keys[1], code="no_such_peer", text="nobody")
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script) as room:
        first, second = room.post({"n": 1}), room.post({"n": 2}, to="x")
        assert str(await first) == "1-2"
        with pytest.raises(Rejected, match="nobody"):
            await second


async def test_sending_without_an_acknowledgement_times_out(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script) as room:
        with pytest.raises(NotAcknowledged) as late:
            await room.send({}, timeout=0.1)
        assert late.value.possibly_sent


async def test_a_slow_user_holds_the_relay_back_and_loses_nothing(script: Script) -> None:
    total, all_sent = 400, asyncio.Event()

    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        for n in range(total):
            await send(socket, n=n, **{"from": "a", "id": f"1-{n + 2}"})
        all_sent.set()
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script, options=Options(incoming=10, close_timeout=0.2)) as room:
        await all_sent.wait()
        assert [(await anext(room)).data["n"] for _ in range(total)] == list(range(total))


async def test_leaving_sends_a_close_frame_and_ends_the_events(script: Script) -> None:
    codes = []

    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await send(socket, type="error", code="messages_lost", reason="trimmed", id="1-5")
        await socket.wait_closed()
        codes.append(socket.close_code)

    script.parts = [only]
    async with room_of(script) as room:
        assert await anext(room) == Lost("trimmed")
        await room.leave()
        assert [event async for event in room] == []
    assert codes == [1000]


async def test_giving_one_up_lets_the_next_be_sent(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.recv()
        frame = json.loads(await socket.recv())
        await send(socket, type="ack", key=frame["key"], id="1-2")
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script, options=Options(window=1, close_timeout=0.2)) as room:
        late = asyncio.create_task(room.send({"n": 1}, timeout=0.1))
        await asyncio.sleep(0)
        assert str(await room.send({"n": 2}, timeout=5)) == "1-2"
        with pytest.raises(NotAcknowledged):
            await late


async def test_waiting_for_space_may_time_out(script: Script) -> None:
    script.parts = [silent, silent]
    for waits, error in ((True, NotAcknowledged), (False, QueueFull)):
        options = Options(outgoing=1, wait_for_space=waits, close_timeout=0.1)
        async with room_of(script, options=options) as room:
            room.post({"n": 1})
            with pytest.raises(error) as late:
                await room.send({"n": 2}, timeout=0.05)
            assert not getattr(late.value, "possibly_sent", False)


async def test_a_cancelled_send_frees_its_space(script: Script) -> None:
    script.parts = [silent]
    async with room_of(script, options=Options(outgoing=1, close_timeout=0.1)) as room:
        sending = asyncio.create_task(room.send({}))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        room.post({})


async def test_a_slow_user_is_not_taken_for_a_silent_relay(script: Script) -> None:
    pings = []

    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        for n in range(3):
            await send(socket, n=n, **{"from": "a", "id": f"1-{n + 2}"})
        pings.extend([frame async for frame in socket])

    script.parts = [only]
    options = Options(incoming=1, ping_interval=0.02, ping_timeout=0.02, close_timeout=0.2)
    async with room_of(script, options=options) as room:
        await asyncio.sleep(0.2)
        assert room.connected
        assert [(await anext(room)).data["n"] for _ in range(3)] == [0, 1, 2]
        assert not pings


async def test_leaving_waits_for_acknowledgements_though_no_caller_takes_events(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        frame = json.loads(await socket.recv())
        for n in range(100):
            await send(socket, n=n, **{"from": "a", "id": f"1-{n + 2}"})
        await send(socket, type="ack", key=frame["key"], id="1-102")
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script, options=Options(incoming=5)) as room:
        sent = room.post({})
        # Five events wait for the user, and the reader is held back at the sixth.
        await eventually(lambda: room.id.seq >= 7)
    assert str(await sent) == "1-102"


async def test_a_late_attempt_of_its_own_does_not_end_it(script: Script) -> None:
    async def lost(socket: ServerConnection) -> None:
        await welcome(socket)
        socket.transport.abort()

    async def unanswered(socket: ServerConnection) -> None:
        socket.transport.abort()

    async def replaced(socket: ServerConnection) -> None:
        await welcome(socket, "1-2", recovered=True)
        await socket.close(4500)

    async def back(socket: ServerConnection) -> None:
        await welcome(socket, "1-3", recovered=True)
        await socket.close(4500)

    script.parts = [lost, unanswered, replaced, back]
    async with room_of(script) as room:
        with pytest.raises(Closed, match="replaced"):
            [event async for event in room]
    assert script.keys[1:] == ["key-1-1", "key-1-1", "key-1-1"]


async def test_a_client_that_is_sent_elsewhere_tries_the_next_url(script: Script) -> None:
    async def leaving(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.close(1001)

    async def elsewhere(socket: ServerConnection) -> None:
        await welcome(socket, recovered=True)
        await socket.wait_closed()

    script.parts = [leaving, elsewhere]
    urls = [script.url + "/a/", script.url + "/b"]
    async with join(urls, "r", options=QUICK) as room:
        assert await anext(room) == Interrupted("going_away", GOING_AWAY.text)
        await eventually(lambda: room.connected)
    assert [path.partition("?")[0] for path in script.paths] == ["/a/rooms/r", "/b/rooms/r"]


DEEP = '{"from":"a","id":"1-3","x":' + "[" * 5000 + "]" * 5000 + "}"


@pytest.mark.parametrize(
    "frame",
    [
        DEEP,
        "hello",
        "[1]",
        "5",
        b"\xff\xfe",
        '{"x":NaN}',
        '{"id":"1-3"}',
        '{"type":"welcome"}',
        '{"type":"ack"}',
        '{"type":"ack","key":"k","id":5}',
        '{"type":"recovered","id":"1-3","replayed":1e999}',
        '{"type":"recovered","id":"1-3","replayed":null}',
        '{"type":"presence","joined":5,"left":[],"id":"1-3"}',
        '{"type":"presence","joined":[],"left":[[]],"id":"1-3"}',
        '{"type":"presence","members":["a"],"count":1}',
        '{"type":"error","code":"messages_lost","reason":"epoch","id":"x"}',
    ],
)
async def test_a_frame_that_cannot_be_read_is_reported_and_skipped(
    script: Script, caplog: pytest.LogCaptureFixture, frame: str | bytes
) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        for _ in range(3):
            await socket.send(frame)
        await send(socket, n=1, **{"from": "a", "id": "1-9"})
        await socket.wait_closed()

    script.parts = [only]
    async with room_of(script) as room:
        events = [await anext(room) for _ in range(4)]
        assert [type(event) for event in events] == [Unreadable, Unreadable, Unreadable, Envelope]
        assert (room.connected, room.reconnects, str(room.id)) == (True, 0, "1-9")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].startswith("r: skipped a frame that this client cannot read")


async def test_a_client_that_was_in_the_room_survives_a_server_that_is_no_relay(script: Script) -> None:
    async def first(socket: ServerConnection) -> None:
        await welcome(socket)
        socket.transport.abort()

    async def no_relay(socket: ServerConnection) -> None:
        await socket.send("hello")
        await socket.wait_closed()

    async def back(socket: ServerConnection) -> None:
        await welcome(socket, recovered=True)
        await socket.wait_closed()

    script.parts = [first, no_relay, back]
    async with room_of(script) as room:
        assert isinstance(await anext(room), Interrupted)
        await eventually(lambda: room.reconnects == 1)


@pytest.mark.parametrize("body", [b"[" * 100_000, b"5", b'{"error":5}', b'{"error":{"code":"x"}}', b"\xff"])
async def test_a_refusal_that_cannot_be_read_is_a_refusal_too(script: Script, body: bytes) -> None:
    script.refusals = [(403, {"Retry-After": "9" * 5000}, body)]
    with pytest.raises(Closed, match="http_403: the relay answered with HTTP 403"):
        async with room_of(script):
            pass


async def test_a_cancelled_join_leaves_nothing_behind(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await socket.wait_closed()

    script.parts = [only]
    joining = asyncio.create_task(room_of(script).__aenter__())
    await eventually(lambda: script.requests)
    joining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await joining
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("room ")]


# Tokens and passwords.


async def test_the_token_is_in_a_header_the_password_in_a_subprotocol_and_neither_in_the_url(script: Script) -> None:
    script.parts = [silent, silent]
    async with room_of(script, token="secret.token", password="hall é"):
        pass
    async with join(script.url.replace("//", "//name:word@"), "r", token="secret.token", options=QUICK):
        pass
    headers = [request.headers for request in script.requests]
    assert [one["Authorization"].split()[0] for one in headers] == ["Bearer", "Basic"]
    assert headers[0]["Authorization"] == "Bearer secret.token"
    offered = [one["Sec-WebSocket-Protocol"].split(", ") for one in headers]
    assert [one[2] for one in offered] == ["password.aGFsbCDDqQ", "token.secret.token"]
    assert script.paths == ["/rooms/r", "/rooms/r"]


async def test_a_function_is_asked_ahead_of_each_connection_also_after_the_token_has_expired(script: Script) -> None:
    async def expires(socket: ServerConnection) -> None:
        await welcome(socket)
        await socket.close(4009, "token_expired")

    async def second(socket: ServerConnection) -> None:
        await welcome(socket, recovered=True)
        await send(socket, type="recovered", id="1-1", replayed=0)
        await socket.wait_closed()

    tokens = iter(["one", "two"])

    async def token() -> str:
        return next(tokens)

    script.parts = [expires, second]
    async with room_of(script, token=token) as room:
        assert [await anext(room), await anext(room)] == [
            Interrupted("token_expired", "the client's token has expired; connect again with a new one"), Resumed(0),
        ]  # fmt: skip
    assert [request.headers["Authorization"] for request in script.requests] == ["Bearer one", "Bearer two"]


async def test_a_text_that_has_expired_ends_the_room(script: Script) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        await send(socket, type="token_expiring", **{"in": 1})
        await socket.close(4009, "token_expired")

    script.parts = [only]
    async with room_of(script, token="secret") as room:
        with pytest.raises(Closed, match="token_expired"):
            await anext(room)
    assert len(script.requests) == 1


async def test_the_token_is_renewed_over_the_connection(script: Script) -> None:
    received: list[Any] = []

    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        for answer in ({"type": "error", "code": "bad_token", "text": "no"}, {"type": "refreshed", "expires": 1}):
            await send(socket, type="token_expiring", **{"in": 30})
            received.append(json.loads(await socket.recv()))
            await send(socket, key=received[-1].pop("key"), **answer)
        await send(socket, x=1, **{"from": "a", "id": "1-7"})
        await socket.wait_closed()

    tokens = iter(["one", "two", "three"])
    script.parts = [only]
    async with room_of(script, token=lambda: next(tokens)) as room:
        assert await anext(room) == NoToken("bad_token", "no")
        assert isinstance(await anext(room), Envelope)
    assert received == [{"type": "refresh", "token": "two"}, {"type": "refresh", "token": "three"}]


async def test_a_function_that_fails_is_asked_again_and_the_program_is_told(script: Script) -> None:
    answers = iter(["one", OSError("later"), "two"])

    def token() -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def breaks(socket: ServerConnection) -> None:
        await welcome(socket)
        socket.transport.abort()

    async def second(socket: ServerConnection) -> None:
        await welcome(socket, recovered=True)
        await send(socket, type="recovered", id="1-1", replayed=0)
        await socket.wait_closed()

    script.parts = [breaks, second]
    async with room_of(script, token=token) as room:
        events = [await anext(room) for _ in range(3)]
    assert [type(event) for event in events] == [Interrupted, NoToken, Resumed]
    assert events[1].code == "token_failed"
    failing = Options(connect_timeout=0.3)
    with pytest.raises(Closed, match="token_failed: the function that returns the token failed"):
        async with room_of(script, token=lambda: 1 // 0, options=failing):
            pass
    assert len(script.requests) == 2


@pytest.mark.parametrize(
    ("code", "name", "error"),
    [
        (4504, "token_refused", "token_required"),
        (4505, "not_admitted", "room_locked"),
        (4506, "kicked", ""),
        (4507, "room_closed", ""),
    ],
)
async def test_a_client_that_is_refused_or_put_out_says_why_and_stays_away(
    script: Script, code: int, name: str, error: str
) -> None:
    async def only(socket: ServerConnection) -> None:
        if error:
            await send(socket, type="error", about="join", code=error, text="no")
        await socket.close(code, name)

    script.parts = [only]
    with pytest.raises(Closed, match=error or name):
        async with room_of(script, token=lambda: "t"):
            pass
    assert len(script.requests) == 1


async def test_a_newer_token_may_grant_less(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    async def only(socket: ServerConnection) -> None:
        await welcome(socket)
        refusal = {"type": "error", "code": "not_granted", "text": "no"}
        await send(socket, **refusal, about="presence")
        await send(socket, **refusal, about="refresh", room="r")
        await socket.close(4505, "not_admitted")

    script.parts = [only]
    async with room_of(script, token=lambda: "t") as room:
        with pytest.raises(Closed, match="not_granted"):
            await anext(room)
    assert "does not see who is there" in caplog.text
