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
from tests.conftest import MakeClient, MakeFleet, MakeRelay
from tests.documentation import snippet
from tests.fleet import Relay, require
from tests.sip_phones import LIBRARIES, PAIRS, Happening, Phones
from tests.tokens import SECRET, token

PROGRAM = Path(__file__).parent / "sip_clients.mjs"


class NodePhones(Phones):
    """Phones in a process that runs `sip_clients.mjs`."""

    def __init__(self, program: ClientProgram) -> None:
        super().__init__()
        self._program = program

    async def do(self, client: str, what: str, **fields: Any) -> None:
        self._program.send({"do": what, "client": client, **fields})

    async def happened(self, client: str) -> Happening:
        return await self._program.next(client)


@pytest.fixture
async def phones() -> AsyncIterator[NodePhones]:
    require_packages("jssip", "sip.js", "@roamhq/wrtc", "ws")
    program = await ClientProgram.run([require("node"), str(PROGRAM)])
    yield NodePhones(program)
    await program.close()


@pytest.mark.smoke
async def test_a_call_of_jssip_between_two_workers(phones: Phones, pair: tuple[Relay, Relay]) -> None:
    """Hold by re-INVITE and UPDATE, DTMF, INFO, and BYE of the callee."""
    alice, bob = await phones.open("alice", pair[0]), await phones.open("bob", pair[1])
    await phones.call(alice, bob)
    await phones.use_the_call(alice, bob)
    await phones.hang_up(bob, alice)


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
async def test_calls_between_libraries(phones: Phones, pair: tuple[Relay, Relay], caller: str, callee: str) -> None:
    alice = await phones.open("alice", pair[0], library=caller)
    bob = await phones.open("bob", pair[1], library=callee)
    await phones.call(alice, bob)
    await phones.hang_up(alice, bob)
    await phones.do(bob, "message", to="alice", body="é ☃")
    await phones.until(alice, "message", body="é ☃", **{"from": "bob"})
    await phones.until(bob, "sent")
    # A callee that is busy, one that is cancelled, and one that is not there.
    await phones.do(bob, "call", to="alice")
    await phones.until(alice, "call")
    await phones.do(alice, "reject")
    await phones.is_refused(bob, "Busy", 486)
    await phones.do(bob, "call", to="alice")
    await phones.until(alice, "call")
    await phones.do(bob, "end")
    await phones.is_over(alice)
    await phones.do(alice, "call", to="nobody")
    await phones.is_refused(alice, "Not Found", 404)


async def test_a_call_rings_on_two_devices(phones: Phones, pair: tuple[Relay, Relay]) -> None:
    alice = await phones.open("alice", pair[0])
    devices = [
        await phones.open("bob", pair[number], library=library, name=f"bob{number}")
        for number, library in enumerate(LIBRARIES)
    ]
    await phones.do(alice, "call", to="bob")
    for device in devices:
        await phones.until(device, "call")
    await phones.do("bob1", "answer")
    await phones.until(alice, "connected")
    await phones.is_over("bob0")
    await phones.hang_up(alice, "bob1")


async def test_a_call_is_transferred(phones: Phones, pair: tuple[Relay, Relay]) -> None:
    alice, bob = await phones.open("alice", pair[0]), await phones.open("bob", pair[1])
    carol = await phones.open("carol", pair[0])
    await phones.call(alice, bob)
    await phones.transfer(alice, bob, carol)


async def test_a_call_is_transferred_after_a_talk_with_the_target(phones: Phones, pair: tuple[Relay, Relay]) -> None:
    """REFER with Replaces (RFC 3891)."""
    alice, bob = await phones.open("alice", pair[0]), await phones.open("bob", pair[1])
    carol = await phones.open("carol", pair[1])
    await phones.call(alice, bob)
    await phones.call(alice, carol)
    await phones.transfer_attended(alice, bob, carol)
    await phones.until(carol, "ended")
    await phones.hang_up(carol, bob)


async def test_the_callee_loses_its_socket_in_a_call(phones: Phones, pair: tuple[Relay, Relay]) -> None:
    alice, bob = await phones.open("alice", pair[0]), await phones.open("bob", pair[1])
    await phones.call(alice, bob)
    await phones.do(bob, "lose")
    await phones.until(bob, "disconnected")
    await phones.until(bob, "registered")
    await phones.hang_up(alice, bob)


async def test_a_worker_is_killed_in_a_call(phones: Phones, prefix: str, redis_url: str, start: MakeRelay) -> None:
    """Its client comes back over the other worker, and the call goes on."""
    relays = [await start(redis_url=redis_url, redis_prefix=prefix, reconnect_grace=60) for _ in range(2)]
    alice, bob = await phones.open("alice", *relays), await phones.open("bob", *reversed(relays))
    await phones.call(alice, bob)
    relays[0].process.kill()
    await phones.until(alice, "disconnected")
    await phones.until(alice, "registered")
    await phones.use_the_call(alice, bob)
    await phones.hang_up(bob, alice)


async def test_logins(phones: Phones, fleet_of: MakeFleet) -> None:
    """A token as JsSIP has it, and the password that the command makes, for both."""
    relay, other = await fleet_of(2, auth="required", auth_secret=SECRET)
    bearer = token(sub="alice", rooms=["calls"])
    alice = await phones.open("alice", relay, authorization_jwt=f"Bearer {bearer}")
    made = login("bob")
    await phones.open("bob", other, authorization_user=made["username"], password=made["password"])
    made = login("carol")
    options = {"authorizationUsername": made["username"], "authorizationPassword": made["password"]}
    carol = await phones.open("carol", other, library="sipjs", **options)
    await phones.do(carol, "message", to="alice", body="hello")
    await phones.until(alice, "message", body="hello", **{"from": "carol"})
    for name, library, cause in (("dave", "jssip", "Authentication Error"), ("eve", "sipjs", 401)):
        wrong = {"password": "no"} if library == "jssip" else {"authorizationPassword": "no"}
        await phones.create(name, name, relay, library=library, **wrong)
        while (happened := await phones.happened(name))["what"] != "refused":
            pass
        assert happened["cause"] == cause


def login(user: str) -> dict[str, str]:
    """Return the user name and the password of a user, as the command makes them."""
    return dict(mint(SECRET, "calls", user, int(time.time()) + 60))


async def test_text_to_the_room(phones: Phones, pair: tuple[Relay, Relay], enter: MakeClient) -> None:
    native = await enter(pair[1], "/rooms/calls?peer=nat")
    alice = await phones.open("alice", pair[0])
    await phones.do(alice, "message", to="calls", body='{"channel":"chat","message":[1]}', type="application/json")
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
    await phones.do("bob", "run", code=code("sip-sipjs"))
    await witness.until(lambda event: event.get("joined") == ["bob"])
    await phones.do("alice", "run", code=code("sip-jssip") + "\nconsole.log('made');")
    await phones.until("alice", "logged")
    await witness.until(lambda event: event.get("joined") == ["alice"])
    await phones.open("carol", relay, room="demo")
    await phones.do("carol", "run", code=code("sip-text"))
    assert (await witness.until(lambda event: event.get("channel") == "chat"))[-1]["message"] == "hello"
    await witness.send({"message": "to all"})
    await phones.until("carol", "logged", value="to all")
    page = (await relay.get("/", headers={"Accept": "text/html"})).text
    found = re.search(r'aria-label="SIP"><code>(.*?)</code>', page, re.DOTALL)
    assert found is not None
    shown = re.sub(r"</?script[^>]*>", "", unescape(found[1]))
    lobby = await enter(relay, "/rooms/lobby?presence=1")
    await phones.do("page", "run", code=prepared(shown))
    await lobby.until(lambda event: event.get("joined") == ["alice"])
