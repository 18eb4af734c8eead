"""The events of a room that its clients get, over the memory backend."""

import asyncio
import itertools
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.sip.deliveries import EARLY_COST
from relay.gateways.sip.login import Logins
from relay.model.envelope import MessageId
from relay.rooms.member import Member
from relay.rooms.worker import Worker
from tests.sip_client import Sip, SipEnded
from tests.unit.gateways.base.fakes import until_members
from tests.unit.gateways.sip.fakes import Enter, LocalAgent, Native
from tests.unit.gateways.sip.test_session import ring


async def test_forged_ways_are_dropped(worker: Worker, enter: Enter) -> None:
    alice, bob = await enter("alice"), await enter("bob")
    invite, received = await ring(alice, bob)
    native = await Native(worker).enter("eve")
    for text in (
        "SIP/2.0 200 OK\r\n" + received.text.partition("\r\n")[2],
        "INVITE sip:alice@x SIP/2.0\r\n" + received.text.partition("\r\n")[2],
        "no SIP",
    ):
        native.send(to="alice", channel="sip", message=text)
    native.send(to="alice", channel="sip", message={"a": 1})
    await bob.answer(Sip(received.text.replace(";place=", ";place=AA")), 200)
    await bob.answer(Sip(invite.text), 200)
    await bob.answer(received, 486, tag="t")
    answer = await alice.final(invite)
    assert answer.status == 486


async def test_another_from_with_a_way_of_its_own_is_dropped(worker: Worker, enter: Enter) -> None:
    """A member has the way of a request of its own, by another connection, and writes it with another From."""
    mallory, spy, bob = await enter("mallory"), await enter("spy"), await enter("bob")
    await mallory.send("INFO", "sip:spy@x")
    text = (await spy.heard("INFO")).text
    mallory.lose(1000)
    await until_members(worker, "calls", {"spy": False, "bob": False})
    native = await Native(worker).enter("mallory")
    for forged in (text.replace("<sip:mallory@", "<sip:alice@"), text.replace("<sip:mallory@", "<sip:@"), text):
        native.send(to="bob", channel="sip", message=forged)
    assert (await bob.next()).sender == "mallory"


async def test_a_client_that_comes_back_still_hears_the_room(worker: Worker, enter: Enter) -> None:
    """By its `MESSAGE` to the room, or by its field in REGISTER; with all that it missed."""
    native = await Native(worker).enter("nat")
    alice, bob = await enter("alice"), await enter("bob", more=("X-Relay: messages",))
    await alice.ask("MESSAGE", "sip:calls@x", body="hello")
    for one in (alice, bob):
        one.lose()
    await until_members(worker, "calls", {"nat": False, "alice": True, "bob": True})
    native.send(message="missed")
    back = [
        await enter("alice", contact=alice.contact, registration=alice.registration),
        await enter("bob", contact=bob.contact, registration=bob.registration, more=("X-Relay: messages",)),
    ]
    for one in back:
        heard = await one.heard("MESSAGE")
        while heard.data["message"] == "hello":
            heard = await one.heard("MESSAGE")
        assert heard.data["message"] == "missed"


async def test_too_much_that_comes_while_a_client_registers_closes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 65_536
    async with Worker(Settings(max_message=16_384, send_buffer=limit), {"sip": ["bad_sip"]}) as worker:
        native = await Native(worker).enter("nat")
        agent = await LocalAgent(worker, Logins(worker), "alice").begin()
        find, inside, looks = worker.listings.find, asyncio.Event(), itertools.count()

        async def find_later(*arguments: Any) -> Any:
            # The second look comes when the client is in the room.
            if next(looks) == 1:
                await inside.wait()
            return await find(*arguments)

        monkeypatch.setattr(worker.listings, "find", find_later)
        own = (f"Contact: <{agent.contact}>", "X-Relay: messages")
        await agent.send("REGISTER", "sip:localhost", to=agent.address, call=agent.registration, more=own)
        await until_members(worker, "calls", {"nat": False, "alice": False})
        for _ in range(limit // EARLY_COST + 1):
            native.send(message="x")
        with pytest.raises(SipEnded, match="slow"):
            await agent.next()
        inside.set()


async def test_a_request_that_was_answered_does_not_come_again(
    worker: Worker, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a client whose worker is killed: the position of each request is noted with the answer."""
    noted: list[MessageId] = []

    def confirm(member: Member, position: MessageId) -> None:
        noted.append(position)

    monkeypatch.setattr(worker, "confirm", confirm)
    alice, bob = await enter("alice"), await enter("bob")
    for method in ("MESSAGE", "INFO", "REFER"):
        sent = await alice.send(method, "sip:bob@x", body="hello")
        received = await bob.heard(method)
        assert len(noted) < 3
        await bob.answer(received, 200, tag="t")
        await alice.final(sent)
    assert len(noted) == 3
    assert noted == sorted(noted)
