"""Sessions with auth on: the rights of their clients, the infos of their tokens, and how tokens end."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.join_request import JoinRequest, ObserveRequest, ResumeClaim
from relay.gateways.native.session import NativeSession
from relay.identity.grants import GUEST, Grants, Right, RoomGrant, TokenLimits
from relay.model.codec import Frame
from relay.model.commands import Join, Publish, Refresh
from relay.model.envelope import MessageId
from relay.model.errors import NOT_ADMITTED, TOKEN_EXPIRED, TOKEN_REFUSED, UNAVAILABLE, CloseReason, Refused
from relay.rooms.claim import Claim
from relay.rooms.expiries import Expiries
from relay.rooms.observer import Sight
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import CODECS, Client, FakeConnection, until, until_members

MEMBER = (Right.JOIN, Right.PUBLISH, Right.SEND_DIRECT, Right.PRESENCE)


class FakeAuthority:
    """Knows a few tokens by name."""

    is_off, is_required, url_tokens = False, True, False

    def __init__(self) -> None:
        self.known: dict[str, Grants] = {}
        self.codes: dict[str, str] = {}

    async def grants(self, token: str | None, address: str) -> Grants | None:
        if token is None:
            raise Refused("token_required")
        if token in self.codes:
            raise Refused(self.codes[token])
        return self.known[token]

    def issue(self, token: str, *can: Right, room: str = "demo", **fields: Any) -> str:
        self.known[token] = Grants(rooms=(RoomGrant(room, frozenset(can)),), **fields)
        return token


class Stage:
    def __init__(self, worker: Worker, authority: FakeAuthority) -> None:
        self.worker = worker
        self.authority = authority

    async def enter(self, request: JoinRequest | ObserveRequest) -> Client:
        client = Client(self.worker)
        await client.session.enter(lambda: request)
        return client

    async def member(self, token: str = "member", **fields: Any) -> Client:
        """Let a client with all rights of members enter, or one with these grants."""
        if token not in self.authority.known:
            self.authority.issue(token, *MEMBER, **fields)
        return await self.enter(JoinRequest("demo", token=token))


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    async with Worker(Settings(reconnect_grace=30)) as worker:
        authority = FakeAuthority()
        monkeypatch.setattr(worker, "authority", authority)
        yield Stage(worker, authority)


async def answer(client: Client, **command: Any) -> dict[str, Any]:
    """Send a command, and return the answer with its key."""
    key = f"key{len(client.connection.events)}"
    client.send(key=key, **command)
    await until(lambda: any(event.get("key") == key for event in client.connection.events))
    return next(event for event in client.connection.events if event.get("key") == key)


def last(client: Client) -> dict[str, Any]:
    return client.connection.events[-1]


async def infos(worker: Worker, room: str = "demo") -> dict[str, Any]:
    return {one.peer: json.loads(one.info or b"null") for one in (await worker.roster(room)).members}


# Entering.


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("bad_token", TOKEN_REFUSED),
        ("token_expired", TOKEN_REFUSED),
        ("token_not_yet_valid", TOKEN_REFUSED),
        ("keys_unavailable", UNAVAILABLE),
    ],
)
async def test_a_client_whose_token_is_refused_gets_the_error_and_is_closed(
    stage: Stage, code: str, reason: CloseReason
) -> None:
    stage.authority.codes["token"] = code
    client = await stage.enter(JoinRequest("demo", token="token"))
    assert last(client)["code"] == code
    assert client.connection.reason is reason
    assert await infos(stage.worker) == {}


async def test_a_client_without_a_token_or_the_right_does_not_get_in(stage: Stage) -> None:
    client = await stage.enter(JoinRequest("demo"))
    assert (last(client)["code"], client.connection.reason) == ("token_required", TOKEN_REFUSED)
    stage.authority.issue("narrow", Right.PUBLISH)
    client = await stage.enter(JoinRequest("demo", token="narrow"))
    assert (last(client)["code"], client.connection.reason) == ("not_granted", NOT_ADMITTED)
    stage.authority.issue("ann", *MEMBER, subject="ann", peers="ann")
    client = await stage.enter(JoinRequest("demo", "bob", token="ann"))
    assert (last(client)["code"], client.connection.reason) == ("wrong_peer", NOT_ADMITTED)


async def test_the_admin_token_may_do_everything() -> None:
    settings = Settings(admin_token="s3cret", auth="required", auth_secret="x" * 32, token_attempts=1)
    async with Worker(settings) as worker:
        stage = Stage(worker, FakeAuthority())
        client = await stage.enter(JoinRequest("demo", token="s3cret"))
        assert client.connection.events[0]["type"] == "welcome"
        watcher = await stage.enter(ObserveRequest("demo", Sight.COUNTS, token="s3cret"))
        assert watcher.connection.events[0]["members"]
        # A wrong one gets the error of a client's token; clients that guess are stopped.
        client = await stage.enter(JoinRequest("demo", token="guess"))
        assert last(client)["code"] == "bad_token"
        client = await stage.enter(JoinRequest("demo", token="s3cret"))
        assert last(client)["code"] == "too_many_attempts"


async def test_the_token_decides_the_peer_id(stage: Stage) -> None:
    ann = await stage.member("ann", subject="ann-*", peers="ann-*")
    assert ann.connection.events[0]["peer"].startswith("ann-")
    stage.authority.issue("bob", *MEMBER, room="*", subject="bob", peers="bob")
    bob = await stage.member("bob")
    assert bob.connection.events[0]["peer"] == "bob"
    assert (await answer(bob, type="join", room="more"))["peer"] == "bob"


async def test_options_that_a_join_may_not_have_are_left_out_and_told(stage: Stage) -> None:
    stage.authority.issue("narrow", Right.JOIN, room="*")
    client = await stage.enter(JoinRequest("demo", presence=True, token="narrow"))
    welcome, error = client.connection.events
    assert "members" not in welcome
    assert (error["code"], error["about"], error["room"]) == ("not_granted", "presence", "demo")
    welcome = await answer(client, type="join", room="more", presence=True)
    assert (welcome["type"], "members" in welcome) == ("welcome", False)
    await until(lambda: last(client).get("about") == "presence")
    assert last(client)["room"] == "more"
    other = await stage.member("other")
    await asyncio.sleep(0.03)
    assert other.connection.events
    assert all(event["type"] != "presence" for event in client.connection.events)


async def test_a_claim_of_another_client_is_dropped(stage: Stage) -> None:
    bob = await stage.member("bob", subject="bob", peers="bob")
    key = bob.connection.events[0]["resume"]
    bob.session.disconnected(1006, None)
    stage.authority.issue("ann", *MEMBER, subject="ann", peers="ann")
    claim = ResumeClaim("demo", "bob", key, MessageId(0, 0))
    ann = await stage.enter(JoinRequest("demo", claim=claim, token="ann"))
    assert (ann.connection.events[0]["peer"], ann.connection.events[0]["resumed"]) == ("ann", False)
    again = await stage.enter(JoinRequest("demo", claim=replace(claim, since=None), token="bob"))
    assert (again.connection.events[0]["peer"], again.connection.events[0]["resumed"]) == ("bob", True)


# Commands.


async def test_a_command_that_is_not_granted_is_an_error_under_its_key(stage: Stage) -> None:
    stage.authority.issue("narrow", Right.JOIN)
    client = await stage.enter(JoinRequest("demo", token="narrow"))
    commands: Sequence[dict[str, Any]] = [
        {"message": "x"},
        {"message": "x", "to": "bob"},
        {"type": "presence"},
        {"type": "presence", "room": "other"},
        {"type": "join", "room": "other"},
    ]
    for command in commands:
        error = await answer(client, **command)
        assert (error["type"], error["code"]) == ("error", "not_granted"), command
    assert client.connection.reason is None
    assert (await answer(client, type="info", info={"a": 1}))["type"] == "info"
    assert (await answer(client, type="ping"))["type"] == "pong"


async def test_topics_are_joined_with_the_rights_and_the_id_of_the_token(stage: Stage) -> None:
    rooms = (RoomGrant("demo"), RoomGrant("demo%2Fgood"))
    stage.authority.known["ann"] = Grants(subject="ann", peers="ann", rooms=rooms)
    connection = FakeConnection()
    ticket = stage.worker.admissions.admit("here", "native")
    session = NativeSession(connection, stage.worker, CODECS, ticket)
    await session.enter(lambda: JoinRequest("demo", token="ann"))
    session.received(Frame(b'{"type":"subscribe","topics":["bad","good"]}'))
    await until(lambda: connection.events[-1]["type"] == "welcome" and len(connection.events) > 2)
    assert [event["code"] for event in connection.events if event["type"] == "error"] == ["not_granted"]
    assert connection.events[-1]["peer"] == "ann"
    session.received(Frame(b'{"type":"publish","topic":"bad","data":1,"key":"k"}'))
    assert connection.events[-1]["code"] == "not_granted"


async def test_a_session_never_begins_before_its_token_was_checked(stage: Stage) -> None:
    client = Client(stage.worker)
    with pytest.raises(RuntimeError, match="token"):
        client.session.begin("peer")
    stage.authority.issue("ann", *MEMBER, subject="ann", peers="ann")
    await client.session.authenticate("ann")
    client.session.begin("")
    assert (await answer(client, type="join", room="demo"))["peer"] == "ann"


# Limits.


async def test_a_token_may_limit_the_messages_and_the_rooms_of_its_client(stage: Stage) -> None:
    stage.authority.issue("ann", *MEMBER, room="*", limits=TokenLimits(message_rate=1, rooms=2))
    client = await stage.member("ann")
    assert (await answer(client, type="join", room="a"))["type"] == "welcome"
    assert (await answer(client, type="join", room="b"))["code"] == "too_many_rooms"
    pace = client.ticket.pace()
    assert (pace._rate, pace._burst) == (1, 10)
    stage.authority.known["more"] = replace(stage.authority.known["ann"], limits=TokenLimits(rooms=3))
    await answer(client, type="refresh", token="more")
    assert (pace._rate, pace._burst) == (stage.worker.settings.message_rate, stage.worker.settings.message_burst)
    assert (await answer(client, type="join", room="b"))["type"] == "welcome"


# The info for which a token vouches.


async def test_others_see_the_info_for_which_the_token_vouches(stage: Stage) -> None:
    fields = {"subject": "ann", "peers": "ann", "info": b'{"name":"Ann"}'}
    ann = await stage.member("ann", **fields)
    assert await infos(stage.worker) == {"ann": {"$token": {"name": "Ann"}}}
    await answer(ann, type="info", info={"muted": True})
    assert await infos(stage.worker) == {"ann": {"$token": {"name": "Ann"}, "muted": True}}
    assert (await answer(ann, type="info", info={"$token": {"name": "Bob"}}))["code"] == "bad_info"
    await answer(ann, type="info", info=None)
    assert await infos(stage.worker) == {"ann": {"$token": {"name": "Ann"}}}
    assert (await answer(ann, type="info", info={"x": "x" * 1000}))["code"] == "bad_info"


async def test_the_info_follows_the_newer_token_also_over_a_resume(stage: Stage) -> None:
    stage.authority.issue("old", *MEMBER, subject="ann", peers="ann", info=b'{"v":1}')
    stage.authority.issue("new", *MEMBER, subject="ann", peers="ann", info=b'{"v":2}')
    stage.authority.issue("none", *MEMBER, subject="ann", peers="ann")
    ann = await stage.enter(JoinRequest("demo", info=b'{"own":1}', token="old"))
    assert await infos(stage.worker) == {"ann": {"$token": {"v": 1}, "own": 1}}
    assert (await answer(ann, type="refresh", token="new"))["type"] == "refreshed"
    assert await infos(stage.worker) == {"ann": {"$token": {"v": 2}, "own": 1}}
    for token, seen in [("old", {"$token": {"v": 1}, "own": 1}), ("none", {"own": 1})]:
        key = [event["resume"] for event in ann.connection.events if event["type"] == "welcome"][-1]
        ann.session.disconnected(1006, None)
        ann = await stage.enter(JoinRequest("demo", "ann", resume=key, token=token))
        assert ann.connection.events[0]["resumed"]
        assert await infos(stage.worker) == {"ann": seen}


async def test_a_newer_token_whose_info_finds_no_room_replaces_nothing(stage: Stage) -> None:
    stage.authority.issue("old", *MEMBER, subject="ann", peers="ann", info=b'{"v":1}')
    stage.authority.issue("large", Right.JOIN, subject="ann", peers="ann", info=b'{"v":"%b"}' % (b"v" * 400))
    own = "x" * 700
    ann = await stage.enter(JoinRequest("demo", info=b'{"own":"%b"}' % own.encode(), token="old"))
    error = await answer(ann, type="refresh", token="large")
    assert (error["code"], error["about"]) == ("bad_info", "refresh")
    assert await infos(stage.worker) == {"ann": {"$token": {"v": 1}, "own": own}}
    assert (await answer(ann, message="x"))["type"] == "ack"


# A newer token.


async def test_a_newer_token_takes_rights_away_at_once(stage: Stage) -> None:
    stage.authority.issue("all", *MEMBER, room="*")
    stage.authority.issue("less", Right.JOIN, room="demo")
    client = await stage.enter(JoinRequest("demo", presence=True, token="all"))
    await answer(client, type="join", room="more")
    assert (await answer(client, type="refresh", token="less"))["type"] == "refreshed"
    told = [(event["about"], event["room"]) for event in client.connection.events if event.get("code") == "not_granted"]
    assert told == [("presence", "demo"), ("refresh", "more")]
    await until(lambda: any(event["type"] == "left" for event in client.connection.events))
    assert (await answer(client, message="x"))["code"] == "not_granted"
    await stage.member("other")
    await asyncio.sleep(0.03)
    assert all(event.get("type") != "presence" for event in client.connection.events)
    assert await infos(stage.worker, "more") == {}


async def test_a_client_that_may_not_be_in_its_own_room_any_more_is_closed(stage: Stage) -> None:
    client = await stage.member()
    stage.authority.issue("other", *MEMBER, room="other")
    client.send(type="refresh", token="other", key="k")
    await until(lambda: client.connection.reason)
    assert client.connection.reason is NOT_ADMITTED
    assert last(client)["code"] == "not_granted"
    client.session.disconnected(4505, "not_admitted")
    # It is not held: it may not come back.
    await until_members(stage.worker, "demo", {})


@pytest.mark.parametrize(("less", "closed"), [((Right.OBSERVE, Right.PRESENCE), False), ((Right.OBSERVE,), True)])
async def test_an_observer_is_closed_when_its_newer_token_shows_less(
    stage: Stage, less: tuple[Right, ...], closed: bool
) -> None:
    stage.authority.issue("watcher", Right.OBSERVE, Right.PRESENCE)
    stage.authority.issue("less", *less)
    client = await stage.enter(ObserveRequest("demo", Sight.COUNTS, token="watcher"))
    client.send(type="refresh", token="less", key="k")
    await until(lambda: client.connection.reason or last(client).get("key") == "k")
    assert (client.connection.reason is NOT_ADMITTED) is closed


async def test_a_token_of_another_subject_or_one_that_is_not_valid_replaces_nothing(stage: Stage) -> None:
    client = await stage.member("ann", subject="ann", peers="*")
    stage.authority.issue("bob", *MEMBER, subject="bob", peers="*")
    stage.authority.codes["old"] = "token_expired"
    stage.authority.known["guest"] = GUEST
    for token, code in [("bob", "wrong_peer"), ("old", "token_expired"), ("guest", "token_required")]:
        error = await answer(client, type="refresh", token=token)
        assert (error["code"], error["about"]) == (code, "refresh")
    assert (await answer(client, message="x"))["type"] == "ack"


async def test_with_auth_off_a_refresh_changes_nothing() -> None:
    async with Worker(Settings()) as worker:
        client = await Stage(worker, FakeAuthority()).enter(JoinRequest("demo", token="nonsense"))
        assert client.session._guard is None
        assert await answer(client, type="refresh", token="nonsense") == {"type": "refreshed", "key": "key1"}


# The end.


async def test_a_client_is_warned_and_then_closed_and_held(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that the test sets: a busy machine may have no time for the test between the warning and the end.
    now = time.time()
    monkeypatch.setattr(stage.worker, "expiries", Expiries(lambda: now))
    client = await stage.member("ann", subject="ann", peers="ann", expires=now + 2)
    now += 1.6
    await until(lambda: last(client)["type"] == "token_expiring")
    assert client.connection.reason is None
    now += 0.4
    await until(lambda: client.connection.reason)
    warning, error = client.connection.events[1:]
    assert (warning["type"], 0 < warning["in"] < 2) == ("token_expiring", True)
    assert error["code"] == "token_expired"
    assert client.connection.reason is TOKEN_EXPIRED
    client.session.disconnected(1005, "token_expired")
    await until_members(stage.worker, "demo", {"ann": True})


async def test_a_newer_token_in_time_keeps_the_connection(stage: Stage) -> None:
    ends = time.time() + 2
    client = await stage.member("ann", expires=ends)
    stage.authority.issue("newer", *MEMBER, expires=ends + 100)
    assert (await answer(client, type="refresh", token="newer"))["expires"] == ends + 100
    assert len(stage.worker.expiries) == 1
    while time.time() < ends + 0.05:
        await asyncio.sleep(0.01)
    assert client.connection.reason is None
    stage.authority.issue("for ever", *MEMBER)
    assert "expires" not in await answer(client, type="refresh", token="for ever")
    assert len(stage.worker.expiries) == 0


async def test_a_client_that_goes_leaves_no_expiry_behind(stage: Stage) -> None:
    client = await stage.member("ann", expires=time.time() + 100)
    assert len(stage.worker.expiries) == 1
    client.session.disconnected(1000, None)
    assert len(stage.worker.expiries) == 0


def test_no_token_and_no_password_is_in_the_text_of_a_value() -> None:
    secret = "s3cret"
    values = [
        Refresh(secret),
        Join("demo", password=secret),
        JoinRequest("demo", token=secret, password=secret),
        ObserveRequest("demo", Sight.COUNTS, token=secret),
        Claim(secret, password=secret),
    ]
    assert all(secret not in repr(value) for value in values)
    assert "message" in repr(Publish(b"message"))
