"""Coming back after a lost connection: unasked, into the room, with ownership; and attempts of strangers."""

from __future__ import annotations

import asyncio

import pytest

from relay.gateways.socketio.apps.rmc3.early_events import MOST
from relay.model.envelope import BEFORE_ALL, MessageId
from relay.model.errors import GOING_AWAY, PONG_TIMEOUT, SLOW, CloseReason
from tests.unit.gateways.socketio.apps.rmc3.pages import CUSTOM, MESSAGE, Page, Site, room_of, site

OTHER = {"address": "10.9.9.9"}, {"origin": "https://other"}


def pid_of(page: Page) -> str:
    assert page.socket.connected is not None
    pid = page.socket.connected["pid"]
    assert isinstance(pid, str)
    return pid


def errors(one: Site, code: str) -> float:
    """How many errors of this code pages were told, as the metric counts them."""
    count: float = one.worker.metrics.errors.labels("socketio", code)._value.get()
    return count


async def test_a_page_without_a_pid_comes_back_into_its_held_place() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r", password="geheim")
        await ben.join("r", password="geheim")
        ann.lose()
        ann = await one.connect("ann")
        assert await ann.heard("set-isInitiator-true") == ["r"]
        ben.send("ann", {"x": 1})
        assert (await ann.heard(MESSAGE))[0]["message"] == {"x": 1}
        assert "user-disconnected" not in ben.names()
        assert (await one.connect("cid")) is not None
        assert await ann.ask("set-password", "other") == [True, "r", None]


async def test_a_pid_takes_a_place_from_anywhere_also_while_it_is_connected() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r")
        await ben.join("r")
        again = await one.connect("ben", pid=pid_of(ben), address="10.7.7.7", origin="https://elsewhere")
        assert pid_of(again) == pid_of(ben)
        ann.send("ben", {"x": 1})
        assert (await again.heard(MESSAGE))[0]["message"] == {"x": 1}
        assert ben.socket.events == []
        again.lose()
        third = await one.connect("ben", pid=pid_of(ben))
        ann.send("ben", {"x": 2})
        assert (await third.heard(MESSAGE))[0]["message"] == {"x": 2}


@pytest.mark.parametrize("other", OTHER)
async def test_nobody_comes_back_into_the_place_of_another(other: dict[str, str]) -> None:
    async with site() as one:
        ann = await one.connect("ann")
        await ann.open("r")
        ann.lose()
        thief = await one.connect("ann", **other)
        assert await thief.ask("check-presence", "r") == [
            True, "r", {"_room": {"isFull": False, "isPasswordProtected": False}},
        ]  # fmt: skip
        assert thief.names() == []
        assert await one.members("r") == ["ann"]


@pytest.mark.parametrize("other", OTHER)
async def test_a_user_id_that_is_held_or_connected_is_taken(other: dict[str, str]) -> None:
    async with site() as one:
        ann = await one.connect("ann")
        await ann.open("r")
        for _ in range(2):
            thief = await one.connect("ann", **other)
            thief.emit("join-room", {"sessionid": "r", "session": {}, "extra": {}}, number="7")
            old, suggestion = await thief.heard("userid-already-taken")
            assert old == "ann"
            assert suggestion not in ("", "ann")
            assert "7" not in thief.socket.answers
            ann.lose()


async def test_a_forged_pid_is_worth_nothing() -> None:
    async with site() as one:
        ann = await one.connect("ann")
        await ann.open("r")
        name, _ = pid_of(ann).split(".")
        for forged in (f"{name}.{'A' * 22}", "x", "0" * 64 + "." + "B" * 22, "." * 300):
            thief = await one.connect("ann", pid=forged, address="10.9.9.9")
            assert "set-isInitiator-true" not in thief.names()
            thief.leave()
        assert await ann.ask("set-password", "mine") == [True, "r", None]


async def test_a_page_that_left_on_purpose_does_not_come_back() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r")
        await ben.join("r")
        ben.leave()
        ben = await one.connect("ben", pid=pid_of(ben))
        assert await one.members("r") == ["ann"]
        assert await ben.join("r") == [True]


async def test_a_page_comes_back_as_soon_as_its_dead_connection_is_noticed() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r")
        await ben.join("r")
        again = await one.connect("ben")
        assert again.names() == []
        ben.lose()
        ann.send("ben", {"x": 1})
        while MESSAGE not in again.names():
            ann.send("ben", {"x": 1})
            await one.members("r")
            await ann.ask("check-presence", "r")
        assert "userid-already-taken" not in again.names()


async def test_one_that_comes_back_hears_of_those_that_go() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r")
        await ben.join("r")
        ben.lose()
        ben = await one.connect("ben")
        ann.leave()
        assert await ben.heard("user-disconnected") == ["ann"]


async def test_one_that_comes_back_keeps_the_extra_data_that_it_had_last() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann", extra='{"name":"first"}'), await one.connect("ben")
        await ann.open("r", extra={"name": "Ann"})
        await ben.join("r")
        ann.lose()
        ann = await one.connect("ann", extra='{"name":"first"}')
        ann.send("ben", {"x": 1})
        assert (await ben.heard(MESSAGE))[0]["extra"] == {"name": "Ann"}


async def test_events_emitted_before_the_page_is_back_arrive_in_order() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        # The connection that was lost still looks open.
        again = await one.connect("ben")
        assert (await again.ask("check-presence", "r"))[0] is True
        for number in range(5):
            again.send("ann", {"x": number})
        again.emit(CUSTOM, {"chat": "hello"})
        again.send("ann", {"x": "last"})
        ben.lose()
        assert [(await ann.heard(MESSAGE))[0]["message"]["x"] for _ in range(6)] == [0, 1, 2, 3, 4, "last"]
        assert await ann.heard(CUSTOM) == [{"chat": "hello"}]
        again.send("ann", {"x": "back"})
        assert (await ann.heard(MESSAGE))[0]["message"] == {"x": "back"}


async def test_a_page_that_joins_anew_says_nothing_of_before() -> None:
    async with site() as one:
        ann, _ = await room_of(one, "ann", "ben")
        again = await one.connect("ben")
        again.send("ann", {"x": "before"})
        again.emit(CUSTOM, {"x": "before"})
        assert await again.open("other") == [True]
        assert await again.ask("set-password", "") == [True, "other", None]
        assert (MESSAGE in ann.names(), CUSTOM in ann.names()) == (False, False)
        told = [(await again.heard("logs"))[0] for _ in range(2)]
        assert [text.partition(":")[0] for text in told] == ["not_joined", "not_joined"]
        assert told[0].endswith("(signal to ann)")
        assert errors(one, "not_joined") == 2


async def test_a_page_is_told_of_each_event_above_those_that_wait() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        again = await one.connect("ben")
        for number in range(MOST + 3):
            again.send("ann", {"x": number})
        for _ in range(3):
            assert (await again.heard("logs"))[0].startswith("not_back:")
        assert errors(one, "not_back") == 3
        ben.lose()
        assert [(await ann.heard(MESSAGE))[0]["message"]["x"] for _ in range(MOST)] == list(range(MOST))
        again.send("ann", {"x": "back"})
        assert (await ann.heard(MESSAGE))[0]["message"] == {"x": "back"}


async def test_a_bad_event_among_those_that_wait_is_refused_and_keeps_no_other_one_back() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        again = await one.connect("ben")
        # By its answer, the first attempt to come back has failed.
        assert (await again.ask("check-presence", "r"))[0] is True
        again.send("ann", {"x": 1})
        again.emit(MESSAGE, {"remoteUserId": {"no": "text"}, "message": {}})
        again.emit(MESSAGE)
        again.send("ann", {"x": 2})
        ben.lose()
        assert [(await ann.heard(MESSAGE))[0]["message"]["x"] for _ in range(2)] == [1, 2]
        for _ in range(2):
            assert (await again.heard("logs"))[0].startswith("bad_event:")
        again.send("ann", {"x": 3})
        assert (await ann.heard(MESSAGE))[0]["message"] == {"x": 3}
        assert errors(one, "bad_event") == 2


@pytest.mark.parametrize("how", ["unasked", "asks"])
async def test_a_page_is_told_if_the_relay_does_not_know_the_missed_events(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        ben.lose()
        ann.send("ben", {"x": "missed"})
        await ann.heard("user-connected")

        async def forgotten(room: str, peer: str) -> MessageId:
            return BEFORE_ALL

        async def nothing(name: str, limit: int) -> list[object]:
            return []

        monkeypatch.setattr(one.worker._parts.positions, "noted", forgotten)
        if how == "asks":
            monkeypatch.setattr(one.worker.places, "find", nothing)
        ben = await one.connect("ben")
        if how == "asks":
            assert await ben.join("r") == [True]
        assert (await ben.heard("logs"))[0].startswith("messages_lost:")
        assert MESSAGE not in ben.names()


@pytest.mark.parametrize("reason", [PONG_TIMEOUT, SLOW, GOING_AWAY])
async def test_a_signal_that_had_not_arrived_when_the_relay_closed_the_connection_comes_again(
    reason: CloseReason,
) -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        ben.socket.silent = True
        ann.send("ben", {"x": "unread"})
        # It is written.
        await ben.heard(MESSAGE)
        ben.socket.close(reason)
        ben.session.disconnected(reason.code, reason.name)
        ben = await one.connect("ben")
        assert (await ben.heard(MESSAGE))[0]["message"] == {"x": "unread"}


async def test_a_question_is_answered_before_the_page_is_back() -> None:
    async with site() as one:
        await room_of(one, "ann", "ben")
        again = await one.connect("ben")
        asked = {"remoteUserId": "system", "message": {"detectPresence": True, "userid": "ann"}}
        assert await again.ask(MESSAGE, asked) == [False, "ann"]


async def test_a_page_that_is_away_while_the_owner_changes_a_rule_stays_in_a_room_that_ends_with_its_owner() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann", autoCloseEntireSession="true"), await one.connect("ben")
        await ann.open("r")
        await ben.join("r")
        ben.lose()
        assert await ann.ask("set-password", "geheim") == [True, "r", None]
        ben = await one.connect("ben")
        ann.send("ben", {"x": 1})
        assert (await ben.heard(MESSAGE))[0]["message"] == {"x": 1}
        assert await one.members("r") == ["ann", "ben"]


async def test_a_page_that_goes_while_its_room_is_looked_for_and_has_asked_for_another_one_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with site() as one:
        ann, _ = await room_of(one, "ann", "ben")
        again = await one.connect("ben")
        again.send("ann", {"x": "early"})
        looked, answer = asyncio.Event(), asyncio.Event()

        async def find(name: str, limit: int) -> list[object]:
            looked.set()
            await answer.wait()
            return []

        monkeypatch.setattr(one.worker.places, "find", find)
        await looked.wait()
        again.emit("open-room", {"sessionid": "other"}, number="9")
        again.lose()
        answer.set()
        # Its work is done when other pages were answered.
        for _ in range(5):
            assert (await ann.ask("check-presence", "r"))[0] is True
        assert await one.members("r") == ["ann", "ben"]
    assert caplog.records == []
