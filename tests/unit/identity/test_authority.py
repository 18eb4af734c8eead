"""The authority: the rights of the holder of a token."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from relay.config.auth_settings import AuthSettings
from relay.identity.authority import Authority
from relay.identity.grants import GUEST, Grants, Right
from relay.identity.keys import VerificationKey, keys_of_secrets, keys_of_set
from relay.model.errors import Refused
from tests.tokens import SECRET, jwk, key_set, signed, token

ALICE, BOB = "192.0.2.1", "2001:db8::/64"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Keys that a test changes; `newer` are those that a renewal finds."""

    def __init__(self, keys: Sequence[VerificationKey]) -> None:
        self.generation = 0
        self.present = keys
        self.newer: Sequence[VerificationKey] | None = None
        self.is_fresh = True
        self.renewals = 0

    def current(self) -> Sequence[VerificationKey]:
        if not self.present:
            raise Refused("keys_unavailable")
        return self.present

    async def renew(self) -> bool:
        self.renewals += 1
        await asyncio.sleep(0)
        if self.newer is not None:
            self.present, self.newer = self.newer, None
            self.generation += 1
        return self.is_fresh


class World:
    """An authority, with its source and the codes that it has refused tokens with."""

    def __init__(self, auth: Any = "required", keys: Sequence[VerificationKey] | None = None, **settings: Any) -> None:
        self.source = Source(keys_of_secrets(SECRET) if keys is None else keys)
        self.codes: list[str] = []
        self.time = time.time()
        self.authority = Authority(
            AuthSettings(auth=auth, auth_secret=SECRET, **settings),
            self.source,
            attempts=3,
            clock=Clock(),
            wall_clock=lambda: self.time,
            refused=self.codes.append,
        )

    async def code(self, text: str | None, address: str = ALICE) -> str:
        try:
            assert isinstance(await self.authority.grants(text, address), Grants)
        except Refused as error:
            assert self.codes[-1] == error.code
            return error.code
        return ""


async def test_off_reads_nothing() -> None:
    world = World("off")
    assert (world.authority.is_off, world.authority.is_required) == (True, False)
    assert await world.authority.grants("whatever", ALICE) is None
    assert await world.authority.grants(None, ALICE) is None
    assert world.codes == []


async def test_optional_lets_guests_in_and_no_wrong_token() -> None:
    world = World("optional")
    assert await world.authority.grants(None, ALICE) is GUEST
    assert await world.code("") == "bad_token"
    assert await world.code(token("o" * 40)) == "bad_token"


async def test_required() -> None:
    world = World()
    assert world.authority.is_required
    assert await world.code(None) == "token_required"
    found = await world.authority.grants(token(rooms=["demo"], sub="alice"), ALICE)
    assert found is not None
    assert found.allow(Right.PUBLISH, "demo")


async def test_settings_are_passed_on() -> None:
    world = World(auth_audience=("relay",), auth_issuer=("me",), auth_leeway=100.0, auth_default_rooms="lobby")
    found = await world.authority.grants(token(aud="relay", iss="me", ttl=-50), ALICE)
    assert found is not None
    assert found.allow(Right.JOIN, "lobby")
    assert await world.code(token()) == "bad_token"
    assert (World(url_tokens="on").authority.url_tokens, World().authority.url_tokens) == (True, False)
    assert not World("off", url_tokens="on").authority.url_tokens


async def test_grants_are_remembered_until_they_end() -> None:
    world = World()
    text = token(ttl=100)
    first = await world.authority.grants(text, ALICE)
    assert await world.authority.grants(text, BOB) is first
    world.time += 109
    assert await world.authority.grants(text, BOB) is first
    world.time += 2
    # It is proven again: by the true time it has not ended.
    assert await world.authority.grants(text, BOB) is not first


async def test_grants_are_forgotten_when_the_keys_change() -> None:
    world = World()
    text = token()
    await world.authority.grants(text, ALICE)
    world.source.present = keys_of_secrets("n" * 40)
    world.source.generation += 1
    assert await world.code(text) == "bad_token"


async def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.identity.authority._MOST_REMEMBERED", 10)
    world = World()
    for number in range(30):
        await world.authority.grants(token(sub=str(number)), ALICE)
    assert len(world.authority._remembered) == 10


async def test_an_unknown_key_is_looked_for_once() -> None:
    world = World(keys=keys_of_set(key_set(jwk("ES256", "old"))))
    world.source.newer = keys_of_set(key_set(jwk("RS256", "new")))
    assert await world.code(signed("RS256", "new")) == ""
    assert world.source.renewals == 1
    assert await world.code(signed("ES256", "old")) == "bad_token"
    assert await world.code("x.y.z") == "bad_token"
    assert world.source.renewals == 2


async def test_without_fresh_keys_an_unknown_one_may_exist() -> None:
    world = World(keys=keys_of_set(key_set(jwk("ES256", "old"))))
    world.source.is_fresh = False
    assert await world.code(signed("RS256", "new")) == "keys_unavailable"
    assert await world.code(signed("ES256", "old", ttl=-100)) == "token_expired"
    world.source.present = ()
    assert await world.code(signed("RS256", "new")) == "keys_unavailable"
    world.source.newer = keys_of_set(key_set(jwk("RS256", "new")))
    assert await world.code(signed("RS256", "new")) == ""


async def test_an_address_that_guesses_waits_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    world = World()
    monkeypatch.setattr("relay.identity.authority.asyncio.sleep", note)
    for number in range(3):
        assert await world.code(token("o" * 40, sub=str(number))) == "bad_token"
    assert waits == []
    assert await world.code(token("o" * 40, sub="4")) == "bad_token"
    assert waits == [1.0]
    # Right tokens of the same address, and old ones, are not slowed down.
    assert await world.code(token()) == ""
    assert await world.code(token(ttl=-100)) == "token_expired"
    assert await world.code(token("o" * 40), BOB) == "bad_token"
    assert waits == [1.0]


async def test_a_token_that_is_too_long_costs_no_more_than_the_longest() -> None:
    world, started = World(), time.process_time()
    text = "a" * 50_000_000
    for _ in range(100):
        assert await world.code(text) == "bad_token"
    assert time.process_time() - started < 1


async def test_no_token_is_kept_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    good, wrong = token(), token("o" * 40)
    await world.code(good)
    await world.code(wrong)
    assert wrong not in caplog.text
    assert "from 192.0.2.1" in caplog.text
    assert all(isinstance(key, bytes) and len(key) == 32 for key in world.authority._remembered)
