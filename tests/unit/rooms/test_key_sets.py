"""The keys of all places: files that change, and a key set at a URL that one worker fetches for all."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from relay.backend.memory.turns import MemoryTurns
from relay.config.auth_settings import AuthSettings
from relay.fleet_key import FleetKey
from relay.metrics import Metrics
from relay.model.errors import Refused, Unavailable
from relay.rooms.key_sets import REFRESH, TURN, KeyFleet, KeySets, _File, check_keys
from tests.fleet import eventually
from tests.issuer import Issuer
from tests.tokens import SECRET, jwk, key_set, public_pem

FLEET_SECRET = "a secret of the fleet in these tests"
ONE, TWO = key_set(jwk("ES256", "one")), key_set(jwk("ES256", "one"), jwk("EdDSA", "two"))


class Fleet:
    """The values that the workers of a test share."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.turns: Any = MemoryTurns(lambda: self.time)

    def worker(self, secret: str | FleetKey = FLEET_SECRET, **settings: Any) -> KeySets:
        key = FleetKey([secret]) if isinstance(secret, str) else secret
        fleet = KeyFleet(self.turns, key, lambda: round(self.time * 1000))
        found = AuthSettings(**{"auth": "required", **settings})
        return KeySets(found, fleet, metrics=Metrics(), clock=lambda: self.time)


class NoRedis:
    """Turns while Redis is away."""

    async def take(self, name: str, seconds: float) -> bool:
        raise Unavailable

    async def share(self, name: str, value: bytes, seconds: float) -> None:
        raise Unavailable

    async def shared(self, name: str) -> bytes:
        raise Unavailable


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer(ONE) as one:
        yield one


def ids(keys: KeySets) -> list[str]:
    try:
        return [key.id for key in keys.current()]
    except Refused as error:
        return [error.code]


def test_without_tokens_there_are_no_keys(fleet: Fleet) -> None:
    keys = fleet.worker(auth="off", auth_secret=SECRET, auth_key="/missing", auth_jwks="https://a.example.com")
    assert not keys.changes
    assert ids(keys) == ["keys_unavailable"]


async def test_all_places_together(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(TWO)
    keys = fleet.worker(auth_secret=SECRET, auth_key=public_pem("RS256"), auth_jwks=str(file))
    assert ids(keys) == ["", "", "one", "two"]
    assert keys.changes
    assert await keys.renew()
    assert not fleet.worker(auth_secret=SECRET).changes


async def test_a_file_is_read_again_when_it_changes(
    fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, pem = tmp_path / "keys.json", tmp_path / "key.pem"
    file.write_bytes(ONE)
    pem.write_text(public_pem("RS256"))
    keys = fleet.worker(auth_key=str(pem), auth_jwks=str(file))
    before = keys.generation
    assert await keys.renew()
    assert keys.generation == before
    replace(file, TWO)
    await keys.renew()
    assert (ids(keys), keys.generation > before) == (["", "one", "two"], True)
    replace(pem, (public_pem("RS256") + public_pem("EdDSA")).encode())
    await keys.renew()
    assert len(ids(keys)) == 4
    with caplog.at_level(logging.ERROR):
        for broken in (b"{}", b"not a key set", b""):
            replace(file, broken)
            await keys.renew()
        file.unlink()
        await keys.renew()
    assert len(ids(keys)) == 4
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert "the keys stay as they were" in caplog.text
    replace(file, ONE)
    await keys.renew()
    assert ids(keys) == ["", "", "one"]


async def test_a_file_without_keys_is_read_once_until_it_changes(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(ONE)
    keys, reads = fleet.worker(auth_jwks=str(file)), list[str]()
    load = _File.load

    def counted(one: _File) -> Any:
        reads.append(one.setting)
        return load(one)

    monkeypatch.setattr(_File, "load", counted)
    replace(file, b"no keys")
    for _ in range(5):
        await keys.renew()
    assert (reads, ids(keys)) == (["auth_jwks"], ["one"])
    replace(file, TWO)
    await keys.renew()
    assert (len(reads), ids(keys)) == (2, ["one", "two"])


def replace(file: Path, data: bytes) -> None:
    """Replace a file as deployments do: the new one has another place on the disk."""
    new = file.with_suffix(".new")
    new.write_bytes(data)
    new.rename(file)


async def test_the_loop_sees_a_change(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.rooms.key_sets._LOOK", 0.01)
    file = tmp_path / "keys.json"
    file.write_bytes(ONE)
    keys = fleet.worker(auth_jwks=str(file))
    task = asyncio.create_task(keys.run())
    replace(file, TWO)
    await eventually(lambda: ids(keys) == ["one", "two"])
    task.cancel()


async def test_a_file_that_is_missing_at_first_is_read_when_it_comes(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    keys = fleet.worker(auth_jwks=str(file))
    assert ids(keys) == ["keys_unavailable"]
    assert not await keys.renew()
    file.write_bytes(ONE)
    assert await keys.renew()
    assert ids(keys) == ["one"]


async def test_one_worker_fetches_for_all(fleet: Fleet, issuer: Issuer) -> None:
    workers = [fleet.worker(auth_jwks=issuer.url) for _ in range(5)]
    assert all(ids(worker) == ["keys_unavailable"] for worker in workers)
    assert await workers[0].renew()
    assert [await worker.renew() for worker in workers] == [True] * 5
    assert all(ids(worker) == ["one"] for worker in workers)
    assert len(issuer.requests) == 1


async def test_rotation_reaches_all_workers_with_one_more_fetch(fleet: Fleet, issuer: Issuer) -> None:
    workers = [fleet.worker(auth_jwks=issuer.url) for _ in range(3)]
    for worker in workers:
        await worker.renew()
    issuer.body = TWO
    # So shortly after a fetch, a key that is unknown does not exist.
    assert [await worker.renew() for worker in workers] == [True] * 3
    assert [ids(worker) for worker in workers] == [["one"]] * 3
    fleet.time += TURN + 1
    assert [await worker.renew() for worker in workers] == [True] * 3
    assert [ids(worker) for worker in workers] == [["one", "two"]] * 3
    assert len(issuer.requests) == 2


async def test_unknown_keys_cause_one_fetch_in_a_turn(fleet: Fleet, issuer: Issuer) -> None:
    workers = [fleet.worker(auth_jwks=issuer.url) for _ in range(3)]
    for _ in range(300):
        await asyncio.gather(*(worker.renew() for worker in workers))
        fleet.time += 1
    assert 9 <= len(issuer.requests) <= 11


async def test_the_key_set_is_refreshed_without_tokens(
    fleet: Fleet, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.rooms.key_sets._LOOK", 0.01)
    keys = fleet.worker(auth_jwks=issuer.url)
    task = asyncio.create_task(keys.run())
    await eventually(lambda: ids(keys) == ["one"])
    issuer.body = TWO
    fleet.time += REFRESH - 1
    assert keys._remote is not None
    await keys._remote.refresh()
    assert len(issuer.requests) == 1
    fleet.time += 2
    await eventually(lambda: ids(keys) == ["one", "two"])
    task.cancel()


@pytest.mark.parametrize(
    "answer", [lambda: Issuer.response(b"", status="500 Error"), lambda: Issuer.response(b"{}"), lambda: b"x\r\n\r\n"]
)
async def test_the_last_good_key_set_is_kept(
    fleet: Fleet, issuer: Issuer, answer: Callable[[], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    keys = fleet.worker(auth_jwks=issuer.url)
    await keys.renew()
    good, issuer.answer = issuer.answer, answer
    generation = keys.generation
    with caplog.at_level(logging.ERROR):
        for _ in range(4):
            fleet.time += TURN + 1
            assert not await keys.renew()
    assert (ids(keys), keys.generation) == (["one"], generation)
    assert len(issuer.requests) == 5
    assert 1 <= len(caplog.records) <= 3
    assert "the last good one stays in use" in caplog.text
    issuer.answer, issuer.body = good, TWO
    fleet.time += TURN + 1
    assert await keys.renew()
    assert ids(keys) == ["one", "two"]


async def test_a_failed_fetch_is_a_turn_as_well(fleet: Fleet, issuer: Issuer) -> None:
    issuer.answer = lambda: issuer.response(b"", status="503 Away")
    one, other = fleet.worker(auth_jwks=issuer.url), fleet.worker(auth_jwks=issuer.url)
    for _ in range(10):
        assert not await one.renew()
        assert not await other.renew()
        fleet.time += 1
    assert len(issuer.requests) == 1
    assert ids(one) == ["keys_unavailable"]


async def test_while_redis_is_away_each_worker_fetches_for_itself(fleet: Fleet, issuer: Issuer) -> None:
    fleet.turns = NoRedis()
    one, other = fleet.worker(auth_jwks=issuer.url), fleet.worker(auth_jwks=issuer.url)
    for _ in range(10):
        assert await one.renew()
        assert await other.renew()
        fleet.time += 2
    assert len(issuer.requests) == 2


async def test_a_key_set_that_no_worker_has_signed_is_not_used(fleet: Fleet, issuer: Issuer) -> None:
    foreign = fleet.worker(secret="another fleet's", auth_jwks=issuer.url)
    await foreign.renew()
    keys = fleet.worker(auth_jwks=issuer.url)
    assert not await keys.renew()
    assert ids(keys) == ["keys_unavailable"]
    fleet.time += TURN + 1
    assert await keys.renew()


async def test_nothing_is_fetched_before_the_fleet_has_agreed_on_its_key(fleet: Fleet, issuer: Issuer) -> None:
    one, other = FleetKey(), FleetKey()
    workers = [fleet.worker(secret=key, auth_jwks=issuer.url) for key in (one, other)]
    assert [await worker.renew() for worker in workers] == [False] * 2
    assert issuer.requests == []
    for key in (one, other):
        key.agree([f"00000000000000001-{one.suggestion}"])
    fleet.time += 1
    assert [await worker.renew() for worker in workers] == [True] * 2
    assert len(issuer.requests) == 1


async def test_many_waits_for_the_first_key_set_cause_one_fetch(fleet: Fleet, issuer: Issuer) -> None:
    keys = fleet.worker(auth_jwks=issuer.url)
    assert await asyncio.gather(*(keys.renew() for _ in range(50))) == [True] * 50
    assert len(issuer.requests) == 1


def test_keys_are_checked_before_a_start(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(b"{}")
    assert check_keys(AuthSettings(auth="off", auth_key="/missing")) == []
    assert check_keys(AuthSettings(auth="required", auth_secret=SECRET, auth_key=public_pem("ES256"))) == []
    assert check_keys(AuthSettings(auth="required", auth_jwks="https://issuer.example.com")) == []
    problems = check_keys(AuthSettings(auth="required", auth_key="/missing", auth_jwks=str(file)))
    assert ["auth_key" in problems[0], "auth_jwks" in problems[1], "no list of keys" in problems[1]] == [True] * 3
    assert "auth_key: its PUBLIC KEY cannot be read" in check_keys(AuthSettings(auth="required", auth_key=PEM))
    [problem] = check_keys(AuthSettings(auth="required", auth_secret="ssh-rsa-AAAAB3NzaC1yc2EAAAADAQABAAABgQC"))
    assert problem.startswith("auth_secret: it is a public key")


PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"
