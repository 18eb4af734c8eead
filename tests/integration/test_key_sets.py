"""Workers whose keys are in a key set: fetched once for the fleet, and rotated without a restart."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeRelay
from tests.fleet import Client, Relay, eventually
from tests.hasty_server import TURN
from tests.issuer import Issuer
from tests.tokens import SECRET, jwk, key_set, signed, token


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer(key_set(jwk("ES256", "one"))) as one:
        yield one


async def outcome(relay: Relay, text: str | None) -> str:
    """The type of the first frame that a client with this token gets, or the code of the error."""
    headers = {"Authorization": f"Bearer {text}"} if text else {}
    client = await Client.open(f"{relay.ws}/rooms/demo", welcome=False, additional_headers=headers)
    event: dict[str, Any] = await client.next()
    await client.close()
    return str(event.get("code") or event["type"])


async def is_outcome(relay: Relay, text: str, expected: str) -> bool:
    return await outcome(relay, text) == expected


async def test_one_worker_fetches_and_all_prove_tokens(
    start: MakeRelay, redis_url: str, prefix: str, issuer: Issuer
) -> None:
    settings = {"redis_url": redis_url, "redis_prefix": prefix, "auth": "required", "auth_jwks": issuer.url}
    relays = [await start(**settings, auth_secret=SECRET) for _ in range(2)]
    good = signed("ES256", "one", rooms=["demo"])
    for relay in relays:
        await eventually(lambda relay=relay: relay.metric("relay_key_fetches_total"))
        assert await outcome(relay, good) == "welcome"
        # Several kinds of keys side by side.
        assert await outcome(relay, token(rooms=["demo"])) == "welcome"
        assert await outcome(relay, signed("ES256", "one", rooms=["demo"], ttl=-100)) == "token_expired"
        assert await outcome(relay, None) == "token_required"
        assert await outcome(relay, signed("ES256", "one", rooms=["other"])) == "not_granted"
    assert len(issuer.requests) == 1
    for relay in relays:
        # The key set is new, or fetched anew: this key does not exist.
        assert await outcome(relay, signed("EdDSA", "two", rooms=["demo"])) == "bad_token"
        assert await relay.metric("relay_refused_tokens_total", code="bad_token") == 1
        assert good not in relay.logged


async def test_a_rotation_reaches_all_workers_with_one_fetch_in_a_turn(
    start: MakeRelay, redis_url: str, prefix: str, issuer: Issuer
) -> None:
    settings = {"redis_url": redis_url, "redis_prefix": prefix, "auth": "required", "auth_jwks": issuer.url}
    relays = [await start(server="hasty", **settings) for _ in range(2)]
    old, new = signed("ES256", "one", rooms=["demo"]), signed("EdDSA", "two", rooms=["demo"])
    for relay in relays:
        await eventually(lambda relay=relay: relay.metric("relay_key_fetches_total"))
        assert await outcome(relay, old) == "welcome"
    issuer.body = key_set(jwk("EdDSA", "two"))
    began, before = time.monotonic(), len(issuer.requests)

    async def is_rotated() -> bool:
        # Each of these tokens names a key that the workers do not know yet.
        return [await outcome(relay, new) for relay in relays] == ["welcome"] * 2

    await eventually(is_rotated, 20)
    for relay in relays:
        # While another worker fetches, the answer is that the keys are not known.
        await eventually(lambda relay=relay: is_outcome(relay, old, "bad_token"))
    assert len(issuer.requests) - before <= 1 + (time.monotonic() - began) / TURN
    assert sum([await relay.metric("relay_key_fetches_total", outcome="shared") for relay in relays]) >= 1


async def test_a_file_is_rotated_without_a_restart(start: MakeRelay, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(key_set(jwk("ES256", "one")))
    relay = await start(auth="required", auth_jwks=file)
    old, new = signed("ES256", "one", rooms=["demo"]), signed("EdDSA", "two", rooms=["demo"])
    assert [await outcome(relay, old), await outcome(relay, new)] == ["welcome", "bad_token"]
    file.write_bytes(key_set(jwk("EdDSA", "two")))
    # The token names a key that is not known, so the relay looks at once.
    assert await outcome(relay, new) == "welcome"
    assert await outcome(relay, old) == "bad_token"


async def test_an_issuer_that_is_away_is_no_wrong_token(start: MakeRelay) -> None:
    relay = await start(auth="optional", auth_jwks="http://127.0.0.1:1/keys")
    assert await outcome(relay, signed("ES256", "one", rooms=["demo"])) == "keys_unavailable"
    assert await outcome(relay, None) == "welcome"
    assert "cannot be used" in relay.logged
