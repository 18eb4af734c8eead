"""The examples and commands of docs/tokens.md, and the two servers that make tokens."""

import asyncio
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
import pytest
from websockets.asyncio.client import connect

from relay.gateways import GATEWAYS
from relay.identity.claims import Claims, LimitsClaim, RoomClaim
from relay.identity.grants import Right
from tests.conftest import MakeClient, MakeRelay
from tests.documentation import ROOT, commands, marked, read, rows, snippet
from tests.fleet import Client, Relay, eventually, free_port, require
from tests.issuer import Issuer
from tests.tokens import SECRET, jwk, key_set, signed, token

PAGE = "docs/tokens.md"

PLACES = {"native": "Native protocol and plain WebSocket, in a page", "socketio": "Socket.IO 3 and 4",
          "socketio-0.9": "Socket.IO 0.9, 1 and 2", "peerjs": "[PeerJS](gateways/peerjs.md#tokens)",
          "plainhttp": "[Plain HTTP](gateways/http.md#parameters): posts, polls, and streams with `fetch`",
          "websync": "[WebSync](gateways/websync.md#tokens)",
          "firebase": "[Firebase](gateways/firebase.md#tokens)",
          "xhrsignaling": "[XHR-Signaling](gateways/xhr-signaling.md#errors)",
          "signalr-classic": "[SignalR 2.x](gateways/signalr-classic.md#left-out)",
          "xmpp": "[XMPP](gateways/xmpp.md#login)",
          "signalr": "[SignalR of ASP.NET Core](gateways/signalr.md#tokens)",
          "sip": "[SIP](gateways/sip.md#registering)"}  # fmt: skip
"""Protocol of a gateway → its row in the table of places."""


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def claims(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(snippet(name))
    return found


# Tables.


def test_the_claims_are_those_that_the_relay_reads() -> None:
    shown = {name for cells in rows(marked(PAGE, "claims")) for name in [cells[0].strip("`")]}
    assert shown == {*Claims.__struct_fields__, "nbf", "aud", "iss"}
    page = read(PAGE)
    assert all(f"`{name}`" in page for name in (*RoomClaim.__struct_fields__, *LimitsClaim.__struct_fields__))


def test_the_rights_are_those_of_grants() -> None:
    assert [cells[0].strip("`") for cells in rows(marked(PAGE, "rights"))] == list(Right)


def test_the_places_name_every_protocol_that_is_built() -> None:
    shown = {cells[0] for cells in rows(marked(PAGE, "places"))}
    assert set(PLACES) == {protocol for gateway in GATEWAYS.values() for protocol in gateway.protocols}
    assert shown >= set(PLACES.values())


# The three examples.


@pytest.fixture(scope="module")
def required() -> Iterator[Relay]:
    """A worker for clients with tokens alone, which tests of the page share."""
    relay = Relay(auth="required", auth_secret=SECRET, auth_leeway=0)
    yield relay
    relay.close()


async def test_the_chat_in_which_each_user_has_a_name(required: Relay, enter: MakeClient) -> None:
    relay = await required.ready()
    alice = await enter(relay, "/rooms/lobby", additional_headers=bearer(token(**claims("token-chat"))))
    assert alice.welcome["peer"] == "alice"
    bob = await enter(relay, "/rooms/lobby?presence=1", additional_headers=bearer(token(sub="bob", rooms=["lobby"])))
    infos = {one["peer"]: one.get("info") for one in bob.welcome["members"]}
    assert infos == {"alice": {"$token": {"name": "Alice Weber"}}, "bob": None}
    await enter(relay, "/rooms/team-red", additional_headers=bearer(token(**claims("token-chat"))))
    thief = await enter(relay, "/rooms/lobby?peer=alice", additional_headers=bearer(token(sub="bob", rooms=["lobby"])))
    assert (thief.welcome["code"], await thief.closed()) == ("wrong_peer", 4505)


async def test_the_classroom(required: Relay, enter: MakeClient) -> None:
    relay = await required.ready()

    async def come(name: str, peer: str = "") -> Client:
        path = f"/rooms/class-7b{f'?peer={peer}' if peer else ''}"
        return await enter(relay, path, additional_headers=bearer(token(**claims(name))))

    teacher, phone = await come("token-teacher"), await come("token-student", "sam-phone")
    assert (teacher.welcome["peer"], phone.welcome["peer"]) == ("ms-green", "sam-phone")
    assert (await come("token-student")).welcome["peer"].startswith("sam-")
    refused = await phone.ask({"type": "kick", "peer": "ms-green"})
    assert refused["type"] == "error"
    assert (await teacher.ask({"type": "rules", "set": {"locked": True}}))["rules"]["locked"] is True
    late = await come("token-student", "sam-tablet")
    assert (late.welcome["code"], await late.closed()) == ("room_locked", 4505)
    assert (await teacher.ask({"type": "kick", "peer": "sam-phone"}))["type"] == "done"
    assert await phone.closed() == 4506


async def test_guests_that_only_watch(required: Relay, enter: MakeClient) -> None:
    relay = await required.ready()
    guest = bearer(token(**claims("token-guest")))
    watching = await enter(relay, "/rooms/stage-1?observe=messages", additional_headers=guest)
    assert watching.welcome["type"] == "welcome"
    artist = await enter(relay, "/rooms/stage-1", additional_headers=bearer(token(rooms=["stage-1"])))
    await artist.send({"message": "la"})
    assert (await watching.until(lambda event: "message" in event))[-1]["message"] == "la"
    await watching.send({"message": "boo"})
    assert (await watching.next())["type"] == "error"
    inside = await enter(relay, "/rooms/stage-1", additional_headers=guest)
    assert (inside.welcome["code"], await inside.closed()) == ("not_granted", 4505)
    shown = (await relay.get("/rooms/stage-1", headers=relay.authorised)).json()
    assert shown["count"] == 1


# Clients without a token, and the end of a token.


async def test_guests_beside_users(start: MakeRelay, enter: MakeClient) -> None:
    relay = await start(auth="optional", auth_secret=SECRET)
    guest = await enter(relay, "/rooms/lobby?peer=guest")
    user = await enter(relay, "/rooms/lobby", additional_headers=bearer(token(**claims("token-chat"))))
    await guest.send({"message": "hello"})
    assert (await user.next())["message"] == "hello"
    refused = await enter(relay, "/rooms/lobby", additional_headers=bearer(token("x" * 32)))
    assert (refused.welcome["code"], await refused.closed()) == ("bad_token", 4504)
    assert (await relay.get("/rooms/lobby")).json()["count"] == 2
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{relay.http}/rooms/lobby", json={"message": 1})
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token_required")


async def test_a_token_that_expires_is_refreshed_or_ends_the_connection(required: Relay, enter: MakeClient) -> None:
    relay = await required.ready()

    def lasting(seconds: float) -> str:
        return token(ttl=seconds, sub="carl", rooms=["lobby"])

    client = await enter(relay, "/rooms/lobby", additional_headers=bearer(lasting(2)))
    expiring = await client.next()
    assert expiring["type"] == "token_expiring"
    assert 0 < expiring["in"] < 1
    newer = lasting(600)
    answer = await client.ask({"type": "refresh", "token": newer})
    assert answer["type"] == "refreshed"
    assert answer["expires"] > 0
    # A shorter one is a new token, too.
    assert (await client.ask({"type": "refresh", "token": lasting(1.5)}))["type"] == "refreshed"
    assert await client.closed() == 4009


# Commands.


async def run(*lines: str, **variables: str) -> str:
    """Run lines in one shell, and return their output."""
    here = [line.replace(".venv/bin/relay", f"{shlex.quote(sys.executable)} -m relay") for line in lines]
    process = await asyncio.create_subprocess_shell(
        "\n".join(["set -e", *here]), cwd=ROOT, env=os.environ | variables, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(40):
        output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


@asynccontextmanager
async def serving(command: str, **variables: str) -> AsyncIterator[str]:
    """Start a relay as a page shows it, on a free port; yields its address."""
    port = free_port()
    words = shlex.split(command.replace(".venv/bin/relay", f"{shlex.quote(sys.executable)} -m relay"))
    process = await asyncio.create_subprocess_exec(*words, "--port", str(port), env=os.environ | variables, cwd=ROOT)

    async def is_ready() -> bool:
        assert process.returncode is None
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200
        except httpx.TransportError:
            return False

    try:
        await eventually(is_ready, 20)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def first_frame(address: str, room: str, text: str) -> dict[str, Any]:
    """The answer to a page that offers a token beside the protocol."""
    async with connect(
        f"ws://{address}/rooms/{room}", subprotocols=["relay.v1", f"token.{text}"], proxy=None
    ) as socket:
        found: dict[str, Any] = json.loads(await socket.recv())
    return found


async def test_the_first_try() -> None:
    require("openssl")
    secret_line, serve, make = commands(PAGE)[:3]
    secret = (await run(secret_line, 'echo "$RELAY_AUTH_SECRET"')).strip()
    async with serving(serve, RELAY_AUTH_SECRET=secret) as address:
        made = (await run(make, RELAY_AUTH_SECRET=secret)).strip()
        welcome = await first_frame(address, "demo", made)
        assert (welcome["type"], welcome["peer"]) == ("welcome", "alice")
        assert (await first_frame(address, "other", made))["code"] == "not_granted"


async def test_tokens_of_another_issuer() -> None:
    serve = commands(PAGE)[3]
    made = {"aud": ["account", "relay"], "iss": "https://id.example.com/", "sub": "auth0|5f7c8ec7"}
    good, other = [signed("RS256", "first", **made | changed) for changed in ({}, {"aud": "other"})]
    async with (
        Issuer(key_set(jwk("RS256", "first"))) as issuer,
        serving(serve.replace("https://id.example.com/keys", issuer.url)) as address,
    ):
        welcome = await first_frame(address, "team-red", good)
        assert (welcome["type"], welcome["peer"]) == ("welcome", "auth0%7C5f7c8ec7")
        assert (await first_frame(address, "class", good))["code"] == "not_granted"
        assert (await first_frame(address, "lobby", other))["code"] == "bad_token"


# The servers that make tokens.

BACKENDS = {
    "node.mjs": ("node", "node.mjs"),
    "app.py": (sys.executable, "-m", "flask", "run", "--port"),
}
"""File → the command that starts it."""


@pytest.mark.parametrize("name", BACKENDS)
def test_a_server_that_makes_tokens_has_fifteen_lines(name: str) -> None:
    lines = (ROOT / "docs/backends" / name).read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.strip().startswith(("//", '"""'))]) <= 15


@pytest.mark.gateways
@pytest.mark.parametrize("name", BACKENDS)
async def test_a_server_makes_tokens_for_users_who_have_logged_in(required: Relay, name: str) -> None:
    relay = await required.ready()
    async with backend(name, SECRET) as address, httpx.AsyncClient(base_url=address) as browser:
        assert (await browser.get("/token")).status_code == 401
        assert (await browser.get("/token", headers={"Cookie": "session=constructor"})).status_code == 401
        answer = await browser.get("/token", headers={"Cookie": "theme=dark; session=of-alice"})
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        welcome = await first_frame(relay.ws.removeprefix("ws://"), "demo", answer.text)
        assert (welcome["type"], welcome["peer"]) == ("welcome", "alice")
        assert (await first_frame(relay.ws.removeprefix("ws://"), "other", answer.text))["code"] == "not_granted"


@asynccontextmanager
async def backend(name: str, secret: str) -> AsyncIterator[str]:
    port = str(free_port())
    program, *arguments = BACKENDS[name]
    if name == "app.py":
        arguments.append(port)
    else:
        program = require(program)
    process = await asyncio.create_subprocess_exec(
        program, *arguments, cwd=ROOT / "docs/backends",
        env={"PATH": os.environ["PATH"], "AUTH_SECRET": secret, "PORT": port},
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip

    async def answers() -> bool:
        assert process.returncode is None
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"http://127.0.0.1:{port}/token")).status_code == 401
        except httpx.TransportError:
            return False

    try:
        await eventually(answers, 20)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
