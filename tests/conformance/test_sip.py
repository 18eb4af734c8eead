"""JsSIP 3.13.8 and SIP.js 0.21.2 in Node, unmodified, with real WebRTC between clients on two workers."""

import re
import time
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from relay.gateways.sip.digest import mint
from tests.conformance.programs import ClientProgram
from tests.conformance.sio import require_packages
from tests.conftest import MakeClient, MakeFleet
from tests.documentation import snippet
from tests.fleet import Relay, require
from tests.tokens import SECRET, token

PROGRAM = Path(__file__).parent / "sip_clients.mjs"
LIBRARIES = ("jssip", "sipjs")


class Phones(ClientProgram):
    """A process that runs `sip_clients.mjs`."""

    async def until(self, client: str, what: str, **fields: Any) -> dict[str, Any]:
        """Return the next happening of this kind; those before it are passed over, but for failures."""
        while (happened := await self.next(client))["what"] != what:
            assert happened["what"] not in ("failed", "refused"), happened
        assert fields.items() <= happened.items(), happened
        return happened

    def do(self, client: str, what: str, **fields: Any) -> None:
        self.send({"do": what, "client": client, **fields})

    async def open(self, relay: Relay, user: str, library: str = "jssip", *, name: str = "", **options: Any) -> str:
        """Make a user agent, and wait until it has registered; `name` is its name here."""
        client = name or user
        self.do(client, "open", library=library, user=user, url=f"{relay.ws}/rooms/calls", options=options)
        await self.until(client, "registered")
        return client

    async def call(self, caller: str, callee: str) -> None:
        """Let one call the other, who accepts; return when audio can flow."""
        self.do(caller, "call", to=callee)
        await self.until(callee, "call", **{"from": caller})
        self.do(callee, "answer")
        for one in (caller, callee):
            await self.until(one, "connected")


@pytest.fixture
async def phones() -> AsyncIterator[Phones]:
    require_packages("jssip", "sip.js", "@roamhq/wrtc", "ws")
    program = await Phones.run([require("node"), str(PROGRAM)])
    yield program
    await program.close()


@pytest.mark.smoke
async def test_a_call_of_jssip_between_two_workers(phones: Phones, pair: tuple[Relay, Relay]) -> None:
    """Hold by re-INVITE and UPDATE, DTMF, INFO, and BYE of the callee."""
    alice, bob = await phones.open(pair[0], "alice"), await phones.open(pair[1], "bob")
    await phones.call(alice, bob)
    phones.do(alice, "hold", update=False)
    await phones.until(bob, "hold", by="remote")
    await phones.until(alice, "changed")
    phones.do(alice, "unhold", update=True)
    await phones.until(bob, "unhold", by="remote")
    await phones.until(alice, "changed")
    phones.do(alice, "dtmf", tone="5")
    await phones.until(bob, "dtmf", tone="5")
    phones.do(bob, "info", body='{"a":"☃"}')
    await phones.until(alice, "info", body='{"a":"☃"}')
    phones.do(bob, "end")
    await phones.until(alice, "ended", by="remote")


@pytest.mark.parametrize("callee", LIBRARIES)
@pytest.mark.parametrize("caller", LIBRARIES)
async def test_calls_between_libraries(phones: Phones, pair: tuple[Relay, Relay], caller: str, callee: str) -> None:
    alice = await phones.open(pair[0], "alice", caller)
    bob = await phones.open(pair[1], "bob", callee)
    await phones.call(alice, bob)
    phones.do(alice, "end")
    await phones.until(bob, "ended")
    phones.do(bob, "message", to="alice", body="é ☃")
    await phones.until(alice, "message", body="é ☃", **{"from": "bob"})
    await phones.until(bob, "sent")
    # A callee that is busy, one that is cancelled, and one that is not there.
    phones.do(bob, "call", to="alice")
    await phones.until(alice, "call")
    phones.do(alice, "reject")
    busy = await phones.until(bob, "failed-call" if callee == "jssip" else "rejected")
    assert busy["cause"] in ("Busy", 486)
    phones.do(bob, "call", to="alice")
    await phones.until(alice, "call")
    phones.do(bob, "end")
    await phones.until(alice, "failed-call" if caller == "jssip" else "ended")
    phones.do(alice, "call", to="nobody")
    absent = await phones.until(alice, "failed-call" if caller == "jssip" else "rejected")
    assert absent["cause"] in ("Not Found", 404)


async def test_a_call_rings_on_two_devices(phones: Phones, pair: tuple[Relay, Relay]) -> None:
    alice = await phones.open(pair[0], "alice")
    devices = [
        await phones.open(pair[number], "bob", library, name=f"bob{number}") for number, library in enumerate(LIBRARIES)
    ]
    phones.do(alice, "call", to="bob")
    for device in devices:
        await phones.until(device, "call")
    phones.do("bob1", "answer")
    await phones.until(alice, "connected")
    await phones.until("bob0", "failed-call", cause="Canceled")
    phones.do(alice, "end")
    await phones.until("bob1", "ended")


async def test_a_call_is_transferred(phones: Phones, pair: tuple[Relay, Relay]) -> None:
    alice, bob = await phones.open(pair[0], "alice"), await phones.open(pair[1], "bob")
    carol = await phones.open(pair[0], "carol")
    await phones.call(alice, bob)
    phones.do(alice, "transfer", to="carol")
    await phones.until(carol, "call", **{"from": "bob"})
    phones.do(carol, "answer")
    await phones.until(carol, "connected")
    await phones.until(alice, "transferred")


async def test_the_callee_loses_its_socket_in_a_call(phones: Phones, pair: tuple[Relay, Relay]) -> None:
    alice, bob = await phones.open(pair[0], "alice"), await phones.open(pair[1], "bob")
    await phones.call(alice, bob)
    phones.do(bob, "lose")
    await phones.until(bob, "disconnected")
    await phones.until(bob, "registered")
    phones.do(alice, "end")
    await phones.until(bob, "ended", by="remote")


async def test_logins(phones: Phones, fleet_of: MakeFleet) -> None:
    """A token as JsSIP has it, and the password that the command makes, for both."""
    relay, other = await fleet_of(2, auth="required", auth_secret=SECRET)
    bearer = token(sub="alice", rooms=["calls"])
    alice = await phones.open(relay, "alice", authorization_jwt=f"Bearer {bearer}")
    made = login("bob")
    await phones.open(other, "bob", authorization_user=made["username"], password=made["password"])
    made = login("carol")
    options = {"authorizationUsername": made["username"], "authorizationPassword": made["password"]}
    carol = await phones.open(other, "carol", "sipjs", **options)
    phones.do(carol, "message", to="alice", body="hello")
    await phones.until(alice, "message", body="hello", **{"from": "carol"})
    for name, library, cause in (("dave", "jssip", "Authentication Error"), ("eve", "sipjs", 401)):
        wrong = {"password": "no"} if library == "jssip" else {"authorizationPassword": "no"}
        phones.do(name, "open", library=library, user=name, url=f"{relay.ws}/rooms/calls", options=wrong)
        while (happened := await phones.next(name))["what"] != "refused":
            pass
        assert happened["cause"] == cause


def login(user: str) -> dict[str, str]:
    """Return the user name and the password of a user, as the command makes them."""
    return dict(mint(SECRET, "calls", user, int(time.time()) + 60))


async def test_text_to_the_room(phones: Phones, pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    native = await enter(pair[1], "/rooms/calls?peer=nat")
    alice = await phones.open(pair[0], "alice")
    phones.do(alice, "message", to="calls", body='{"channel":"chat","message":[1]}', type="application/json")
    await phones.until(alice, "sent")
    heard = await native.next()
    assert (heard["message"], heard["channel"], heard["from"]) == ([1], "chat", "alice")
    await native.send({"message": "back"})
    found = await phones.until(alice, "message", **{"from": "nat"})
    assert '"message": "back"' in found["body"]


async def test_the_snippets_of_the_page(phones: Phones, pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    """Those of the documentation, and that of the page at `/`."""
    relay = pair[0]

    def code(name: str) -> str:
        return prepared(snippet(name))

    def prepared(text: str) -> str:
        text = re.sub(r"^ *import .*$", "", text, flags=re.MULTILINE)
        text = text.replace("mediaConstraints: { audio: true }", "pcConfig: { iceServers: [] }")
        return text.replace("localhost:8888", f"127.0.0.1:{relay.port}")

    witness = await enter(relay, "/rooms/demo?presence=1")
    phones.do("bob", "run", code=code("sip-sipjs"))
    await witness.until(lambda event: event.get("joined") == ["bob"])
    phones.do("alice", "run", code=code("sip-jssip") + "\nconsole.log('made');")
    await phones.until("alice", "logged")
    await witness.until(lambda event: event.get("joined") == ["alice"])
    phones.do("carol", "open", library="jssip", user="carol", url=f"{relay.ws}/rooms/demo", options={})
    await phones.until("carol", "registered")
    phones.do("carol", "run", code=code("sip-text"))
    assert (await witness.until(lambda event: event.get("channel") == "chat"))[-1]["message"] == "hello"
    await witness.send({"message": "to all"})
    await phones.until("carol", "logged", value="to all")
    page = (await relay.get("/", headers={"Accept": "text/html"})).text
    found = re.search(r'aria-label="SIP"><code>(.*?)</code>', page, re.DOTALL)
    assert found is not None
    shown = re.sub(r"</?script[^>]*>", "", unescape(found[1]))
    lobby = await enter(relay, "/rooms/lobby?presence=1")
    phones.do("page", "run", code=prepared(shown))
    await lobby.until(lambda event: event.get("joined") == ["alice"])
