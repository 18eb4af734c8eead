"""The same stanzas for the relay and for Prosody, over BOSH; `DIFFERENCES` has all that the clients get differently."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import httpx2 as httpx
import pytest

from tests.fleet import Relay, eventually, require
from tests.gateways.drivers.bosh import BoshWire
from tests.ports import free_port

ROOM: Final = "oracle@conference.localhost"
C: Final = "{jabber:client}"
USER: Final = "{http://jabber.org/protocol/muc#user}"
ERRORS: Final = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
BIND: Final = '<iq xmlns="jabber:client" type="set" id="b"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>'
AUTH: Final = '<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>'
PING: Final = '<ping xmlns="urn:xmpp:ping"/>'

CONFIGURATION: Final = """
daemonize = false
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{folder}"
certificates = "{folder}"
log = {{ {{ levels = {{ min = "error" }}, to = "console" }} }}
modules_enabled = {{ "bosh", "disco", "ping", "saslauth" }}
modules_disabled = {{ "s2s", "offline", "posix" }}
allow_unencrypted_plain_auth = true
c2s_require_encryption = false
consider_bosh_secure = true
c2s_ports = {{ }}
c2s_direct_tls_ports = {{ }}
s2s_ports = {{ }}
http_interfaces = {{ "127.0.0.1" }}
http_ports = {{ {port} }}
https_ports = {{ }}
VirtualHost "localhost"
  authentication = "anonymous"
Component "conference.localhost" "muc"
  muc_room_locking = false
"""

Shape = dict[str, list[str]]

End = Callable[[ElementTree.Element], bool] | int

STEPS: Final[list[tuple[str, str, str, dict[str, End]]]] = []
"""The name of a step, the stanzas by sender, and the element, or the number of them, that ends it for each client."""


def step(name: str, sender: str, stanza: str, **ends: End) -> None:
    STEPS.append((name, sender, stanza, ends))


def is_subject(element: ElementTree.Element) -> bool:
    return element.find(f"{C}subject") is not None


def is_plan(element: ElementTree.Element) -> bool:
    return element.findtext(f"{C}subject") == "plans"


def is_message(element: ElementTree.Element) -> bool:
    return element.find(f"{C}body") is not None


def is_iq(element: ElementTree.Element) -> bool:
    return element.tag == f"{C}iq"


def of(nick: str, kind: str = "") -> Callable[[ElementTree.Element], bool]:
    """Return whether an element is the presence of this occupant."""
    return lambda element: (
        element.tag == f"{C}presence" and element.get("from") == f"{ROOM}/{nick}" and element.get("type", "") == kind
    )


def presence(nick: str, identifier: str, kind: str = "") -> str:
    x = "" if kind else '<x xmlns="http://jabber.org/protocol/muc"/>'
    attribute = f' type="{kind}"' if kind else ""
    return f'<presence xmlns="jabber:client" id="{identifier}" to="{ROOM}/{nick}"{attribute}>{x}</presence>'


def message(content: str, to: str = ROOM, kind: str = "groupchat") -> str:
    return f'<message xmlns="jabber:client" id="m" to="{to}" type="{kind}">{content}</message>'


def query(to: str, content: str = PING, kind: str = "get", identifier: str = "q") -> str:
    return f'<iq xmlns="jabber:client" type="{kind}" id="{identifier}" to="{to}">{content}</iq>'


INFO: Final = '<query xmlns="http://jabber.org/protocol/disco#info"/>'

step("the first client enters", "ann", presence("ann", "p1"), ann=is_subject)
step("the second client enters", "ben", presence("ben", "p2"), ben=is_subject, ann=of("ben"))
step("a message to all", "ann", message("<body>hello</body>"), ann=is_message, ben=is_message)
step("a private message", "ben", message("<body>psst</body>", f"{ROOM}/ann", "chat"), ann=is_message)
step("an IQ to an occupant that is not there", "ann", query(f"{ROOM}/nobody"), ann=is_iq)
step("a ping of oneself", "ann", query(f"{ROOM}/ann"), ann=is_iq)
step("a nick that is taken", "eve", presence("ann", "p3"), eve=of("ann", "error"))
step("a message of a client outside", "eve", message("<body>x</body>"), eve=lambda one: one.get("type") == "error")
step("another nick", "ben", presence("ben 2", "p4"), ben=of("ben 2"), ann=2)
step("a subject", "ann", message("<subject>plans</subject>"), ann=is_plan, ben=is_plan)
step("the features of the room", "ann", query(ROOM, INFO), ann=is_iq)
step("an unknown question to the room", "ann", query(ROOM, '<x xmlns="urn:none"/>'), ann=is_iq)
step("a goodbye", "ben", presence("ben 2", "p5", "unavailable"), ben=of("ben 2", "unavailable"),
     ann=of("ben 2", "unavailable"))  # fmt: skip

DIFFERENCES: Final[dict[str, tuple[Shape, Shape]]] = {
    "the second client enters": (
        {
            "ben": ["presence ann", "presence ben id=p2 110", "message groupchat subject=None"],
            "ann": ["presence ben"],
        },
        {
            "ben": ["presence ann id=p1", "presence ben id=p2 110", "message groupchat subject=None"],
            "ann": ["presence ben id=p2"],
        },
    ),
    "a message of a client outside": (
        {"eve": ["message error id=m modify not-acceptable"]},
        {"eve": ["message error id=m cancel not-acceptable"]},
    ),
    "another nick": (
        {
            "ben": ["presence unavailable ben 110 303", "presence ben 2 id=p4 110"],
            "ann": ["presence ben 2", "presence unavailable ben 303"],
        },
        {
            "ben": ["presence unavailable ben 110 303", "presence ann id=p1", "presence ben 2 id=p4 110"],
            "ann": ["presence unavailable ben 303", "presence ben 2 id=p4"],
        },
    ),
    "a subject": (
        {"ann": ["message groupchat ann id=m subject=plans"], "ben": ["message groupchat ann id=m subject=plans"]},
        {
            "ann": ["message groupchat ann subject=plans"],
            "ben": [
                "message groupchat ann id=m body=hello",
                "message groupchat subject=None",
                "message groupchat ann subject=plans",
            ],
        },
    ),
    "a goodbye": (
        {"ann": ["presence unavailable ben 2"], "ben": ["presence unavailable ben 2 id=p5 110"]},
        {"ann": ["presence unavailable ben 2 id=p5"], "ben": ["presence unavailable ben 2 id=p5 110"]},
    ),
}
"""Step → the stanzas that clients of the relay get, and those of Prosody 0.12.3; docs/gateways/xmpp.md has a table."""


class Oracle:
    """Three clients of one server, each with the elements that it has got in a step."""

    def __init__(self, url: str) -> None:
        self.wires = {name: BoshWire(url) for name in ("ann", "ben", "eve")}

    async def log_in(self) -> None:
        for wire in self.wires.values():
            await wire.begin()
            await wire.receive()
            await wire.send(AUTH)
            await wire.receive()
            await wire.restart()
            await wire.receive()
            await wire.send(BIND)
            await wire.receive()

    async def run(self) -> dict[str, Shape]:
        found: dict[str, Shape] = {}
        for name, sender, stanza, ends in STEPS:
            await self.wires[sender].send(stanza)
            found[name] = {client: await self._until(client, end) for client, end in ends.items()}
        return found

    async def _until(self, client: str, end: End) -> list[str]:
        shapes: list[str] = []
        while True:
            element = ElementTree.fromstring(await self.wires[client].receive())
            shapes.append(shape(element))
            if len(shapes) == end if isinstance(end, int) else end(element):
                return shapes

    async def close(self) -> None:
        for wire in self.wires.values():
            await wire.close()


def shape(element: ElementTree.Element) -> str:
    """Write the parts of a stanza by which clients decide: its kind, its sender, its codes, its error."""
    words = [element.tag.partition("}")[2], element.get("type", ""), element.get("from", "").partition("/")[2]]
    words.append(f"id={element.get('id')}" if element.get("id") in {"m", "q", "p1", "p2", "p3", "p4", "p5"} else "")
    words += sorted(one.get("code", "") for one in element.iter(f"{USER}status"))
    words += [f"{name}={one.text}" for name in ("body", "subject") for one in element.findall(f"{C}{name}")]
    for error in element.findall(f"{C}error"):
        words += [error.get("type", ""), *(one.tag.partition("}")[2] for one in error if one.tag.startswith(ERRORS))]
    return " ".join(filter(None, (word for word in words if word != "text")))


@pytest.fixture
async def prosody(tmp_path: Path) -> AsyncIterator[str]:
    program, port = require("prosody"), free_port()
    (tmp_path / "prosody.cfg.lua").write_text(CONFIGURATION.format(folder=tmp_path, port=port))
    environment = {**os.environ, "PROSODY_CONFIG": str(tmp_path / "prosody.cfg.lua")}
    process = await asyncio.create_subprocess_exec(
        program, "--config", str(tmp_path / "prosody.cfg.lua"), env=environment, stdout=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        await eventually(lambda: _answers(url), 60)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def _answers(url: str) -> Any:
    try:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{url}/http-bind")).status_code < 500
    except httpx.TransportError:
        return False


async def test_the_clients_of_both_get_the_same(prosody: str, pair: tuple[Relay, Relay]) -> None:
    found: list[dict[str, Shape]] = []
    for url in (pair[0].http, prosody):
        oracle = Oracle(url)
        await oracle.log_in()
        found.append(await oracle.run())
        await oracle.close()
    relay, other = found
    differing = {name: (relay[name], other[name]) for name in relay if relay[name] != other[name]}
    assert differing == DIFFERENCES
