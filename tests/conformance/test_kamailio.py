"""The same dialogues for the relay and for Kamailio; `DIFFERENCES` has all that the clients get differently."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import WebSocketException

from tests.fleet import Relay, eventually, require
from tests.ports import free_port
from tests.sip_client import Address, Sip, SipAgent

CONFIGURATION: Final = """#!KAMAILIO
debug=-1
log_stderror=yes
children=1
tcp_children=2
tcp_accept_no_cl=yes
auto_aliases=no
dns=no
rev_dns=no
listen=tcp:127.0.0.1:{port}
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "rr.so"
loadmodule "maxfwd.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "siputils.so"
loadmodule "textops.so"
loadmodule "xhttp.so"
loadmodule "nathelper.so"
loadmodule "websocket.so"
modparam("nathelper|registrar", "received_avp", "$avp(RECEIVED)")
modparam("registrar", "min_expires", 30)
modparam("registrar", "max_contacts", 8)

request_route {{
    force_rport();
    if (!mf_process_maxfwd_header("70")) {{
        sl_send_reply("483", "Too Many Hops");
        exit;
    }}
    if (is_method("CANCEL")) {{
        if (t_check_trans()) t_relay();
        exit;
    }}
    if (is_method("REGISTER")) {{
        fix_nated_register();
        if (!save("location")) sl_reply_error();
        exit;
    }}
    if (is_method("INVITE|UPDATE|SUBSCRIBE")) add_contact_alias();
    if (has_totag()) {{
        handle_ruri_alias();
        if (is_method("ACK") && t_check_trans()) exit;
        t_on_reply("ANSWER");
        t_relay();
        exit;
    }}
    t_check_trans();
    if ($rU == $null) {{
        if (is_method("OPTIONS")) sl_send_reply("200", "OK");
        else sl_send_reply("405", "Method Not Allowed");
        exit;
    }}
    if (!lookup("location")) {{
        sl_send_reply("404", "Not Found");
        exit;
    }}
    t_on_reply("ANSWER");
    t_relay();
}}

onreply_route[ANSWER] {{
    add_contact_alias();
}}

event_route[xhttp:request] {{
    if (ws_handle_handshake()) exit;
    xhttp_reply("404", "Not Found", "", "");
}}
"""

SDP: Final = "v=0\r\n"


class Party(SipAgent):
    """A user agent that keeps the shape of each message that it reads."""

    def __init__(self, user: str) -> None:
        super().__init__(user)
        self.heard: list[str] = []

    async def hear(self, kind: str) -> Sip:
        """Read up to a request of this method, or a response with this status and method."""
        while True:
            message = await self.next()
            self.heard.append(shape(message))
            if kind == (f"{message.status} {message.method}" if message.status else message.method):
                return message

    async def invite(self, user: str) -> Sip:
        own = (f"Contact: <{self.contact}>",)
        return await self.send("INVITE", f"sip:{user}@localhost", body=SDP, kind="application/sdp", more=own)

    async def within(self, dialog: Sip, method: str, *, number: int, body: str = "", more: tuple[str, ...] = ()) -> Sip:
        """Send a request within the dialog that a message shows: a 2xx to this client, or an INVITE to it."""
        target = dialog["contact"].partition("<")[2].partition(">")[0]
        to, own = (dialog["to"], dialog["from"]) if dialog.status else (dialog["from"], ";tag=b")
        tag = own.rpartition(";tag=")[2]
        return await self.send(
            method, target, to=to, call=dialog["call-id"], number=number, tag=tag, body=body, more=more
        )

    async def acknowledge(self, refused: Sip, invite: Sip) -> None:
        """Send the ACK for a refusal, which is of the transaction of the INVITE."""
        branch = invite["via"].partition("branch=")[2]
        await self.send("ACK", invite.uri, to=refused["to"], call=invite["call-id"], branch=branch)


def shape(message: Sip) -> str:
    """Write the parts of a message by which clients decide.

    Each proxy chooses the Max-Forwards of its own requests, which have one Via.
    """
    vias = len(message.fields.get("via", []))
    if message.status:
        to = " tag" if ";tag=" in message["to"] else ""
        contact = " contact" if "contact" in message.fields else ""
        return f"{message.status} {message.method} vias={vias}{to}{contact}"
    return f"{message.method} vias={vias}" + (f" hops={message['max-forwards']}" if vias > 1 else "")


Parties = dict[str, Party]
Step = Callable[[Party, Party, Party, Party], Awaitable[None]]


async def register(ann: Party, ben: Party, first: Party, second: Party) -> None:
    for one in (ann, ben, first, second):
        await one.send(
            "REGISTER",
            "sip:localhost",
            to=one.address,
            call=one.registration,
            more=(f"Contact: <{one.contact}>;expires=600",),
        )
        await one.hear("200 REGISTER")


async def ask_the_server(ann: Party, *_: Party) -> None:
    await ann.send("OPTIONS", "sip:localhost")
    await ann.hear("200 OPTIONS")


async def call_and_hang_up(ann: Party, ben: Party, *_: Party) -> None:
    await ann.invite("ben")
    invite = await ben.hear("INVITE")
    await ben.answer(invite, 180, tag="b")
    await ann.hear("180 INVITE")
    await ben.answer(invite, 200, tag="b", body=SDP)
    answer = await ann.hear("200 INVITE")
    await ann.within(answer, "ACK", number=1)
    await ben.hear("ACK")
    await ann.within(answer, "BYE", number=2)
    await ben.answer(await ben.hear("BYE"), 200)
    await ann.hear("200 BYE")


async def talk_within_a_call(ann: Party, ben: Party, *_: Party) -> None:
    await ann.invite("ben")
    invite = await ben.hear("INVITE")
    await ben.answer(invite, 200, tag="b", body=SDP)
    answer = await ann.hear("200 INVITE")
    await ann.within(answer, "ACK", number=1)
    await ben.hear("ACK")
    more = {"INFO": ("Content-Type: application/dtmf-relay",), "REFER": ("Refer-To: <sip:first@localhost>",)}
    for number, method in enumerate(("INFO", "UPDATE", "REFER"), 2):
        await ann.within(answer, method, number=number, more=more.get(method, ()))
        await ben.answer(await ben.hear(method), 200)
        await ann.hear(f"200 {method}")
    await ben.within(invite, "NOTIFY", number=1, body="SIP/2.0 100 Trying")
    await ann.answer(await ann.hear("NOTIFY"), 200)
    await ben.hear("200 NOTIFY")
    # Hold, by the callee.
    await ben.within(invite, "INVITE", number=2, body=SDP, more=(f"Contact: <{ben.contact}>",))
    await ann.answer(await ann.hear("INVITE"), 200, body=SDP)
    held = await ben.hear("200 INVITE")
    await ben.within(held, "ACK", number=2)
    await ann.hear("ACK")
    await ben.within(invite, "BYE", number=3)
    await ann.answer(await ann.hear("BYE"), 200)
    await ben.hear("200 BYE")


async def be_busy(ann: Party, ben: Party, *_: Party) -> None:
    sent = await ann.invite("ben")
    await ben.answer(await ben.hear("INVITE"), 486, tag="b")
    await ann.acknowledge(await ann.hear("486 INVITE"), sent)
    await ben.hear("ACK")


async def cancel(ann: Party, ben: Party, *_: Party) -> None:
    sent = await ann.invite("ben")
    invite = await ben.hear("INVITE")
    await ben.answer(invite, 180, tag="b")
    await ann.hear("180 INVITE")
    branch = sent["via"].partition("branch=")[2]
    await ann.send("CANCEL", sent.uri, to=sent["to"], call=sent["call-id"], branch=branch)
    await ann.hear("200 CANCEL")
    await ben.answer(await ben.hear("CANCEL"), 200, tag="b")
    await ben.answer(invite, 487, tag="b")
    await ann.acknowledge(await ann.hear("487 INVITE"), sent)
    await ben.hear("ACK")


async def ring_two_devices(ann: Party, _: Party, first: Party, second: Party) -> None:
    await ann.invite("carol")
    invites = [await one.hear("INVITE") for one in (first, second)]
    for tag, one, invite in zip("12", (first, second), invites, strict=True):
        await one.answer(invite, 180, tag=tag)
        await ann.hear("180 INVITE")
    await first.answer(invites[0], 200, tag="1", body=SDP)
    answer = await ann.hear("200 INVITE")
    await second.answer(await second.hear("CANCEL"), 200, tag="2")
    await second.answer(invites[1], 487, tag="2")
    await second.hear("ACK")
    await ann.within(answer, "ACK", number=1)
    await first.hear("ACK")
    await ann.within(answer, "BYE", number=2)
    await first.answer(await first.hear("BYE"), 200)
    await ann.hear("200 BYE")


async def be_refused_by_two_devices(ann: Party, _: Party, first: Party, second: Party) -> None:
    sent = await ann.invite("carol")
    for status, one in ((486, first), (404, second)):
        await one.answer(await one.hear("INVITE"), status, tag="x")
        await one.hear("ACK")
    await ann.acknowledge(await ann.hear("404 INVITE"), sent)


async def be_declined_by_one_of_two(ann: Party, _: Party, first: Party, second: Party) -> None:
    sent = await ann.invite("carol")
    invites = [await one.hear("INVITE") for one in (first, second)]
    await second.answer(invites[1], 180, tag="2")
    await ann.hear("180 INVITE")
    await first.answer(invites[0], 603, tag="1")
    await first.hear("ACK")
    await second.answer(await second.hear("CANCEL"), 200, tag="2")
    await second.answer(invites[1], 487, tag="2")
    await second.hear("ACK")
    await ann.acknowledge(await ann.hear("603 INVITE"), sent)


async def write(ann: Party, ben: Party, *_: Party) -> None:
    await ann.send("MESSAGE", "sip:ben@localhost", body="hello")
    await ben.answer(await ben.hear("MESSAGE"), 200, tag="b")
    await ann.hear("200 MESSAGE")


async def call_nobody(ann: Party, *_: Party) -> None:
    sent = await ann.invite("nobody")
    await ann.acknowledge(await ann.hear("404 INVITE"), sent)


async def send_too_far(ann: Party, *_: Party) -> None:
    await ann.send("MESSAGE", "sip:ben@localhost", body="x", hops=0)
    await ann.hear("483 MESSAGE")


async def repeat_an_invite(ann: Party, ben: Party, *_: Party) -> None:
    sent = await ann.invite("ben")
    invite = await ben.hear("INVITE")
    await ben.answer(invite, 180, tag="b")
    await ann.hear("180 INVITE")
    await ann.raw(sent.text)
    # The server has read the copy when it answers this.
    await ann.send("OPTIONS", "sip:localhost")
    await ann.hear("200 OPTIONS")
    await ben.answer(invite, 486, tag="b")
    await ann.acknowledge(await ann.hear("486 INVITE"), sent)
    await ben.hear("ACK")


async def unregister(ann: Party, ben: Party, *_: Party) -> None:
    own = (f"Contact: <{ben.contact}>;expires=0",)
    await ben.send("REGISTER", "sip:localhost", to=ben.address, call=ben.registration, number=2, more=own)
    await ben.hear("200 REGISTER")
    sent = await ann.invite("ben")
    await ann.acknowledge(await ann.hear("404 INVITE"), sent)


STEPS: Final[tuple[Step, ...]] = (
    register,
    ask_the_server,
    call_and_hang_up,
    talk_within_a_call,
    be_busy,
    cancel,
    ring_two_devices,
    be_refused_by_two_devices,
    be_declined_by_one_of_two,
    write,
    call_nobody,
    send_too_far,
    repeat_an_invite,
    unregister,
)

Heard = dict[str, list[str]]

_CALLEE: Final = ["INVITE vias=2 hops=69", "ACK vias=1"]
_RINGS: Final = "180 INVITE vias=1 tag contact"
_ENDS: Final = ["200 OPTIONS vias=1 tag", "486 INVITE vias=1 tag contact"]

DIFFERENCES: Final[dict[str, tuple[Heard, Heard]]] = {
    "repeat_an_invite": (
        {"ann": ["100 INVITE vias=1", _RINGS, *_ENDS], "ben": _CALLEE},
        {"ann": ["100 INVITE vias=1", _RINGS, _RINGS, *_ENDS], "ben": _CALLEE},
    ),
}
"""Step → the messages that clients of the relay get, and those of Kamailio; docs/gateways/sip.md has a table."""


async def run(*servers: Address) -> dict[str, Heard]:
    """Run all dialogues, with clients at these servers by turns; return by step the messages that each client got."""
    parties = {"ann": Party("ann"), "ben": Party("ben"), "first": Party("carol"), "second": Party("carol")}
    for one, server in zip(parties.values(), itertools.cycle(servers)):
        await one.connect(server)
    found: dict[str, Heard] = {}
    for step in STEPS:
        await step(*parties.values())
        found[step.__name__] = {name: one.heard for name, one in parties.items() if one.heard}
        for one in parties.values():
            one.heard = []
    for one in parties.values():
        await one.close()
    return found


class Kamailio:
    """A Kamailio of the test, as the address that clients connect to."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def answers(self) -> bool:
        """Whether it takes a client."""
        try:
            await (visitor := SipAgent("visitor")).connect(self)
        except (OSError, WebSocketException):
            return False
        await visitor.close()
        return True


@pytest.fixture
async def kamailio(tmp_path: Path) -> AsyncIterator[Kamailio]:
    program, port = require("kamailio"), free_port()
    configuration = tmp_path / "kamailio.cfg"
    configuration.write_text(CONFIGURATION.format(port=port))
    options = ("-f", str(configuration), "-w", str(tmp_path), "-Y", str(tmp_path), "-P", str(tmp_path / "pid"))
    process = await asyncio.create_subprocess_exec(
        program, *options, "-DD", "-E", "-m", "32", "-M", "4", cwd=tmp_path, env={**os.environ, "TZ": "UTC"}
    )
    server = Kamailio(port)
    try:
        await eventually(server.answers, 60)
        yield server
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def test_the_clients_of_both_get_the_same(kamailio: Kamailio, pair: tuple[Relay, Relay]) -> None:
    relay, other = await run(*pair), await run(kamailio)
    differing = {name: (relay[name], other[name]) for name in relay if relay[name] != other[name]}
    assert differing == DIFFERENCES
