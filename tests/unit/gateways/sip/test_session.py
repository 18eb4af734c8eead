"""SIP sessions over the memory backend."""

import re
import time
from typing import Any
from urllib.parse import unquote

import pytest

from relay.config import Settings
from relay.gateways.sip import session
from relay.gateways.sip.digest import mint
from relay.gateways.sip.login import Logins
from relay.limits import Pace
from relay.rooms.worker import Worker
from tests.sip_client import Sip, SipEnded, digest_answer
from tests.tokens import SECRET, token
from tests.unit.gateways.base.fakes import until, until_members
from tests.unit.gateways.sip.fakes import Enter, LocalAgent, Native
from tests.unit.gateways.sip.torture import ANSWERS, MESSAGES, Torture


class SipText:
    """A request with another From than that of the agent that sends it."""

    def __init__(self, agent: LocalAgent, user: str, method: str = "REGISTER", uri: str = "sip:localhost") -> None:
        self.agent, self.user, self.method, self.uri = agent, user, method, uri

    async def send(self) -> Sip:
        own, self.agent.user = self.agent.user, self.user
        try:
            return await self.agent.send(self.method, self.uri, to=self.agent.address, more=("m: <sip:a@b>",))
        finally:
            self.agent.user = own


async def ring(caller: LocalAgent, callee: LocalAgent) -> tuple[Sip, Sip]:
    """Let an agent call another one, whose phone rings."""
    invite = await caller.send("INVITE", f"sip:{callee.user}@localhost", more=(f"Contact: <{caller.contact}>",))
    received = await callee.heard("INVITE")
    await callee.answer(received, 180, tag="t")
    assert (await caller.next()).status == 100
    assert (await caller.next()).status == 180
    return invite, received


async def test_a_call(enter: Enter) -> None:
    alice, bob = await enter("alice"), await enter("bob")
    invite, received = await ring(alice, bob)
    assert received.uri == bob.contact
    assert received["max-forwards"] == "69"
    await bob.answer(received, 200, tag="t")
    accepted = await alice.next()
    assert (accepted.status, accepted["via"]) == (200, invite["via"])
    to = invite["to"] + ";tag=t"
    await alice.send("ACK", bob.contact, to=to, call=invite["call-id"])
    assert (await bob.heard("ACK")).uri == bob.contact
    bye = await bob.send("BYE", alice.contact, to=f"{alice.address};tag=f", call=invite["call-id"], tag="t")
    await alice.answer(await alice.heard("BYE"), 200)
    assert (await bob.final(bye)).status == 200
    bye = await alice.send("BYE", bob.contact, to=to, call=invite["call-id"], number=2)
    await bob.answer(await bob.heard("BYE"), 481)
    assert (await alice.final(bye)).status == 481


async def test_the_target_of_an_attended_transfer_hangs_up(enter: Enter) -> None:
    """SIP.js has the target's Contact in Refer-To: within the new call, that is the target's name."""
    carol, bob = await enter("carol"), await enter("bob")
    invite = await bob.send("INVITE", carol.contact, to=f"<{carol.contact}>", more=(f"Contact: <{bob.contact}>",))
    received = await carol.heard("INVITE")
    await carol.answer(received, 200, tag="t")
    assert (await bob.final(invite)).status == 200
    carol.called = carol.contact
    call, to = invite["call-id"], f"{bob.address};tag=f"
    for number, method in enumerate(("INFO", "BYE"), 1):
        sent = await carol.send(method, bob.contact, to=to, call=call, tag="t", number=number)
        await bob.answer(await bob.heard(method), 200)
        assert (await carol.final(sent)).status == 200
    # Outside a call it is a name that nobody has registered, and in a MESSAGE it would be shown.
    for method, receiver in (("OPTIONS", bob.address), ("MESSAGE", to)):
        assert (await carol.ask(method, bob.contact, to=receiver)).code == "wrong_from"
    carol.called = bob.contact
    assert (await carol.ask("BYE", bob.contact, to=to, call=call, tag="t", number=3)).code == "wrong_from"


async def test_a_contact_is_found_where_it_is_registered_now(worker: Worker, enter: Enter) -> None:
    """The device was away, and another one has its place."""
    alice, bob = await enter("alice"), await enter("bob")
    invite, received = await ring(alice, bob)
    await bob.answer(received, 200, tag="t")
    await alice.next()
    bob.lose(1000)
    await until_members(worker, "calls", {"alice": False})
    second = await enter("bob")
    back = await enter("bob", contact=bob.contact, registration=bob.registration)
    assert (second.session.peer, back.session.peer[:4]) == ("bob", "bob;")
    bye = await alice.send("BYE", bob.contact, to=invite["to"] + ";tag=t", call=invite["call-id"], number=2)
    await back.answer(await back.heard("BYE"), 200)
    assert (await alice.final(bye)).status == 200


async def test_a_cancel_of_no_request_is_answered_once(enter: Enter) -> None:
    alice = await enter("alice")
    for uri in ("sip:nobody@localhost", "sip:x@gone.invalid", "sip:alice@localhost"):
        sent = await alice.send("CANCEL", uri)
        assert (await alice.final(sent)).code == "no_such_transaction"
    await alice.send("OPTIONS", "sip:localhost")
    assert "OPTIONS" in (await alice.next())["cseq"]


# The registrar.


async def test_a_lost_client_is_held_and_gets_the_missed_messages(worker: Worker, enter: Enter) -> None:
    alice, bob = await enter("alice"), await enter("bob")
    invite, received = await ring(alice, bob)
    await bob.answer(received, 200, tag="t")
    await alice.next()
    bob.lose()
    await until_members(worker, "calls", {"alice": False, "bob": True})
    bye = await alice.send("BYE", bob.contact, to=invite["to"] + ";tag=t", call=invite["call-id"], number=2)
    back = await enter("bob", contact=bob.contact, registration=bob.registration)
    await back.answer(await back.heard("BYE"), 200)
    assert (await alice.final(bye)).status == 200
    await until_members(worker, "calls", {"alice": False, "bob": False})


async def test_a_connection_has_one_user_and_no_name_of_another_protocol(worker: Worker, enter: Enter) -> None:
    alice = await enter("alice")
    other = SipText(alice, "bob")
    assert (await alice.final(await other.send())).code == "too_many_bindings"
    await Native(worker).enter("nat")
    nat = await enter("nat", register=False)
    refused = await nat.register()
    assert (refused.status, refused.code) == (403, "peer_taken")


@pytest.mark.parametrize(
    ("method", "uri", "more", "status", "code"),
    [
        ("OPTIONS", "sip:localhost", (), 200, ""),
        ("OPTIONS", "sip:localhost", ("Require: x",), 420, "bad_extension"),
        ("REGISTER", "sip:localhost", ("Require: x",), 420, "bad_extension"),
        ("INVITE", "sip:localhost", (), 405, "sip_method_unknown"),
        ("SUBSCRIBE", "sip:localhost", (), 489, "no_event_package"),
        ("CANCEL", "sip:localhost", (), 481, "no_such_transaction"),
        ("INVITE", "sip:bob@x", (), 403, "not_registered"),
        ("REGISTER", "sip:localhost", ("m: sip:a@b;expires=1",), 423, "too_brief"),
    ],
)
async def test_answers_of_the_relay(
    enter: Enter, method: str, uri: str, more: tuple[str, ...], status: int, code: str
) -> None:
    alice = await enter("alice", register=False)
    answer = await alice.ask(method, uri, to=alice.address, more=more)
    assert (answer.status, answer.code) == (status, code)
    expected = {"bad_extension": ("unsupported", "x"), "too_brief": ("min-expires", "30")}
    if code in expected:
        name, value = expected[code]
        assert answer[name] == value
    if status in (200, 405):
        assert "INVITE" in answer["allow"]


# The proxy.


async def test_requests_that_go_nowhere(enter: Enter) -> None:
    alice = await enter("alice")
    for uri, hops, code in (
        ("sip:nobody@x", 70, "no_such_user"), ("sip:x@gone.invalid", 70, "no_such_peer"), ("sip:alice@x", 70, "loop"),
        ("sips:bob@x", 70, "bad_scheme"), ("sip:bob@x", 0, "too_many_hops"), ("sip:bob@x", 300, "bad_sip"),
    ):  # fmt: skip
        assert (await alice.ask("INVITE", uri, hops=hops)).code == code
    mallory = SipText(alice, "bob", method="OPTIONS", uri="sip:x@y")
    assert (await alice.final(await mallory.send())).code == "wrong_from"
    text = alice.request("OPTIONS", "sip:bob@x").replace("SIP/2.0\r\n", "SIP/3.0\r\n", 1)
    await alice.raw(text)
    assert (await alice.next()).status == 505
    await alice.raw(alice.request("MESSAGE", "sip:bob@x", body="xx").encode()[:-1] + b"\xff")
    assert (await alice.next()).status == 415


@pytest.mark.parametrize("torture", MESSAGES, ids=[one.name for one in MESSAGES])
async def test_answers_to_the_torture_messages(enter: Enter, torture: Torture) -> None:
    user = re.search(r"^from\s*:.*?sip:([^@]+)@", torture.text, re.MULTILINE | re.IGNORECASE | re.DOTALL)
    sender = await enter(
        unquote(user[1]) if user else "caller", register="REGISTER" not in torture.text.split("\r\n")[0]
    )
    await sender.raw(torture.data)
    await sender.raw(sender.request("OPTIONS", "sip:localhost", call="after"))
    try:
        answer = await sender.next()
    except SipEnded:
        assert ANSWERS[torture.name] == "none: the connection is closed"
        return
    if answer.get("call-id") == "after":
        assert ANSWERS[torture.name] == "none, as it is a response"
    else:
        assert ANSWERS[torture.name].startswith(str(answer.status))


async def test_a_call_is_cancelled(enter: Enter) -> None:
    alice, bob = await enter("alice"), await enter("bob")
    invite, received = await ring(alice, bob)
    branch = invite["via"].partition("branch=")[2]
    cancelled = await alice.send("CANCEL", "sip:bob@localhost", branch=branch, call=invite["call-id"])
    assert (await alice.final(cancelled)).status == 200
    cancel = await bob.heard("CANCEL")
    assert cancel["via"] == received["via"]
    assert cancel.uri == bob.contact
    await bob.answer(cancel, 200)
    await bob.answer(received, 487, tag="t")
    assert (await bob.heard("ACK"))["via"] == received["via"]
    assert (await alice.final(invite)).status == 487
    await alice.send("ACK", "sip:bob@localhost", branch=branch, call=invite["call-id"])
    await alice.send("OPTIONS", "sip:bob@localhost")
    # The ACK of the caller ended at the relay.
    assert (await bob.next()).method == "OPTIONS"


async def test_a_request_counts_once_for_each_device(enter: Enter, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []
    devices = [await enter("bob") for _ in range(3)]
    alice = await enter("alice")
    monkeypatch.setattr(Pace, "spend", lambda _, messages: spent.append(messages))
    await alice.send("INVITE", "sip:bob@x")
    for device in devices:
        await device.heard("INVITE")
    await alice.ask("OPTIONS", "sip:localhost")
    assert sum(spent) == 2


async def test_a_message_to_the_room_counts_as_its_deliveries(
    worker: Worker, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker says for how long the sender is to be held, as of every message to many."""
    alice, held, publish = await enter("alice"), list[float](), worker.publish

    def publish_to_many(*arguments: Any) -> float:
        publish(*arguments)
        return 0.5

    monkeypatch.setattr(worker, "publish", publish_to_many)
    monkeypatch.setattr(Pace, "hold", lambda _, seconds: held.append(seconds))
    assert (await alice.ask("MESSAGE", "sip:calls@x", body="hello")).status == 200
    assert held == [0.5]


# Text.


async def test_text_reaches_the_room_and_comes_back(worker: Worker, enter: Enter) -> None:
    native = await Native(worker).enter("nat")
    alice, bob = await enter("alice"), await enter("bob", more=("X-Relay: messages",))
    assert (await alice.ask("MESSAGE", "sip:calls@x", body="hello")).status == 200
    assert (await alice.ask("MESSAGE", "sip:calls@x", body='{"a":1}', kind="application/json")).status == 200
    heard = [await bob.heard("MESSAGE") for _ in range(2)]
    assert [one.sender for one in heard] == ["alice", "alice"]
    assert heard[0].data["message"] == "hello"
    assert heard[1].data["a"] == 1
    await until(lambda: len(native.connection.events) == 3)
    native.send(message="to all")
    native.send(to="alice", message="to alice")
    assert (await alice.heard("MESSAGE")).data["message"] == "to all"
    assert (await alice.heard("MESSAGE")).data["message"] == "to alice"
    assert (await alice.ask("MESSAGE", "sip:nat@x", body="direct")).status == 200
    await until(lambda: native.connection.events[-1].get("to") == "nat")
    assert (await alice.ask("MESSAGE", "sip:calls@x", body="no", kind="application/json")).code == "bad_json"
    assert (await alice.ask("MESSAGE", "sip:none@x", body="x")).code == "no_such_user"


async def test_text_between_sip_clients_is_forwarded(enter: Enter) -> None:
    alice, bob = await enter("alice"), await enter("bob")
    sent = await alice.send("MESSAGE", "sip:bob@x", body="hello ☃", more=("X-Unknown: kept",))
    received = await bob.heard("MESSAGE")
    assert (received.body, received["x-unknown"]) == ("hello ☃", "kept")
    await bob.answer(received, 202)
    assert (await alice.final(sent)).status == 202


# Limits and tokens.


async def test_bearer_and_digest() -> None:
    settings = Settings(auth="required", auth_secret=SECRET)
    async with Worker(settings, {"sip": []}) as worker:
        logins = Logins(worker)
        agents = [await LocalAgent(worker, logins, user).begin() for user in ("alice", "bob", "bob")]
        alice, bob, second = agents
        challenge = await alice.register()
        assert (challenge.status, challenge.code) == (401, "token_required")
        made = mint(SECRET, "calls", "alice", int(time.time()) + 60)
        proof = digest_answer(challenge["www-authenticate"], made["username"], made["password"])
        assert (await alice.register(more=(proof,))).status == 200
        assert (await alice.register()).status == 200
        wrong = digest_answer(challenge["www-authenticate"], made["username"], "wrong")
        refused = await bob.register(more=(wrong,))
        assert (refused.status, refused.code) == (401, "bad_challenge")
        assert "stale" not in refused["www-authenticate"]
        # A recorded answer is worth nothing; the client itself would answer the next challenge.
        again = await second.register(more=(proof,))
        assert (again.status, again.code) == (401, "bad_challenge")
        assert again["www-authenticate"].endswith("stale=true")
        other = digest_answer(again["www-authenticate"], made["username"], made["password"])
        assert (await bob.register(more=(other,))).code == "wrong_peer"
        bearer = f"Authorization: Bearer {token(sub='bob', rooms=['calls'])}"
        # The token allows the user, and so each of its devices; a second token renews the first.
        for one in (bob, second, second):
            assert (await one.register(more=(bearer,))).status == 200
        assert len((await worker.roster("calls")).members) == 3
        assert (await bob.register(more=("Authorization: Bearer nonsense",))).code == "bad_token"


async def test_a_guest_does_not_share_a_name() -> None:
    async with Worker(Settings(auth="optional", auth_secret=SECRET), {"sip": []}) as worker:
        logins = Logins(worker)
        alice, guest = [await LocalAgent(worker, logins, "alice").begin() for _ in range(2)]
        bearer = f"Authorization: Bearer {token(sub='alice', rooms=['calls'])}"
        assert (await alice.register(more=(bearer,))).status == 200
        refused = await guest.register()
        assert (refused.status, refused.code) == (403, "peer_taken")


async def test_a_client_that_knows_a_contact_has_neither_its_place_nor_its_calls(worker: Worker, enter: Enter) -> None:
    """Without auth, only the client has the Call-ID of REGISTER."""
    alice, bob = await enter("alice"), await enter("bob")
    for user, code in (("alice", "peer_taken"), ("mallory", "contact_taken")):
        thief = await enter(user, register=False, contact=alice.contact)
        refused = await thief.register()
        assert (refused.status, refused.code) == (403, code)
    alice.lose()
    await until_members(worker, "calls", {"alice": True, "bob": False})
    thief = await enter("alice", contact=alice.contact)
    assert thief.session.peer == f"alice;{alice.contact[4:].partition(';')[0]}"
    await bob.send("OPTIONS", "sip:alice@x")
    back = await enter("alice", contact=alice.contact, registration=alice.registration)
    await back.heard("OPTIONS")


async def test_with_auth_a_client_that_does_not_register_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "LOGIN_TIMEOUT", 0)
    async with Worker(Settings(auth="required", auth_secret=SECRET), {"sip": []}) as worker:
        alice = await LocalAgent(worker, Logins(worker), "alice").begin()
        with pytest.raises(SipEnded, match="4504 token_refused"):
            await alice.next()
        monkeypatch.setattr(session, "LOGIN_TIMEOUT", 60)
        bob = await LocalAgent(worker, Logins(worker), "bob").begin()
        timer = bob.session._login
        bearer = f"Authorization: Bearer {token(sub='bob', rooms=['calls'])}"
        assert (await bob.register(more=(bearer,))).status == 200
        assert timer is not None
        assert timer.cancelled()
