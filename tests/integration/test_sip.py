"""SIP user agents on two workers: the registrar, calls, forks, faults, and messages of the room."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from relay.gateways.sip.digest import mint
from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.fleet import Relay, eventually
from tests.sip_client import Sip, SipAgent, SipEnded, digest_answer
from tests.tokens import SECRET
from tests.unit.gateways.sip.torture import MESSAGES, Expected

Enter = Callable[..., Awaitable[SipAgent]]


@pytest.fixture
async def agent() -> AsyncIterator[Enter]:
    """Makes user agents that have registered: `agent(relay, "alice")`."""
    agents: list[SipAgent] = []

    async def agent(relay: Relay, user: str, *more: str, path: str = "/rooms/calls") -> SipAgent:
        agents.append(SipAgent(user))
        return await agents[-1].enter(relay, path, more)

    yield agent
    for one in agents:
        await one.drop()


class Call:
    """An INVITE of one agent that reached another."""

    def __init__(self, caller: SipAgent, callee: SipAgent, invite: Sip, received: Sip) -> None:
        self.caller, self.callee = caller, callee
        self.invite, self.received = invite, received

    @classmethod
    async def ring(cls, caller: SipAgent, callee: SipAgent, **parts: str) -> "Call":
        contact = (f"Contact: <{caller.contact}>",)
        uri = f"sip:{callee.user}@localhost"
        invite = await caller.send(
            "INVITE", uri, body="v=0 of the offer", kind="application/sdp", more=contact, **parts
        )
        received = await callee.heard("INVITE")
        await callee.answer(received, 180, tag="t")
        assert (await caller.status(100))["to"] == f"<{uri}>"
        assert (await caller.status(180))["call-id"] == invite["call-id"]
        return cls(caller, callee, invite, received)

    async def accept(self) -> None:
        await self.callee.answer(self.received, 200, tag="t", body="v=0 of the answer")
        accepted = await self.caller.status(200)
        assert accepted.body == "v=0 of the answer"
        assert accepted["via"] == self.invite["via"]
        await self.from_caller("ACK", number=1)
        assert (await self.callee.heard("ACK")).uri == self.callee.contact

    async def from_caller(self, method: str, *, number: int, body: str = "") -> Sip:
        """Send a request within the call."""
        to = self.invite["to"] + ";tag=t"
        return await self.caller.send(
            method, self.callee.contact, to=to, call=self.invite["call-id"], number=number, body=body
        )

    async def from_callee(self, method: str, *, number: int) -> Sip:
        return await self.callee.send(
            method, self.caller.contact, to=f"{self.caller.address};tag=f", call=self.invite["call-id"], number=number,
            tag="t",
        )  # fmt: skip


async def test_a_call_between_two_workers(pair: tuple[Relay, Relay], agent: Enter) -> None:
    alice, bob = await agent(pair[0], "alice"), await agent(pair[1], "bob")
    call = await Call.ring(alice, bob)
    assert call.received.uri == bob.contact
    assert call.received["max-forwards"] == "69"
    assert call.received.fields["via"][1] == call.invite["via"]
    assert call.received.body == "v=0 of the offer"
    await call.accept()
    for number, method in enumerate(("INFO", "UPDATE", "INVITE", "REFER"), 2):
        sent = await call.from_caller(method, number=number, body="x")
        await bob.answer(await bob.heard(method), 200)
        assert (await alice.final(sent)).status == 200
    bye = await call.from_callee("BYE", number=1)
    await alice.answer(await alice.heard("BYE"), 200)
    assert (await bob.final(bye)).status == 200


async def test_a_call_rings_on_devices_of_two_workers(pair: tuple[Relay, Relay], agent: Enter) -> None:
    alice, one = await agent(pair[0], "alice"), await agent(pair[0], "bob")
    other = await agent(pair[1], "bob")
    invite = await alice.send("INVITE", "sip:bob@localhost", more=(f"Contact: <{alice.contact}>",))
    received = [await device.heard("INVITE") for device in (one, other)]
    assert [one_.uri for one_ in received] == [one.contact, other.contact]
    await one.answer(received[0], 180, tag="1")
    await other.answer(received[1], 200, tag="2")
    cancel = await one.heard("CANCEL")
    assert cancel["reason"].startswith("SIP;cause=200")
    await one.answer(cancel, 200)
    await one.answer(received[0], 487, tag="1")
    assert (await one.heard("ACK")).uri == one.contact
    assert (await alice.final(invite))["to"].endswith(";tag=2")


async def test_the_worker_of_the_caller_is_killed_before_the_answer(
    prefix: str, redis_url: str, start: MakeRelay, agent: Enter
) -> None:
    """The answer reaches the caller over another worker, and so does a CANCEL the callee of a second call."""
    relays = [await start(redis_url=redis_url, redis_prefix=prefix, reconnect_grace=30) for _ in range(2)]
    alice, bob = await agent(relays[0], "alice"), await agent(relays[1], "bob")
    call = await Call.ring(alice, bob)
    second = await alice.send("INVITE", "sip:bob@localhost", more=(f"Contact: <{alice.contact}>",))
    other = await bob.heard("INVITE")
    relays[0].process.kill()
    await bob.answer(call.received, 200, tag="t", body="v=0 of the answer")
    await alice.enter(relays[1])
    accepted = await alice.status(200)
    assert (accepted.body, accepted["via"]) == ("v=0 of the answer", call.invite["via"])
    await call.from_caller("ACK", number=1)
    assert (await bob.heard("ACK")).uri == bob.contact
    branch = second["via"].partition("branch=")[2]
    cancelled = await alice.send("CANCEL", second.uri, branch=branch, call=second["call-id"])
    assert (await alice.final(cancelled)).status == 200
    cancel = await bob.heard("CANCEL")
    assert cancel["via"] == other["via"]
    await bob.answer(other, 487, tag="x")
    assert (await bob.until(lambda one: one.first.startswith("ACK") and one["via"] == other["via"])).method == "ACK"
    assert (await alice.final(second)).status == 487
    bye = await call.from_callee("BYE", number=1)
    await alice.answer(await alice.heard("BYE"), 200)
    assert (await bob.final(bye)).status == 200


async def test_the_worker_of_the_callee_is_killed_before_the_answer_and_in_the_call(
    prefix: str, redis_url: str, start: MakeRelay, agent: Enter
) -> None:
    relays = [await start(redis_url=redis_url, redis_prefix=prefix, reconnect_grace=30) for _ in range(3)]
    alice, bob = await agent(relays[0], "alice"), await agent(relays[1], "bob")
    call = await Call.ring(alice, bob)
    # The callee has answered the INVITE with 180, which has reached the caller: it does not come once more.
    relays[1].process.kill()
    await bob.enter(relays[2])
    await call.accept()
    assert bob.waiting == []
    relays[2].process.kill()
    # The callee is held, and gets the request when it is back.
    bye = await call.from_caller("BYE", number=2)
    await bob.enter(relays[0])
    await bob.answer(await bob.heard("BYE"), 200)
    assert (await alice.final(bye)).status == 200


async def test_a_binding_that_ends_is_gone_on_all_workers(pair: tuple[Relay, Relay], agent: Enter) -> None:
    alice, bob = await agent(pair[0], "alice"), await agent(pair[1], "bob")
    assert (await bob.register(expires=0)).status == 200
    await eventually(lambda: _is(alice, "sip:bob@localhost", "no_such_user"))
    await bob.register()
    invite = await alice.send("INVITE", "sip:bob@localhost")
    await bob.heard("INVITE")
    await bob.close()
    assert (await alice.ask("INFO", bob.contact, to="<sip:bob@localhost>;tag=t", call="1")).status == 480
    assert (await alice.status(100))["call-id"] == invite["call-id"]


async def _is(agent: SipAgent, uri: str, code: str) -> bool:
    return (await agent.ask("MESSAGE", uri, body="x")).code == code


async def test_text_between_sip_and_native_clients(pair: tuple[Relay, Relay], agent: Enter, enter: MakeClient) -> None:
    native = await enter(pair[1], "/rooms/calls?peer=nat")
    alice = await agent(pair[0], "alice", "X-Relay: messages")
    assert (await alice.ask("MESSAGE", "sip:calls@x", body='{"m":1,"key":"k"}', kind="application/json")).status == 200
    assert {key: value for key, value in (await native.next()).items() if key != "id"} == {
        "m": 1, "key": "k", "from": "alice",
    }  # fmt: skip
    await native.send({"message": "é ☃"})
    heard = await alice.heard("MESSAGE")
    assert (heard.data["message"], heard.sender, heard["content-type"]) == ("é ☃", "nat", "application/json")
    # A native client cannot write SIP.
    await native.send({"to": "alice", "channel": "sip", "message": alice.request("BYE", alice.contact)})
    await native.send({"to": "alice", "message": "next"})
    assert (await alice.next()).data["message"] == "next"


async def test_passwords_of_any_worker(fleet_of: MakeFleet) -> None:
    """A challenge of one worker is answered at another one."""
    here, there = await fleet_of(2, auth="required", auth_secret=SECRET)
    alice = await SipAgent("alice").connect(here)
    challenge = (await alice.register())["www-authenticate"]
    await alice.connect(there)
    made = mint(SECRET, "calls", "alice", int(time.time()) + 60)
    assert (await alice.register(more=(digest_answer(challenge, made["username"], made["password"]),))).status == 200
    await alice.drop()


async def test_bad_input_harms_nobody(pair: tuple[Relay, Relay], agent: Enter) -> None:
    """The torture tests of RFC 4475, and registrations in a flood."""
    alice, mallory = await agent(pair[0], "alice"), SipAgent("mallory")
    for torture in MESSAGES:
        await mallory.connect(pair[0])
        await mallory.raw(torture.data)
        await mallory.raw(mallory.request("OPTIONS", "sip:localhost", call="after"))
        try:
            await mallory.until(lambda one: one.get("call-id") == "after")
        except SipEnded as ended:
            assert (torture.expected, ended.reason) == (Expected.NOT_SIP, "bad_packet"), torture.name
    flood = [SipAgent("eve") for _ in range(12)]
    answers = [await (await one.connect(pair[0])).register() for one in flood]
    assert [one.status for one in answers].count(200) == 8
    assert {one.code for one in answers} == {"", "too_many_bindings"}
    invite = await alice.send("INVITE", "sip:eve@localhost")
    for one in flood[:8]:
        await one.heard("INVITE")
        await one.drop()
    assert (await alice.status(100))["call-id"] == invite["call-id"]
    for one in flood[8:]:
        await one.drop()
    assert "Traceback" not in pair[0].logged
    await mallory.drop()
