"""Sessions over the memory bus, whose events come one turn of the loop after the outcome of a publish."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.acknowledgements import Acknowledgements
from relay.gateways.base.inbox import Inbox
from relay.gateways.base.join_request import CodecPair, JoinRequest
from relay.gateways.base.joined_rooms import JoinedRooms
from relay.gateways.base.session import Session, WebSocketSession
from relay.gateways.native.codec import NativeCodec
from relay.model.codec import Frame
from relay.model.commands import Command, Detect, Move, Ping
from relay.model.envelope import MessageId
from relay.model.errors import (
    BAD_REQUEST,
    GOING_AWAY,
    INTERNAL,
    PEER_TAKEN,
    REPLACED,
    ROOM_FULL,
    TOO_FAST,
    BadFrame,
    CloseReason,
    NotMember,
    Refused,
    RelayError,
    Replaced,
)
from relay.model.names import escape_room
from relay.rooms.member import Member
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import CODECS, Client, FakeConnection, until, until_members


@asynccontextmanager
async def visiting(**settings: Any) -> AsyncIterator[Client]:
    """A client that has joined `room` as `p`."""
    async with Worker(Settings(**settings)) as worker:
        client = Client(worker)
        await client.session.enter(lambda: JoinRequest("room", "p"))
        await asyncio.sleep(0)
        yield client
        client.session.disconnected(1006, None)
        await asyncio.sleep(0)


def hold_deliveries(worker: Worker) -> list[Callable[[], None]]:
    """Have the worker deliver nothing; returns the callbacks that wait for deliveries."""
    waiting: list[Callable[[], None]] = []
    worker.when_delivered = lambda room, message_id, callback: waiting.append(callback)
    return waiting


# Entering.


async def test_frames_that_come_before_the_welcome_are_served_after_it_in_order() -> None:
    async with Worker(Settings()) as worker:
        client = Client(worker)
        client.send(type="ping", key="a")
        client.send(type="presence", key="b")
        client.send(type="ping", key="c")
        assert client.connection.events == []
        await client.session.enter(lambda: JoinRequest("room", "p"))
        await until(lambda: len(client.answers) == 3)
        assert client.connection.events[0]["type"] == "welcome"
        assert client.answers == ["pong a", "presence b", "pong c"]
        assert client.paused == [True] * 3 + [False]


async def test_an_info_is_changed_in_turn_and_at_a_limited_rate() -> None:
    async with Worker(Settings()) as worker:
        client = Client(worker)
        await client.session.enter(lambda: JoinRequest("room", "p", presence=True, info=b'{"n":0}'))
        assert client.connection.events[0]["members"] == [{"peer": "p", "info": {"n": 0}}]
        for number in range(6):
            client.send(type="info", info={"n": number}, key=str(number))
        client.send(type="info", info=5, key="bad")
        client.send(type="presence", key="list")
        await until(lambda: "presence list" in client.answers)
        answers = [answer for answer in client.answers if answer != "presence"]
        assert answers == [*(f"info {number}" for number in range(5)), "error 5", "error bad", "presence list"]
        events = {event["key"]: event for event in client.connection.events if "key" in event}
        assert [events[key]["code"] for key in ("5", "bad")] == ["too_fast", "bad_info"]
        assert events["5"]["about"] == events["bad"]["about"] == "info"
        assert events["list"]["members"] == [{"peer": "p", "info": {"n": 4}}]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refused("bad_query"), BAD_REQUEST),
        (Refused("peer_taken"), PEER_TAKEN),
        (Refused("room_full"), ROOM_FULL),
    ],
)
async def test_a_client_that_cannot_join_gets_the_error_and_is_closed(error: Refused, reason: CloseReason) -> None:
    def refuse() -> JoinRequest:
        raise error

    async with Worker(Settings()) as worker:
        client = Client(worker)
        await client.session.enter(refuse)
        assert [(event["code"], event["about"]) for event in client.connection.events] == [(error.code, "join")]
        assert client.connection.reason is reason


async def test_a_fault_while_entering_closes_the_connection_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with Worker(Settings()) as worker:
        client = Client(worker)
        await client.session.enter(lambda: JoinRequest())
        assert client.connection.reason is INTERNAL
        assert "TypeError" in caplog.text


async def test_a_client_that_begins_in_no_room_is_served_at_once() -> None:
    async with Worker(Settings()) as worker:
        client = Client(worker)
        client.send(type="join", room="one", key="a")
        client.session.begin("p")
        client.send(n=1, key="b")
        await until(lambda: len(client.connection.events) == 2)
        welcome, error = client.connection.events
        assert (welcome["type"], welcome["room"], welcome["peer"]) == ("welcome", "one", "p")
        assert (error["code"], error["key"]) == ("not_joined", "b")
        client.session.disconnected(1000, None)
        await until_members(worker, "one", {})


# In turn.


async def test_a_frame_waits_for_the_command_before_it() -> None:
    async with visiting() as client:
        client.send(type="presence", key="a")
        client.send(type="ping", key="b")
        assert client.answers == []
        await until(lambda: len(client.answers) == 2)
        assert client.answers == ["presence a", "pong b"]


async def test_publishes_without_an_answer_count_as_in_flight() -> None:
    async with visiting(max_inflight_publishes=2) as client:
        for key in "abcde":
            client.send(n=1, key=key)
        assert client.paused == [True] * 3
        await until(lambda: len(client.answers) == 5)
        assert client.answers == [f"ack {key}" for key in "abcde"]
        assert client.paused[-1] is False


async def test_frames_after_the_close_of_the_connection_are_ignored() -> None:
    async with visiting() as client:
        client.connection.close(REPLACED)
        client.send(type="ping", key="a")
        assert client.worker.metrics.of("native").messages_in == 0


async def test_a_client_gets_its_outstanding_acks_before_the_relay_closes_it() -> None:
    async with visiting() as client:
        for key in "ab":
            client.send(n=1, key=key)
        client.session.close_gracefully(GOING_AWAY)
        assert client.paused == [True]
        await until(lambda: client.connection.reason)
        assert client.answers == ["ack a", "ack b"]
        assert client.connection.reason is GOING_AWAY


async def test_waiting_frames_are_served_before_the_relay_closes_a_client_and_no_more_are_read() -> None:
    async with visiting() as client:
        client.send(type="presence", key="a")
        client.send(type="ping", key="b")
        client.session.close_gracefully(GOING_AWAY)
        assert client.connection.reason is None
        await until(lambda: client.connection.reason)
        assert client.answers == ["presence a", "pong b"]
        assert all(client.paused)


async def test_an_idle_client_is_closed_at_once_when_the_worker_drains() -> None:
    async with visiting() as client:
        client.session.close_gracefully(GOING_AWAY)
        assert client.connection.reason is GOING_AWAY


async def test_now_means_that_outstanding_acks_are_not_waited_for() -> None:
    async with visiting() as client:
        client.send(n=1, key="a")
        client.session.close_gracefully(GOING_AWAY, now=True)
        assert client.connection.reason is GOING_AWAY
        assert client.answers == []


async def test_commands_are_executed_in_turn_and_errors_name_them() -> None:
    async with visiting() as client:
        client.send(type="subscribe", channels=["c"], key="1")
        client.send(type="unsubscribe", key="2")
        client.send(type="join", room="more", key="3")
        client.send(type="leave", room="more", key="4")
        client.send(type="leave", room="more", key="5")
        client.send(type="join", room="room", key="6")
        await until(lambda: len(client.answers) == 6)
        answers = ["subscribed 1", "subscribed 2", "welcome 3", "left 4", "error 5", "error 6"]
        assert sorted(client.answers) == sorted(answers)
        errors = {event["key"]: event for event in client.connection.events if event["type"] == "error"}
        assert (errors["5"]["code"], errors["5"]["about"]) == ("not_joined", "leave")
        assert (errors["6"]["code"], errors["6"]["about"]) == ("already_joined", "join")


class OtherProtocol(NativeCodec):
    """A protocol whose clients can move and detect, which those of the native one cannot."""

    def decode(self, frame: Frame) -> Command:
        return Move("next", "m") if frame.data == b"move" else Detect("room", key="d")


async def test_a_protocol_may_have_commands_that_the_native_one_has_not() -> None:
    async with visiting() as neighbour:
        connection, codec = FakeConnection(), OtherProtocol()
        ticket = neighbour.worker.admit("here", "other")
        session = Session(connection, neighbour.worker, CodecPair(codec, codec), ticket)
        await session.enter(lambda: JoinRequest("first", "q"))
        session.received(Frame(b"move"))
        session.received(Frame(b"detect"))
        await until(lambda: len(connection.events) == 3)
        _, moved, detected = connection.events
        assert (moved["room"], moved["key"]) == ("next", "m")
        assert detected == {"type": "presence", "present": True, "key": "d"}
        session.end(goodbye=True)
        session.close_gracefully(GOING_AWAY)
        assert connection.reason is None


# Limits and errors.


async def test_errors_about_frames_over_a_limit_repeat_their_key() -> None:
    async with visiting(max_message=1024, message_rate=1e-3, message_delay=0) as client:
        for _ in range(8):
            client.send(type="ping")  # eight of the ten messages that may come at once
        client.send(key="a", text="x" * 1024)
        client.send(type="ping", key="b")
        client.send(type="ping", key="c")
        client.send(n=1, key="d")
        errors = [(event.get("code"), event.get("about"), event["key"]) for event in client.connection.events[9:]]
        assert errors == [
            ("too_large", "envelope", "a"),
            (None, None, "b"),
            ("too_fast", "ping", "c"),
            ("too_fast", "envelope", "d"),
        ]
        for _ in range(200):
            client.send(n=1)
        assert client.connection.reason is TOO_FAST


async def test_a_request_that_waits_is_checked_against_the_rate_when_it_is_served() -> None:
    async with visiting(message_rate=1e-3, message_delay=0) as client:
        client.send(type="presence", key="a", limit=1)
        for number in range(12):
            client.send(type="ping", key=str(number))
        client.send(type="dance", key="z")
        await until(lambda: len(client.answers) == 14)
        # Of ten messages, the presence counts as a little more than one, as it names a member.
        assert client.answers[:9] == ["presence a", *(f"pong {number}" for number in range(8))]
        assert [(event["code"], event["key"]) for event in client.connection.events[10:]] == [
            ("too_fast", "8"),
            ("too_fast", "9"),
            ("too_fast", "10"),
            ("too_fast", "11"),
            ("too_fast", "z"),
        ]


async def test_a_burst_above_the_rate_is_delayed_and_loses_nothing() -> None:
    async with visiting(message_rate=100) as client:  # of which two hundred may come at once
        for number in range(230):
            client.send(n=number, key=str(number))
        client.send(type="ping", key="end")
        assert client.paused[-1] is True
        await until(lambda: len(client.answers) == 231)
        acks = [answer for answer in client.answers if answer != "pong end"]
        assert acks == [f"ack {number}" for number in range(230)]
        assert client.paused[-1] is False
        assert client.worker.metrics.of("native").delays > 0


async def test_bytes_above_the_rate_are_delayed_too() -> None:
    async with visiting(message_rate=1000, byte_rate=1_000_000) as client:
        for number in range(23):
            client.send(text="x" * 100_000, key=str(number))
        assert client.paused[-1] is True
        await until(lambda: len(client.answers) == 23)
        assert client.answers == [f"ack {number}" for number in range(23)]


async def test_a_client_that_stays_above_the_rate_is_refused_and_then_closed() -> None:
    async with visiting(message_rate=20, message_delay=0.2) as client:
        for number in range(60):
            client.send(type="ping", key=str(number))
        await until(lambda: len(client.answers) == 60)
        errors = [answer for answer in client.answers if answer.startswith("error")]
        # Forty at once, and four in the time for which the others were delayed.
        assert 10 <= len(errors) <= 17
        assert client.paused[-1] is False
        for number in range(200):
            client.send(type="ping", key=str(number))
        assert client.connection.reason is TOO_FAST


async def test_messages_of_a_client_that_left_are_served_at_its_rate() -> None:
    async with Worker(Settings(message_rate=100)) as worker:
        witness, client = Client(worker), Client(worker)
        await witness.session.enter(lambda: JoinRequest("room", "w"))
        await client.session.enter(lambda: JoinRequest("room", "p"))
        for number in range(220):
            client.send(n=number)
        client.session.disconnected(1000, None)
        await until(lambda: len(witness.connection.events) == 221)
        await until_members(worker, "room", {"w": False})


async def test_large_messages_count_as_several_in_flight() -> None:
    async with visiting(max_inflight_publishes=4) as client:
        client.send(text="x" * 65_536, key="a")
        client.send(type="ping", key="b")
        assert client.answers == []
        assert client.paused == [True]
        await until(lambda: len(client.answers) == 2)
        assert client.answers == ["ack a", "pong b"]


async def test_a_gateway_may_pass_commands_that_no_codec_decoded() -> None:
    async with visiting() as client:
        client.send(type="presence", key="a")
        client.session.execute(Ping(key="b"))
        client.session.execute(BadFrame("bad_command", about="dance", key="c"))
        await until(lambda: len(client.answers) == 3)
        assert client.answers == ["presence a", "pong b", "error c"]


async def test_sessions_of_one_connection_share_a_message_rate_and_leave_the_accounting_to_its_owner() -> None:
    async with Worker(Settings(message_rate=1e-3, message_delay=0)) as worker:
        ticket = worker.admissions.admit("here", "native")
        connections = [FakeConnection(), FakeConnection()]
        sessions = [Session(connection, worker, CODECS, ticket) for connection in connections]
        for number, session in enumerate(sessions):
            await session.enter(lambda number=number: JoinRequest("room", f"p{number}"))
        assert len(worker.clients) == 0
        for session in sessions * 6:
            session.received(Frame(b'{"type":"ping"}'))
        types = [[event["type"] for event in connection.events[1:]] for connection in connections]
        assert types == [["pong"] * 5 + ["error"]] * 2
        for session in sessions:
            session.end(goodbye=True)


async def test_a_fault_in_a_command_closes_the_connection_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with visiting() as client:

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        client.worker.publish_for = fail
        client.send(n=1)
        assert client.connection.reason is INTERNAL
        assert "ZeroDivisionError" in caplog.text


async def test_a_fault_in_a_command_that_waits_for_redis_closes_the_connection() -> None:
    async with visiting() as client:

        async def fail(*_: object) -> None:
            raise ZeroDivisionError

        client.worker.list_members = fail  # type: ignore[method-assign, assignment]
        logging.getLogger("relay.session").disabled = True
        try:
            client.send(type="presence")
            await until(lambda: client.connection.reason)
        finally:
            logging.getLogger("relay.session").disabled = False
        assert client.connection.reason is INTERNAL


@pytest.mark.parametrize(("error", "code"), [(Replaced(), "replaced"), (NotMember(), "not_joined")])
async def test_a_publish_that_fails_is_answered_with_its_error(error: RelayError, code: str) -> None:
    async with visiting() as client:
        client.worker.publish_for = lambda receiver, member, command: receiver.published(member, command, error)
        client.send(n=1, key="a")
        assert client.answers == ["error a"]
        assert client.connection.events[-1]["code"] == code
        assert client.connection.events[-1]["about"] == "envelope"


# Acknowledgements.


async def test_an_ack_comes_after_the_events_before_it() -> None:
    async with visiting() as neighbour:
        client = Client(neighbour.worker)
        await client.session.enter(lambda: JoinRequest("room", "q", echo=True))
        neighbour.send(n=1)
        client.send(n=2, key="a")
        neighbour.send(n=3)
        await until(lambda: len(client.connection.events) == 5)
        assert [event.get("n", "ack") for event in client.connection.events[1:]] == [1, 2, "ack", 3]


async def test_a_message_whose_delivery_is_not_seen_in_time_is_an_error_under_its_key() -> None:
    async with visiting(publish_timeout=0.05, max_inflight_publishes=1) as client:
        waiting = hold_deliveries(client.worker)
        client.send(n=1, key="a")
        client.send(n=2)
        assert client.paused == [True]
        await until(lambda: client.answers)
        assert client.answers == ["error a"]
        assert client.connection.events[-1]["code"] == "outcome_unknown"
        await until(lambda: client.paused[-1] is False)
        for callback in waiting:
            callback()
        assert client.answers == ["error a"]


async def test_a_repeat_of_a_message_whose_delivery_was_not_seen_is_acknowledged_with_its_first_id() -> None:
    async with visiting(publish_timeout=0.05) as client:
        waiting = hold_deliveries(client.worker)
        client.send(n=1, key="a")
        await until(lambda: client.answers)
        client.send(n=1, key="a")
        client.send(n=2)
        await until(lambda: len(waiting) == 2)
        waiting[1]()
        assert client.answers == ["error a", "ack a"]
        assert MessageId.parse(client.connection.events[-1]["id"]).seq == 2  # the join, the message


# The end.


@pytest.mark.parametrize(("code", "held"), [(1000, False), (1001, False), (1005, False), (1006, True), (1002, True)])
async def test_messages_of_a_client_that_goes_are_sent_and_then_it_leaves(code: int, held: bool) -> None:
    async with visiting(max_inflight_publishes=2) as listener:
        going = Client(listener.worker)
        await going.session.enter(lambda: JoinRequest("room", "q"))
        going.send(type="presence")
        for number in range(5):
            going.send(n=number)
        going.session.disconnected(code, None)
        await until(lambda: len(listener.connection.events) == 6)
        assert [event["n"] for event in listener.connection.events[1:]] == list(range(5))
        await until_members(listener.worker, "room", {"p": False} | ({"q": True} if held else {}))


async def test_requests_that_wait_are_dropped_when_the_relay_closes_the_connection() -> None:
    async with visiting() as client:
        going = Client(client.worker)
        await going.session.enter(lambda: JoinRequest("room", "q"))
        going.send(type="presence")
        going.send(n=1)
        going.connection.close(TOO_FAST)
        going.session.disconnected(1006, None)
        await until_members(client.worker, "room", {"p": False, "q": True})
        assert len(client.connection.events) == 1


@pytest.mark.parametrize(
    ("code", "relay_closed", "label"),
    [(1000, None, "client"), (1006, None, "lost"), (1006, "pong_timeout", "pong_timeout"), (1002, None, "lost")],
)
async def test_the_end_is_counted_by_its_reason_and_the_ticket_released(
    code: int, relay_closed: str | None, label: str
) -> None:
    async with Worker(Settings(connections_per_address=1)) as worker:
        client = Client(worker)
        await client.session.enter(lambda: JoinRequest("room", "p"))
        assert len(worker.clients) == 1
        client.session.disconnected(code, relay_closed)
        assert len(worker.clients) == 0
        assert len(worker.admissions) == 0
        worker.admit("here", "native").release()
        assert worker.metrics.closed.labels(label)._value.get() == 1


async def test_a_client_whose_protocol_cannot_resume_is_not_held() -> None:
    async with visiting() as client:
        going = Client(client.worker)
        await going.session.enter(lambda: JoinRequest("room", "q", can_resume=False))
        going.session.disconnected(1006, None)
        await until_members(client.worker, "room", {"p": False})


async def test_clients_that_are_lost_as_the_worker_stops_are_held_like_others() -> None:
    async with Worker(Settings()) as worker:
        clients = [Client(worker) for _ in range(30)]
        for number, client in enumerate(clients):
            await client.session.enter(lambda number=number: JoinRequest("room", f"p{number}"))
        for client in clients:
            client.session.disconnected(1006, None)
    assert [one.held for one in (await worker.roster("room")).members] == [True] * 30


async def come_and_go(worker: Worker, count: int) -> None:
    """Clients that use every part of a session, of which half say goodbye and half are lost."""
    clients = [Client(worker) for _ in range(count)]
    for number, client in enumerate(clients):
        await client.session.enter(lambda number=number: JoinRequest(f"room{number // 2}", f"p{number}"))
        client.send(type="join", room="other", key="j")
        client.send(type="presence")
        client.send(type="dance")
        client.send(n=1)
        client.send(n=2, key="a")
    for client in clients:
        await until(lambda client=client: "ack a" in client.answers)
    for number, client in enumerate(clients):
        client.session.disconnected(1000 if number % 2 else 1006, None)


async def test_a_hundred_closed_sessions_are_freed_by_reference_counts_alone() -> None:
    def alive() -> int:
        kinds = (WebSocketSession, Inbox, JoinedRooms, Member, Acknowledgements, FakeConnection)
        return sum(type(one) in kinds for one in gc.get_objects())

    async with Worker(Settings(publish_timeout=0.05)) as worker:
        gc.collect()
        before = alive()  # objects that earlier tests have left behind
        gc.disable()
        try:
            await come_and_go(worker, 100)
            async with asyncio.timeout(5):
                while alive() > before:
                    await asyncio.sleep(0.01)
        finally:
            gc.enable()


async def test_actions_of_a_client_are_counted_for_its_protocol() -> None:
    async with Worker(Settings()) as worker:
        here, other = worker.metrics.of("native"), worker.metrics.of("other")
        client = Client(worker)
        await client.session.enter(lambda: JoinRequest("room", "a"))
        assert (here.connections, here.sessions) == (1, 1)
        client.session.received(Frame(b'{"message":1}'))
        client.session.received(Frame(b"no JSON"))
        assert (here.messages_in, here.bytes_in) == (2, 20)
        value = worker.metrics.registry.get_sample_value
        assert value("relay_errors_total", {"protocol": "native", "code": "bad_json"}) == 1
        client.session.disconnected(1000, None)
        client.session.end(goodbye=True)
        assert (here.connections, here.sessions) == (0, 0)
        assert (other.connections, other.sessions, other.messages_in) == (0, 0, 0)


async def test_a_name_that_a_codec_refuses_is_an_error_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(incoming: Frame) -> Command:
        return Ping(escape_room(incoming.text))

    async with visiting() as client:
        monkeypatch.setattr(client.session, "_codec", SimpleNamespace(decode=decode, encode=CODECS.own.encode))
        client.session.received(Frame(b".."))
        assert client.connection.events[-1]["code"] == "bad_room"
        assert client.connection.reason is None
        client.session.received(Frame(b"room"))
        assert client.connection.events[-1]["type"] == "pong"
