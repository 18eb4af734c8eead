"""Clients with tokens, on two workers over Redis."""

import asyncio
import base64
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2 as httpx
import pytest
from websockets.asyncio.client import connect

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, Json, RedisServer, Relay
from tests.gateways.driver import NotAdmitted
from tests.gateways.drivers.socketio import SocketIODriver
from tests.gateways.drivers.v09 import V09Driver
from tests.tokens import SECRET, token

AUTH: dict[str, Any] = {"auth": "required", "auth_secret": SECRET}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@pytest.fixture(scope="module")
def couple(redis_server: RedisServer) -> Iterator[tuple[Relay, Relay]]:
    """Two workers, which no test stops."""
    settings = AUTH | {"redis_url": redis_server.url, "redis_prefix": "relay:tokens", "reconnect_grace": 30}
    relays = [Relay(**settings) for _ in range(2)]
    for relay in relays:
        asyncio.run(relay.ready())
    yield relays[0], relays[1]
    for relay in relays:
        relay.close()


def infos(frame: Json) -> Json:
    return {one["peer"]: one.get("info") for one in frame["members"]}


async def test_members_on_other_workers_see_the_info_of_a_token_also_after_a_resume(
    couple: tuple[Relay, Relay], enter: MakeClient
) -> None:
    here, there = couple
    watcher = await enter(there, "/rooms/vouched?presence=1", token=token(sub="watcher", rooms=["vouched"]))
    ann = await enter(
        here,
        "/rooms/vouched?info=%7B%22muted%22%3Atrue%7D",
        token=token(sub="ann", rooms=["vouched"], info={"name": "Ann"}),
    )
    seen = await watcher.until(lambda event: event.get("info"))
    assert seen[-1]["info"] == {"ann": {"$token": {"name": "Ann"}, "muted": True}}
    ann.lose()
    # She comes back with a token that says something else of her.
    ann = await enter(
        there,
        "/rooms/vouched?peer=ann",
        resume=ann.welcome["resume"],
        token=token(sub="ann", rooms=["vouched"], info={"name": "Ann Other"}),
    )
    assert ann.welcome["resumed"]
    seen = await watcher.until(lambda event: event.get("info"))
    assert seen[-1]["info"] == {"ann": {"$token": {"name": "Ann Other"}, "muted": True}}
    assert infos(await watcher.ask({"type": "presence"}))["ann"] == {"$token": {"name": "Ann Other"}, "muted": True}
    answer = await here.get("/rooms/vouched", headers=bearer(token(rooms=["vouched"])))
    assert infos(answer.json())["ann"] == {"$token": {"name": "Ann Other"}, "muted": True}


async def test_a_token_and_a_resume_key_travel_side_by_side(couple: tuple[Relay, Relay]) -> None:
    here, there = couple
    text = token(sub="ann", rooms=["aside"])

    async def come(relay: Relay, headers: dict[str, str], *subprotocols: str) -> Json:
        url = f"{relay.ws}/rooms/aside?peer=ann"
        async with connect(
            url, additional_headers=headers, subprotocols=["relay.v1", *subprotocols], proxy=None
        ) as socket:
            assert socket.subprotocol == "relay.v1"
            client = Client(socket)
            frame = await client.next()
            client.lose()
            return frame

    welcome = await come(here, bearer(text))
    for headers, subprotocols in [
        (lambda key: bearer(text), lambda key: [f"resume.{key}"]),
        (lambda key: {"Authorization": f"Resume {key}"}, lambda key: [f"token.{text}"]),
        (lambda key: {}, lambda key: [f"token.{text}", f"resume.{key}"]),
    ]:
        key = welcome["resume"]
        welcome = await come(there, headers(key), *subprotocols(key))
        assert welcome["resumed"], welcome


async def test_a_password_of_a_room_comes_by_header_subprotocol_command_or_packet(
    couple: tuple[Relay, Relay], enter: MakeClient
) -> None:
    here, there = couple
    text = token(rooms=["guarded", "other"])
    async with httpx.AsyncClient() as http:
        made = await http.put(f"{here.http}/rooms/guarded", json={"password": "é ☃"}, headers=here.authorised)
    assert made.status_code == 200, made.text
    encoded = base64.urlsafe_b64encode("é ☃".encode()).decode().rstrip("=")
    for options, code in [
        ({}, "password_required"),
        ({"additional_headers": {"Relay-Password": "wrong"}}, "bad_password"),
        ({"additional_headers": {"Relay-Password": "é ☃".encode().decode("latin-1")}}, ""),
        ({"subprotocols": ["relay.v1", f"password.{encoded}"]}, ""),
    ]:
        # Beside the token, in the same header or the other place.
        options = {"additional_headers": bearer(text)} | options if "subprotocols" in options else options
        options.setdefault("subprotocols", ["relay.v1", f"token.{text}"])
        async with connect(f"{there.ws}/rooms/guarded", proxy=None, **options) as socket:
            frame = await Client(socket).next()
            assert frame.get("code", "") == code
    other = await enter(there, "/rooms/other", token=text)
    assert (await other.ask({"type": "join", "room": "guarded"}))["code"] == "password_required"
    assert (await other.ask({"type": "join", "room": "guarded", "password": "é ☃"}))["type"] == "welcome"


async def test_no_token_is_in_the_log_the_metrics_or_an_answer(start: MakeRelay, redis_server: RedisServer) -> None:
    relay = await start(**AUTH, redis_url=redis_server.url, log_level="debug", url_tokens="on")
    good = token(sub="ann-*", rooms=["default", "secret"])
    # Of a few letters, a part would be in some random id by chance.
    wrong = ["Secret-nonsense", "Secret.nonsense-claims.nonsense-signature"]
    texts = [good, token("x" * 40), token(ttl=-100), token(rooms=["elsewhere"]), *wrong]
    answers = []
    for text in texts:
        for headers, query, subprotocols in [
            (bearer(text), "", []),
            ({}, f"?token={text}", []),
            ({}, "", ["relay.v1", f"token.{text}"]),
        ]:
            for path in ("/rooms/secret", "/rooms/secret?observe=all"):
                query_ = query.replace("?", "&") if "?" in path else query
                async with connect(
                    f"{relay.ws}{path}{query_}", additional_headers=headers, subprotocols=subprotocols, proxy=None
                ) as socket:
                    client = Client(socket)
                    answers.append(await client.raw())
                    if '"welcome"' in answers[-1]:
                        await client.send({"type": "refresh", "token": texts[1], "key": "k"})
                        answers.append(await client.raw())
        for driver in (SocketIODriver(4, polling=False), V09Driver(polling=True)):
            driver.token = text
            with suppress(NotAdmitted):
                await driver.open(relay, "secret")
            await driver.drop()
        answers.append((await relay.get("/rooms/secret", headers=bearer(text))).text)
        answers.append((await relay.get(f"/rooms/secret?token={text}")).text)
    answers.append((await relay.get("/metrics", headers=relay.authorised)).text)
    await relay.terminate()
    everything = relay.logged + "".join(answers)
    for text in texts:
        for part in text.split("."):
            # The header of all tokens is the same, and no secret.
            if part and not part.startswith("eyJ0eXAi") and not part.startswith("eyJhbGci"):
                assert part not in everything, part


async def test_an_address_that_guesses_tokens_is_named_once_in_the_log(start: MakeRelay) -> None:
    relay = await start(**AUTH, token_attempts=10)
    guesses = [token(f"{number}" * 40) for number in range(3)]
    for guess in guesses[:2]:
        client = await Client.open(f"{relay.ws}/rooms/guessed", token=guess)
        assert client.welcome["code"] == "bad_token"
        assert await client.closed() == 4504
    driver = SocketIODriver(4, polling=False)
    driver.token = guesses[2]
    with pytest.raises(NotAdmitted, match="bad_token"):
        await driver.open(relay, "guessed")
    await driver.drop()
    answer = await relay.get("/rooms/guessed", headers=bearer(guesses[0]))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert relay.logged.count("a token that is not valid") == 1
    assert await relay.metric("relay_refused_tokens_total", code="bad_token") == 4
