"""The registrar: bindings of sessions over the memory backend."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from relay.gateways.sip.fields import Uri
from relay.gateways.sip.location import Location
from relay.model.errors import Unavailable
from relay.rooms.worker import Worker
from tests.unit.gateways.base.fakes import until_members
from tests.unit.gateways.sip.fakes import Enter


async def test_a_binding_is_the_place_in_the_room(worker: Worker, enter: Enter) -> None:
    alice = await enter("alice", register=False)
    assert (await alice.ask("REGISTER", "sip:localhost", to=alice.address)).get("contact") == ""
    answer = await alice.register(expires=99)
    assert answer["contact"] == f"<{alice.contact}>;expires=99"
    await until_members(worker, "calls", {"alice": False})
    assert (await alice.ask("REGISTER", "sip:localhost", to=alice.address))["contact"] == answer["contact"]
    assert (await alice.register(expires=7200))["contact"].endswith("expires=3600")
    assert (await alice.register(expires=0)).get("contact") == ""
    await until_members(worker, "calls", {})
    await alice.register()
    await alice.ask("REGISTER", "sip:localhost", to=alice.address, more=("Contact: *", "Expires: 0"))
    await until_members(worker, "calls", {})


async def test_a_binding_ends_with_its_time_and_with_the_connection(worker: Worker, enter: Enter) -> None:
    alice, bob = await enter("alice"), await enter("bob")
    alice.session._registrar._time_is_over()
    await until_members(worker, "calls", {"bob": False})
    assert (await alice.ask("OPTIONS", "sip:bob@x")).code == "not_registered"
    bob.lose(1001)
    await until_members(worker, "calls", {})


async def test_further_devices_are_bounded(worker: Worker, enter: Enter) -> None:
    # The first one has the name; each further one waits for up to a second, in case the name becomes free.
    devices = [await enter("bob"), *await asyncio.gather(*[enter("bob") for _ in range(7)])]
    ninth = await enter("bob", register=False)
    assert (await ninth.register()).code == "too_many_bindings"
    alice = await enter("alice")
    invite = await alice.send("INVITE", "sip:bob@x")
    received = [await device.heard("INVITE") for device in devices]
    assert [one.uri for one in received] == [device.contact for device in devices]
    for device, one in zip(devices[1:], received[1:], strict=True):
        await device.answer(one, 486)
    await devices[0].answer(received[0], 200)
    assert (await alice.final(invite)).status == 200
    devices[0].lose(1000)
    assert (await ninth.register()).status == 200
    members = {one.peer for one in (await worker.roster("calls")).members}
    assert len(members) == 9
    assert "bob" in members


async def test_another_contact_takes_the_place_of_the_first(worker: Worker, enter: Enter) -> None:
    alice, bob = await enter("alice"), await enter("bob")
    alice.contact = "sip:new@new.invalid"
    assert (await alice.register())["contact"] == "<sip:new@new.invalid>;expires=600"
    await bob.send("OPTIONS", "sip:alice@x")
    assert (await alice.heard("OPTIONS")).uri == "sip:new@new.invalid"
    await until_members(worker, "calls", {"alice": False, "bob": False})


async def test_a_registration_that_fails_halfway_leaves_no_member(
    worker: Worker, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its events would be kept for a binding that never comes."""
    answers: list[Sequence[str] | Unavailable] = [(), Unavailable()]

    async def contact(_: Location, __: Uri) -> Sequence[str]:
        found = answers.pop(0)
        if isinstance(found, Unavailable):
            raise found
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Location, "contact", contact)
        alice = await enter("alice", register=False)
        refused = await alice.register()
    assert (refused.status, refused.code) == (503, "unavailable")
    await until_members(worker, "calls", {})
    assert (await alice.register()).status == 200


async def test_a_register_while_the_time_ends_renews_the_binding(worker: Worker, enter: Enter) -> None:
    """The end of the time waits for its turn, and finds another binding then."""
    alice = await enter("alice")
    registrar = alice.session._registrar
    async with registrar._turn:
        registrar._time_is_over()
        await asyncio.sleep(0)
        registrar._binding = renewed = registrar.binding and replace(registrar.binding, call="renewed")
    async with registrar._turn:
        await asyncio.sleep(0)
    assert registrar.binding is renewed is not None
    await until_members(worker, "calls", {"alice": False})


async def test_only_the_own_contact_is_removed(worker: Worker, enter: Enter) -> None:
    alice = await enter("alice")
    answer = await alice.ask(
        "REGISTER", "sip:localhost", to=alice.address, more=("Contact: <sip:x@other.invalid>;expires=0",)
    )
    assert answer["contact"] == f"<{alice.contact}>;expires=600"
    await until_members(worker, "calls", {"alice": False})


async def test_a_contact_that_is_refused_leaves_the_binding(worker: Worker, enter: Enter) -> None:
    alice, bob = await enter("alice"), await enter("bob")
    own, bob.contact = bob.contact, alice.contact
    assert (await bob.register()).code == "contact_taken"
    bob.contact = own
    assert (await bob.ask("OPTIONS", "sip:nobody@x")).code == "no_such_user"
    await until_members(worker, "calls", {"alice": False, "bob": False})
