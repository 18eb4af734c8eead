"""Frames, membership, the end of a connection and tokens, over memory."""

import asyncio
import json
import time
from dataclasses import replace

import pytest

from relay.backend.memory.trees import MemoryTrees
from relay.config import Settings
from relay.gateways.firebase import session
from relay.gateways.firebase.codec import LossFrame
from relay.model.envelope import MessageId
from relay.model.errors import UNAVAILABLE, UNFINISHED, Unavailable
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.firebase.page import Page, recorded_end


async def count(worker: Worker, room: str = "room") -> int:
    return (await worker.roster(room)).count


async def until_count(worker: Worker, number: int) -> None:
    async with asyncio.timeout(5):
        while await count(worker) != number:
            await asyncio.sleep(0)


async def test_the_hello_names_the_host_of_the_client(worker: Worker) -> None:
    page = await Page(worker).start()
    hello = page.frames[0]
    assert (hello["t"], hello["d"]["t"], hello["d"]["d"]["v"], hello["d"]["d"]["h"]) == (
        "c",
        "h",
        "5",
        "relay.example:8888",
    )
    page.send("0")
    page.send('{"t":"c","d":{"t":"p","d":{}}}')
    assert page.frames[1:] == [{"t": "c", "d": {"t": "o", "d": None}}]


async def test_asking_makes_no_member_and_writing_does(worker: Worker) -> None:
    page = await Page(worker).start()
    assert await page.ask("q", "/room", h="") == "ok"
    assert await page.ask("n", "/room") == "ok"
    assert await page.ask("g", "/room", q={}) == "ok"
    assert await count(worker) == 0
    assert await page.ask("p", "/room/x", d=1) == "ok"
    assert await count(worker) == 1


async def test_a_listen_that_lasts_makes_a_member_and_misses_nothing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LASTING", 0.01)
    listener, writer = await Page(worker).start(), await Page(worker).start()
    assert await listener.ask("q", "/room", h="") == "ok"
    assert await writer.ask("p", "/room/a", d=1) == "ok"
    await until_count(worker, 2)
    await until(lambda: ("d", "room", {"a": 1}) in listener.pushes)
    assert await writer.ask("p", "/room/b", d=2) == "ok"
    await until(lambda: ("d", "room/b", 2) in listener.pushes)
    assert [push for push in listener.pushes if push[2] is not None] == [("d", "room", {"a": 1}), ("d", "room/b", 2)]


async def test_the_end_of_a_connection_writes_the_prepared_changes_and_leaves(worker: Worker) -> None:
    ann, ben = await Page(worker).start(), await Page(worker).start()
    assert await ann.ask("p", "/room/ann", d=True) == "ok"
    assert await ann.ask("o", "/room/ann", d=None) == "ok"
    assert await ann.ask("om", "/room", d={"left": {".sv": "timestamp"}, "x": 1}) == "ok"
    assert await ann.ask("oc", "/room/x") == "ok"
    assert await ben.ask("q", "/room", h="") == "ok"
    assert await ben.ask("p", "/room/ben", d=True) == "ok"
    ben.take()
    ann.session.disconnected(1006, None)
    await until(lambda: len(ben.pushes) == 2)
    removed, left = ben.take()
    assert removed == ("d", "room/ann", None)
    assert left[1] == "room/left"
    assert left[2] > 1_600_000_000_000
    await until_count(worker, 1)


@pytest.mark.parametrize("left", [{}, {"x": b"1"}])
async def test_after_a_loss_the_value_is_read_anew_also_if_it_is_an_older_one(
    worker: Worker, left: dict[str, bytes]
) -> None:
    page = await Page(worker).start()
    assert await page.ask("p", "/room/x", d=1) == "ok"
    assert await page.ask("p", "/room/y", d=2) == "ok"
    assert await page.ask("q", "/room", h="") == "ok"
    page.take()
    trees = worker.trees._trees
    assert isinstance(trees, MemoryTrees)
    # As after a flush, or after an older snapshot was loaded.
    lost = trees._trees.pop("room")
    if left:
        trees._trees["room"] = replace(lost, leaves=left, version=MessageId(0, 1))
    page.session.deliver(LossFrame("room", MessageId(1, 1)))
    await until(lambda: page.pushes)
    assert page.take() == [("d", "room", {"x": 1} if left else True)]
    assert await page.ask("p", "/room/z", d=3) == "ok"
    assert page.take() == [("d", "room/z", 3)]


async def test_after_a_loss_the_prepared_changes_are_recorded_again(worker: Worker) -> None:
    """By them, another worker finds the changes if this one is killed."""
    page = await Page(worker).start()
    assert await page.ask("o", "/room/x", d=1) == "ok"
    trees = worker.trees._trees
    assert isinstance(trees, MemoryTrees)
    trees._rooms.prepared.clear()
    page.session.deliver(LossFrame("room", MessageId(1, 1)))
    await until(lambda: trees._rooms.prepared)
    assert page.connection.reason is None


async def test_a_listen_that_has_just_begun_makes_no_member_of_its_room(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`once` asks about one room after the other, while an earlier listen lasts, or has lasted."""
    monkeypatch.setattr(session, "LASTING", 0.05)
    page, began = await Page(worker).start(), asyncio.get_running_loop().time()
    assert await page.ask("q", "/lasting", h="") == "ok"
    number = 0
    while not await count(worker, "lasting"):
        number += 1
        assert await page.ask("q", f"/room{number}", h="") == "ok"
        assert await page.ask("n", f"/room{number}") == "ok"
    assert asyncio.get_running_loop().time() - began >= 0.05
    last = f"room{number + 1}"
    assert await page.ask("q", f"/{last}", h="") == "ok"
    assert [await count(worker, f"room{one + 1}") for one in range(number)] == [0] * number
    page.session.deliver(LossFrame("lasting", MessageId(1, 1)))
    page.session.execute(session.Settle())
    assert await page.ask("q", "/other", h="") == "ok"
    assert await page.ask("n", "/other") == "ok"
    async with asyncio.timeout(5):
        while not await count(worker, last):
            await asyncio.sleep(0)
    assert asyncio.get_running_loop().time() - began >= 0.1
    assert await count(worker, "other") == 0


# Bad input.


async def test_parts_that_never_end_close_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Worker(Settings(message_timeout=1, message_rate=10_000)) as worker:
        page = await Page(worker).start()
        page.send("999999")
        for _ in range(20):
            page.send("x" * 1000)
        assert page.session._parts is not None
        assert worker.admissions.buffers.everything.total == 20_000
        page.session._drop_parts()
        assert page.connection.reason is UNFINISHED
        assert worker.admissions.buffers.everything.total == 0


async def test_a_message_in_parts_that_is_too_large_is_refused(worker: Worker) -> None:
    page = await Page(worker).start()
    text = json.dumps(
        {"t": "d", "d": {"r": 7, "a": "p", "b": {"p": "/room/x", "d": "x" * 1_600_000}}}, separators=(",", ":")
    )
    parts = [text[at : at + 16_384] for at in range(0, len(text), 16_384)]
    page.send(str(len(parts)))
    for part in parts:
        page.send(part)
    assert (await page.answer(7))["s"] == "too_large"
    assert await page.ask("p", "/room/x", d=1) == "ok"


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        "1234567",
        '{"t":"x"}',
        '{"t":"d","d":[]}',
        '{"t":"d","d":{"a":"q"}}',
        '{"t":"d","d":{"r":"1","a":"q"}}',
        '{"t":"c","d":3}',
        '{"t":"d"}',
        '{"t":"d","d":{"r":1,"a":"p","b":{"p":3}}}',
        '{"t":"d","d":' + "[" * 300 + "]" * 300 + "}",
    ],
)
async def test_a_frame_that_cannot_be_read_is_logged_by_the_client(worker: Worker, text: str) -> None:
    page = await Page(worker).start()
    page.send(text)
    assert page.frames[-1]["t"] == "c"
    assert page.frames[-1]["d"]["t"] == "e"
    assert await page.ask("g", "/room") == "ok"


# Tokens.


async def test_a_token_is_asked_for_and_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Worker(Settings(auth="required", auth_secret=SECRET)) as worker:
        page = await Page(worker).start()
        for action in ("q", "g", "p", "m", "o"):
            assert await page.ask(action, "/room", d={}) == "permission_denied"
        assert await page.ask("auth", cred="x") == "bad_token"
        reader = token(sub="ann", rooms=[{"room": "room", "can": ["join"]}])
        answer = await page.answer(page.request("auth", cred=reader))
        assert answer == {"s": "ok", "d": {"auth": {"uid": "ann"}}}
        assert await page.ask("q", "/room") == "ok"
        assert await page.ask("p", "/room/x", d=1) == "permission_denied"
        assert await page.ask("o", "/room/x", d=1) == "permission_denied"
        assert await page.ask("g", "/other") == "permission_denied"
        assert await page.ask("auth", cred=token(sub="ben", rooms=[{"room": "room"}])) == "permission_denied"
        assert await page.ask("auth", cred=token(sub="ann", rooms=[{"room": "room"}])) == "ok"
        assert await page.ask("p", "/room/x", d=1) == "ok"
        await until_members(worker, "room", {"ann": False})
        assert await page.ask("unauth") == "ok"
        assert await page.ask("p", "/room/x", d=2) == "permission_denied"
        await until(lambda: ("c", "room", None) in page.pushes)
        await until_members(worker, "room", {})


@pytest.mark.parametrize("sub", ["ann", None])
async def test_a_newer_token_prolongs_the_changes_prepared_for_the_end(sub: str | None) -> None:
    """Else the changes of a client that stays longer than its first token are never made."""
    async with Worker(Settings(auth="required", auth_secret=SECRET)) as worker:
        now = int(time.time())
        claims = {"rooms": [{"room": "room"}]} | ({"sub": sub} if sub else {})
        page = await Page(worker).start(token(exp=now + 100, **claims))
        assert await page.ask("o", "/room/left", d=True) == "ok"
        (peer,) = [member.peer for member in page.session._rooms.memberships()]
        before = recorded_end(worker, peer)
        assert before
        assert await page.ask("auth", cred=token(exp=now + 200, **claims)) == "ok"
        assert recorded_end(worker, peer) == before + 100_000
        assert [member.peer for member in page.session._rooms.memberships()] == [peer]
        assert (await worker.trees.read("room", "left")).leaves == []
        page.session.disconnected(1006, None)
        await until_members(worker, "room", {})
        assert (await worker.trees.read("room", "left")).leaves == [("left", b"true")]


@pytest.mark.parametrize("auth", ["off", "optional"])
@pytest.mark.parametrize("claims", [{}, {"sub": "ann"}])
async def test_a_first_token_ends_nothing_that_is_prepared(auth: str, claims: dict[str, str]) -> None:
    """A page sends one when its user logs in, and is still there."""
    settings = Settings(auth="optional", auth_secret=SECRET) if auth == "optional" else Settings()
    async with Worker(settings) as worker:
        page, other = await Page(worker).start(), await Page(worker).start()
        assert await page.ask("p", "/room/ann", d=True) == "ok"
        assert await page.ask("o", "/room/ann", d=None) == "ok"
        assert await other.ask("p", "/room/ben", d=True) == "ok"
        assert await other.ask("q", "/room", h="") == "ok"
        other.take()
        for _ in range(2):
            assert await page.ask("auth", cred=token(rooms=[{"room": "room"}], **claims)) == "ok"
        (peer,) = [member.peer for member in page.session._rooms.memberships()]
        trees = worker.trees._trees
        assert isinstance(trees, MemoryTrees)
        assert [*trees._rooms.prepared] == [("room", peer)]
        assert other.take() == []
        page.session.disconnected(1006, None)
        await until(lambda: other.pushes)
        assert other.take() == [("d", "room/ann", None)]


async def test_changes_that_cannot_be_recorded_for_another_token_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Worker(Settings(auth="optional", auth_secret=SECRET)) as worker:
        page = await Page(worker).start()
        for room in ("room", "other"):
            assert await page.ask("o", f"/{room}/left", d=True) == "ok"

        async def fail(*_: object, **__: object) -> None:
            raise Unavailable

        monkeypatch.setattr(worker, "join", fail)
        page.request("auth", cred=token(sub="ann", rooms=[{"room": "*"}]))
        await until(lambda: page.connection.reason is not None)
        assert page.connection.reason is UNAVAILABLE
        for room in ("room", "other"):
            async with asyncio.timeout(5):
                while not (await worker.trees.read(room, "left")).leaves:
                    await asyncio.sleep(0)


async def test_a_locked_room_is_read_by_its_members_alone(worker: Worker) -> None:
    from relay.model.rules import RuleChange

    member, other = await Page(worker).start(), await Page(worker).start()
    assert await member.ask("p", "/room/x", d=1) == "ok"
    await worker.rules.change("room", RuleChange(locked=True))
    assert await member.ask("g", "/room/x") == "ok"
    for action in ("g", "q", "p", "o"):
        assert await other.ask(action, "/room/x", d=1) == "permission_denied"


async def test_a_page_that_gives_its_token_later_keeps_its_peer_id() -> None:
    """By that id its next session finds the changes that this one has prepared."""
    async with Worker(Settings(auth="optional", auth_secret=SECRET)) as worker:
        page = await Page(worker).start()
        assert await page.ask("p", "/room/x", d=1) == "ok"
        (before,) = [member.peer for member in page.session._rooms.memberships()]
        assert await page.ask("auth", cred=token(rooms=[{"room": "room"}])) == "ok"
        assert await page.ask("p", "/room/x", d=2) == "ok"
        assert [member.peer for member in page.session._rooms.memberships()] == [before]
        assert await count(worker) == 1


async def test_a_listener_whose_membership_cannot_be_written_connects_anew(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would get no changes, and its client would not know."""
    monkeypatch.setattr(session, "LASTING", 0.01)

    async def fail(*_: object, **__: object) -> None:
        raise Unavailable

    page = await Page(worker).start()
    monkeypatch.setattr(worker, "join", fail)
    assert await page.ask("q", "/room", h="") == "ok"
    await until(lambda: page.connection.reason is not None)
    assert page.connection.reason is UNAVAILABLE
