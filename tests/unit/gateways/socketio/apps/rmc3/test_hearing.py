"""The events that a page hears: members that go, extra data, custom events, and clients of other protocols."""

from __future__ import annotations

import asyncio

import pytest

from relay.gateways.socketio.apps.rmc3.closing import closing_proof
from relay.gateways.socketio.apps.rmc3.stay import read_attributes
from relay.model.names import unescape
from relay.model.rules import OpenRoom
from tests.unit.gateways.socketio.apps.rmc3.pages import CUSTOM, MESSAGE, Site, asked, room_of, site


async def test_contacts_hear_of_one_that_goes_once_and_others_do_not() -> None:
    async with site() as one:
        ann, ben, cid = await room_of(one, "ann", "ben", "cid")
        ann.send("ben", {"x": 1})
        await ben.heard(MESSAGE)
        ann.leave()
        assert await ben.heard("user-disconnected") == ["ann"]
        assert await ben.heard("set-isInitiator-true") == ["r"]
        cid.send("ben", {"x": 2})
        await ben.heard(MESSAGE)
        assert "user-disconnected" not in ben.names() + cid.names()


async def test_two_pages_part_and_stay_in_the_room() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        ann.send("ben", {"x": 1})
        await ben.heard(MESSAGE)
        assert await ann.heard("user-connected") == ["ben"]
        ann.emit("disconnect-with", "ben")
        assert await ann.heard("user-disconnected") == ["ben"]
        assert await ben.heard("user-disconnected") == ["ann"]
        assert await one.members("r") == ["ann", "ben"]


async def test_changed_extra_data_reaches_the_room_once_and_is_looked_up() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        ann.emit("extra-data-updated", {"name": "Ann"})
        assert await ben.heard("extra-data-updated") == ["ann", {"name": "Ann"}]
        assert await ben.ask("get-remote-user-extra-data", "ann") == [{"name": "Ann"}]
        assert await ben.ask("get-remote-user-extra-data", "nobody") == ["User ID does not exist"]
        assert (await ben.ask("check-presence", "r"))[2]["name"] == "Ann"
        # The page sends it again a second after it has connected.
        ann.emit("extra-data-updated", {"name": "Ann"})
        ann.send("ben", {"x": 1})
        await ben.heard(MESSAGE)
        assert "extra-data-updated" not in ann.names() + ben.names()


async def test_extra_data_beyond_a_member_info_travels_with_signals_only() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        large = {"text": "x" * 5000}
        ann.emit("extra-data-updated", large)
        assert await ben.heard("extra-data-updated") == ["ann", large]
        assert await ben.ask("get-remote-user-extra-data", "ann") == [{}]
        ann.send("ben", {"x": 1})
        assert (await ben.heard(MESSAGE))[0]["extra"] == large


async def test_extra_data_of_any_form_is_an_object_in_an_answer_about_the_room() -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        assert await ann.open("r", extra="text") == [True]
        assert (await ben.ask("check-presence", "r"))[2]["value"] == "text"


async def test_custom_events_reach_the_room_and_nobody_else() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        (cid,) = await room_of(one, "cid", room="s")
        ann.emit(CUSTOM, {"chat": "hello"})
        assert await ben.heard(CUSTOM) == [{"chat": "hello"}]
        ann.emit("not-registered", 1)
        ann.emit("set-custom-socket-event-listener", "chat")
        ann.emit("chat", "hello")
        assert await ben.heard("chat") == ["hello"]
        assert ben.names() == []
        assert cid.names() == []


@pytest.mark.parametrize("name", ["set-isInitiator-true", "userid-already-taken", "connect", "toString", MESSAGE, ""])
async def test_no_page_registers_the_events_of_its_server(name: str) -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        ann.emit("set-custom-socket-event-listener", name)
        assert (await ann.heard("logs"))[0].startswith("reserved_event")
        ann.emit(CUSTOM, 1)
        await ben.heard(CUSTOM)
        assert ben.names() == []


async def test_events_that_the_settings_do_not_allow_are_not_emitted() -> None:
    async with site(extensions={"socketio_events": ("chat",)}) as one:
        ann, ben = await room_of(one, "ann", "ben")
        ann.emit(CUSTOM, 1)
        assert (await ann.heard("logs"))[0].startswith("event_not_allowed")
        ann.emit("set-custom-socket-event-listener", "chat")
        ann.emit("chat", 1)
        assert await ben.heard("chat") == [1]


async def publish(one: Site, room: str, envelope: bytes) -> None:
    await one.worker.publish_from_server(room, envelope)


async def test_envelopes_of_other_protocols_are_events_or_nothing() -> None:
    async with site() as one:
        (ann,) = await room_of(one, "ann")
        for envelope in (
            b'{"event":"set-isInitiator-true","args":["r"]}', b'{"channel":"rmc","message":1}',
            b'{"channel":"rmc","message":{}}', b'{"channel":"rmc-extra"}', b'{"channel":"rmc-control","message":[]}',
            b'{"channel":"rmc-control","message":{"closed":true}}',
            b'{"event":"RTCMultiConnection-Message","args":[1]}',
            b'{"channel":"rmc","message":{"message":{"allParticipants":1}}}',
            b'{"channel":"rmc","message":{"message":{"allParticipants":["ann",{}]}}}',
        ):  # fmt: skip
            await publish(one, "r", envelope)
        await publish(one, "r", b'{"event":"chat","args":["hello"]}')
        assert await ann.heard("chat") == ["hello"]
        await publish(one, "r", b'{"channel":"chat","message":1}')
        assert await ann.heard("message") == [{"channel": "chat", "message": 1}]
        assert ann.names() == []
        assert await one.members("r") == ["ann"]


async def forge(one: Site, notice: bytes, sender: str) -> None:
    envelope = b'{"channel":"rmc-control","message":%b}' % notice
    await one.worker.publish_from_server("r", envelope, sender=sender)


async def test_no_member_hides_that_another_one_has_gone() -> None:
    async with site() as one:
        ann, ben, cid = await room_of(one, "ann", "ben", "cid")
        ann.send("ben", {"x": 1})
        await ben.heard(MESSAGE)
        for notice in (b'{"was":"ann"}', b'{"renamed":"ann"}', b'{"parted":true}'):
            await forge(one, notice, "cid")
        ann.leave()
        assert await ben.heard("user-disconnected") == ["ann"]
        assert await ben.heard("set-isInitiator-true") == ["r"]
        cid.send("ben", {"x": 2})
        await ben.heard(MESSAGE)


async def test_an_owner_that_names_another_member_as_itself_is_followed_by_that_one() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        await forge(one, b'{"renamed":"ben"}', "ann")
        ann.leave()
        assert await ben.heard("set-isInitiator-true") == ["r"]


@pytest.mark.parametrize("userid", ["__proto__", "constructor", "forEach"])
async def test_no_page_hears_of_a_user_whose_id_is_a_property_of_its_objects(userid: str) -> None:
    async with site() as one:
        ann, ben, strange = await room_of(one, "ann", "ben", userid)
        strange.request("r")
        strange.send("ann", {"x": 1})
        strange.emit("extra-data-updated", {"x": 1})
        strange.leave()
        ben.send("ann", {"x": 2})
        assert (await ann.heard(MESSAGE))[0]["sender"] == "ben"
        ben.leave()
        assert await ann.heard("user-disconnected") == ["ben"]
        assert ann.names() == ["user-connected"]


async def test_a_list_of_all_participants_reaches_pages() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        ann.send("ben", {"allParticipants": ["ann", "ben"]})
        assert (await ben.heard(MESSAGE))[0]["message"] == {"allParticipants": ["ann", "ben"]}


async def test_a_client_of_another_protocol_answers_a_request_with_an_offer() -> None:
    async with site() as one:
        (ann,) = await room_of(one, "ann")
        await publish(one, "r", b'{"to":"ann","channel":"rmc","message":{"message":{"type":"offer"},"sender":"x"}}')
        (message,) = await ann.heard(MESSAGE)
        assert (message["sender"], message["remoteUserId"]) == (unescape("$server"), "ann")


async def test_a_room_that_is_ended_while_a_page_enters_it_is_ended_for_that_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site() as one:
        ann, ben = await one.connect("ann"), await one.connect("ben")
        await ann.open("r")
        rules, entered, ended = one.worker.rules, asyncio.Event(), asyncio.Event()
        open_room = rules.open_room

        async def slow(room: str) -> OpenRoom:
            entered.set()
            await ended.wait()
            return await open_room(room)

        monkeypatch.setattr(rules, "open_room", slow)
        ben.emit("join-room", asked("r"), number="7")
        await entered.wait()
        assert await ann.ask("close-entire-session") == [True]
        ended.set()
        assert await ben.answered("7") == [True]
        assert await ben.heard("closed-entire-session") == ["r", {}]
        while await one.members("r"):
            await asyncio.sleep(0)


async def test_a_room_that_is_ended_while_a_page_is_away_is_ended_for_that_page() -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        ben.lose()
        assert await ann.ask("close-entire-session") == [True]
        ben = await one.connect("ben")
        assert await ben.heard("closed-entire-session") == ["r", {}]
        while await one.members("r"):
            await asyncio.sleep(0)
        # The next room of the page is another one.
        assert await ben.open("r") == [True]
        assert await one.members("r") == ["ben"]


async def opening_of(one: Site, room: str) -> str:
    """The mark of the opening of a room."""
    return read_attributes((await one.worker.rules.open_room(room)).attributes).opening


async def test_nobody_ends_a_room_with_the_proof_of_another() -> None:
    async with site() as one:
        ann, ben, cid = await room_of(one, "ann", "ben", "cid")
        worker, opening = one.worker, await opening_of(one, "r")
        of_ann = closing_proof(worker, "r", "ann", opening)
        old = f"1.{of_ann.partition('.')[2]}"
        for sender, proof in (
            ("ben", of_ann), ("ben", closing_proof(worker, "s", "ben", opening)), ("ben", old), ("ann", old),
            ("ann", closing_proof(worker, "r", "ann", "another")), ("ben", "x.y"),
            ("ann", of_ann.partition(".")[0]), ("ann", of_ann[:-4]), ("ben", "1" * 60),
        ):  # fmt: skip
            await forge(one, b'{"closed":"%b"}' % proof.encode(), sender)
        ann.send("cid", {"x": 1})
        await cid.heard(MESSAGE)
        assert await one.members("r") == ["ann", "ben", "cid"]
        await forge(one, b'{"closed":"%b"}' % of_ann.encode(), "ann")
        assert await ben.heard("closed-entire-session") == ["r", {}]


async def test_a_proof_does_not_end_the_room_that_is_opened_next() -> None:
    async with site() as one:
        (ann,) = await room_of(one, "ann")
        proof = closing_proof(one.worker, "r", "ann", await opening_of(one, "r"))
        assert await ann.ask("close-entire-session") == [True]
        ben = await one.connect("ben")
        assert await ben.open("r") == [True]
        # A client that has taken the peer id of the owner before.
        await forge(one, b'{"closed":"%b"}' % proof.encode(), "ann")
        cid = await one.connect("cid")
        assert await cid.join("r") == [True]
        cid.send("ben", {"x": 1})
        await ben.heard(MESSAGE)
        assert "closed-entire-session" not in ben.names() + cid.names()
        assert await one.members("r") == ["ben", "cid"]


@pytest.mark.parametrize("userid", ["__proto__", "%5F%5Fproto__", "forEach", "\\n", "$server"])
async def test_a_member_that_says_it_has_another_id_deceives_no_page(userid: str) -> None:
    async with site() as one:
        ann, ben = await room_of(one, "ann", "ben")
        ben.send("ann", {"x": 1})
        assert await ann.heard("user-connected") == ["ben"]
        await forge(one, b'{"renamed":"%b"}' % userid.encode(), "ben")
        assert await ann.ask("close-entire-session") == [True]
        assert await ann.heard("user-disconnected") == ["ben"]
        assert "user-disconnected" not in ann.names()
