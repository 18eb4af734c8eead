"""SIP user agents on two workers: the registrar, calls, forks, faults, and messages of the room."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.fleet import Relay
from tests.sip_client import Sip, SipAgent

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
