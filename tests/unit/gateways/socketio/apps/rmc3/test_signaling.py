"""Signals: to one user, or to all members that are asked to let a page take part."""

from __future__ import annotations

from typing import Any

import pytest

from relay.backend.bus import Published
from relay.model.commands import Publish
from relay.model.errors import OutcomeUnknown, Refused, RelayError, Unavailable
from relay.rooms.member import Member
from tests.tokens import SECRET, token
from tests.unit.gateways.socketio.apps.rmc3.pages import CUSTOM, MESSAGE, room_of, site


async def test_a_request_to_take_part_reaches_all_others_as_if_it_were_for_each() -> None:
    async with site() as one:
        ann, ben, cid = await room_of(one, "ann", "ben", "cid")
        cid.request("r")
        for page in (ann, ben):
            (message,) = await page.heard(MESSAGE)
            assert message["remoteUserId"] == page.userid
            assert message["sender"] == "cid"
            assert message["message"]["newParticipationRequest"] is True
            assert "extra" not in message
            assert "user-connected" not in page.names()
        assert cid.names() == []


@pytest.mark.parametrize("session", [{"data": True, "oneway": True}, {"data": True, "broadcast": True}])
async def test_in_a_oneway_session_only_the_owner_is_asked(session: dict[str, Any]) -> None:
    async with site() as one:
        ann, ben, cid = [await one.connect(name) for name in ("ann", "ben", "cid")]
        assert await ann.open("r", session=session) == [True]
        assert await ben.join("r", session=session) == [True]
        assert await cid.join("r", session=session) == [True]
        cid.request("r")
        assert (await ann.heard(MESSAGE))[0]["remoteUserId"] == "ann"
        ann.send("ben", {"after": True})
        (first,) = await ben.heard(MESSAGE)
        assert first["message"] == {"after": True}


async def test_a_signal_reaches_its_receiver_alone_with_its_senders_extra() -> None:
    async with site() as one:
        ann, ben, cid = await room_of(one, "ann", "ben", "cid")
        ann.emit("extra-data-updated", {"name": "Ann"})
        ann.send("ben", {"type": "offer", "sdp": "v=0"})
        (message,) = await ben.heard(MESSAGE)
        assert message == {
            "remoteUserId": "ben",
            "sender": "ann",
            "message": {"type": "offer", "sdp": "v=0"},
            "extra": {"name": "Ann"},
        }
        assert await ann.heard("user-connected") == ["ben"]
        assert await ben.heard("user-connected") == ["ann"]
        ben.send("ann", {"type": "answer"})
        await ann.heard(MESSAGE)
        assert "user-connected" not in ann.names() + ben.names()
        assert MESSAGE not in cid.names()


async def test_the_sender_is_the_one_for_which_the_relay_vouches() -> None:
    async with site() as one:
        ann, _, cid = await room_of(one, "ann", "ben", "cid")
        cid.emit(MESSAGE, {"remoteUserId": "ann", "message": {"x": 1}, "sender": "ben", "extra": {"name": "Ben"}})
        (message,) = await ann.heard(MESSAGE)
        assert (message["sender"], message["extra"]) == ("cid", {})


async def test_a_signal_to_nobody_is_silent_and_makes_no_contact() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        ann.send("absent", {"x": 1})
        ann.send("ann", {"x": 1})
        ann.send("ben", {"x": 2})
        assert await ann.heard("user-connected") == ["ben"]
        assert (await ben.heard(MESSAGE))[0]["message"] == {"x": 2}
        assert ann.names() == []


async def test_a_goodbye_makes_no_contact_and_reaches_one() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        ann.send("ben", {"userLeft": True})
        ann.send("ben", "dropPeerConnection")
        assert (await ben.heard(MESSAGE))[0]["message"] == "dropPeerConnection"
        ann.send("ben", {"userLeft": True})
        assert (await ben.heard(MESSAGE))[0]["message"] == {"userLeft": True}


async def test_a_page_may_name_the_event_of_its_signals() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann", msgEvent="my-signals"), await one.connect("ben")
        assert await ann.open("r") == [True]
        assert await ben.join("r") == [True]
        ben.request("r")
        assert (await ann.heard("my-signals"))[0]["sender"] == "ben"
        ann.emit("my-signals", {"remoteUserId": "ben", "message": {"x": 1}, "sender": "ann"})
        assert (await ben.heard(MESSAGE))[0]["message"] == {"x": 1}
        # Another page cannot write such a signal by a custom event.
        ben.emit("set-custom-socket-event-listener", "my-signals")
        ben.emit("my-signals", {"forged": True})
        ben.emit(CUSTOM, {"said": True})
        await ann.heard(CUSTOM)
        assert "my-signals" not in ann.names()


async def test_a_page_is_told_of_messages_that_its_token_does_not_allow() -> None:
    async with site(auth="required", auth_secret=SECRET) as one:
        rooms: list[object] = [{"room": "r", "can": ["join", "presence"]}]
        ann = await one.connect("ann", token=token(sub="ann", rooms=rooms))
        ben = await one.connect("ben", token=token(sub="ben", rooms=["r"]))
        await ann.open("r")
        await ben.join("r")
        for name, value in (
            (CUSTOM, 1),
            (MESSAGE, {"remoteUserId": "r", "message": {"newParticipationRequest": True}}),
            (MESSAGE, {"remoteUserId": "ben", "message": {"x": 1}}),
            ("extra-data-updated", {"x": 1}),
        ):
            ann.emit(name, value)
            assert "not_granted" in (await ann.heard("logs"))[0]
        assert ben.names() == []


async def test_old_pages_ask_by_a_signal_whether_a_user_is_there() -> None:
    async with site() as one:
        ann, _ = await room_of(one, "ann", "ben")

        async def detect(userid: str) -> list[Any]:
            message = {"detectPresence": True, "userid": userid}
            return await ann.ask(MESSAGE, {"remoteUserId": "system", "message": message, "sender": "ann"})

        assert await detect("ben") == [True, "ben"]
        assert await detect("r") == [True, "r"]
        assert await detect("ann") == [False, "ann"]
        assert await detect("nobody") == [False, "nobody"]


@pytest.mark.parametrize("was_sent", [True, False])
async def test_a_signal_that_redis_may_not_have_got_arrives_once(
    monkeypatch: pytest.MonkeyPatch, *, was_sent: bool
) -> None:
    commands: list[Publish] = []
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        publish = one.worker.publish

        def fail_first(member: Member, command: Publish, done: Published) -> float:
            commands.append(command)
            if len(commands) > 1:
                return publish(member, command, done)
            if was_sent:
                return publish(member, command, lambda _receipt: done(OutcomeUnknown()))
            done(OutcomeUnknown())
            return 0.0

        monkeypatch.setattr(one.worker, "publish", fail_first)
        ann.send("ben", {"x": "offer"})
        assert await ann.heard("user-connected") == ["ben"]
        ann.send("ben", {"x": "candidate"})
        assert [(await ben.heard(MESSAGE))[0]["message"]["x"] for _ in range(2)] == ["offer", "candidate"]
        assert commands[0] == commands[1]
        assert commands[2].key not in ("", commands[0].key)


@pytest.mark.parametrize("second", [Unavailable(), OutcomeUnknown(), Refused("no_such_peer")], ids=lambda one: one.code)
async def test_a_page_is_not_told_that_a_signal_was_not_sent_whose_first_try_may_have_been(
    monkeypatch: pytest.MonkeyPatch, second: RelayError
) -> None:
    outcomes = [OutcomeUnknown(), second]
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        publish = one.worker.publish

        def fail(member: Member, command: Publish, done: Published) -> float:
            outcome = outcomes.pop(0)
            return publish(member, command, lambda _receipt: done(outcome))

        monkeypatch.setattr(one.worker, "publish", fail)
        ann.send("ben", {"x": "offer"})
        (text,) = await ann.heard("logs")
        assert text.startswith("outcome_unknown:")
        assert text.endswith("(signal to ben)")
        assert (await ben.heard(MESSAGE))[0]["message"] == {"x": "offer"}
        assert outcomes == []
