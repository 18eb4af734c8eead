"""Derived keys of passwords, and the brake on guesses."""

import asyncio
import hashlib
import logging
import threading

import pytest

from relay.address_rates import WITHOUT_ADDRESS
from relay.metrics import Metrics
from relay.model.errors import Refused
from relay.rooms import passwords as module
from relay.rooms.passwords import Passwords


class Scene:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.derived: list[bytes] = []
        self.most = self.running = 0
        self.gate = threading.Event()
        self.gate.set()
        self.lock = threading.Lock()
        self.metrics = Metrics()
        self.passwords = Passwords(attempts=3, clock=lambda: self.now, metrics=self.metrics)
        monkeypatch.setattr(module, "scrypt", self.scrypt)

    def scrypt(self, password: bytes, *, salt: bytes, **cost: int) -> bytes:
        with self.lock:
            self.derived.append(password)
            self.running += 1
            self.most = max(self.most, self.running)
        self.gate.wait(5)
        with self.lock:
            self.running -= 1
        return hashlib.sha256(password + salt).digest()

    def count(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("relay_room_passwords_total", {"outcome": outcome})


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


async def test_the_key_is_that_of_scrypt() -> None:
    passwords = Passwords(attempts=3, clock=lambda: 0.0, metrics=Metrics())
    expected = hashlib.scrypt(b"geheim", salt=b"5a17", n=16_384, r=8, p=1, dklen=32).hex()
    assert await passwords.derive("room", "5a17", "geheim") == expected


async def test_a_key_is_derived_once_for_each_room_salt_and_password(scene: Scene) -> None:
    keys = [await scene.passwords.derive("room", "salt", "x") for _ in range(3)]
    assert len(set(keys)) == len(scene.derived) == 1
    for room, salt, password in (("room2", "salt", "x"), ("room", "salt2", "x"), ("room", "salt", "y")):
        await scene.passwords.derive(room, salt, password)
    assert len(scene.derived) == 4


async def test_few_keys_are_derived_at_once_and_few_clients_wait(scene: Scene) -> None:
    scene.gate.clear()
    tasks = [asyncio.create_task(scene.passwords.derive("room", "salt", f"x{number}")) for number in range(64)]
    while len(scene.derived) < 2:
        await asyncio.sleep(0.001)
    with pytest.raises(Refused, match="too many passwords"):
        await scene.passwords.derive("room", "salt", "one more")
    scene.gate.set()
    await asyncio.gather(*tasks)
    assert scene.most == 2


async def test_wrong_passwords_of_an_address_are_refused_before_anything_is_derived(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            guess = await scene.passwords.attempt("room", "salt", f"secret{number}", "1.2.3.4")
            guess.refuse()
            guess.end()
        with pytest.raises(Refused) as refused:
            await scene.passwords.attempt("room", "salt", "right", "1.2.3.4")
    assert refused.value.code == "too_many_attempts"
    assert len(scene.derived) == 3
    assert (scene.count("wrong"), scene.count("unseen")) == (3, 1)
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    # Another address, another room, and later.
    await scene.passwords.attempt("room", "salt", "right", "5.6.7.8")
    await scene.passwords.attempt("room2", "salt", "right", "1.2.3.4")
    scene.now += 20
    await scene.passwords.attempt("room", "salt", "right", "1.2.3.4")


async def test_an_address_that_knows_many_rooms_guesses_as_much_as_for_ten(scene: Scene) -> None:
    for room in range(10):
        for number in range(3):
            (await scene.passwords.attempt(f"room{room}", "salt", f"x{number}", "1.2.3.4")).end()
    for _ in range(5):
        with pytest.raises(Refused, match="for all"):
            await scene.passwords.attempt("room10", "salt", "x", "1.2.3.4")
    assert len(scene.derived) == 30
    (await scene.passwords.attempt("room10", "salt", "x", "5.6.7.8")).end()
    # A refusal for one room does not count for the others.
    scene.now += 60
    for number in range(3):
        (await scene.passwords.attempt("room0", "salt", f"y{number}", "1.2.3.4")).end()
    for _ in range(40):
        with pytest.raises(Refused):
            await scene.passwords.attempt("room0", "salt", "z", "1.2.3.4")
    (await scene.passwords.attempt("room1", "salt", "z", "1.2.3.4")).end()


async def test_clients_without_an_address_guess_more_together_and_not_any_number(scene: Scene) -> None:
    async def guess(number: int) -> None:
        guess = await scene.passwords.attempt("room", "salt", f"wrong{number}", "")
        guess.refuse()
        guess.end()

    for number in range(3 * WITHOUT_ADDRESS):
        await guess(number)
    with pytest.raises(Refused, match="too_many_attempts"):
        await guess(-1)
    assert len(scene.derived) == 3 * WITHOUT_ADDRESS


async def test_right_passwords_do_not_count(scene: Scene) -> None:
    for _ in range(10):
        guess = await scene.passwords.attempt("room", "salt", "right", "1.2.3.4")
        guess.accept()
        guess.end()
    assert scene.count("right") == 10


async def test_a_class_that_comes_in_together_has_one_derivation_and_no_wrong_password(scene: Scene) -> None:
    scene.gate.clear()
    tasks = [asyncio.create_task(scene.passwords.attempt("room", "salt", "right", "1.2.3.4")) for _ in range(100)]
    while not scene.derived:
        await asyncio.sleep(0.001)
    scene.gate.set()
    guesses = await asyncio.gather(*tasks)
    assert len(scene.derived) == len({guess.key for guess in guesses}) == 1
    for guess in guesses:
        guess.accept()
        guess.end()
    # All three attempts are left.
    for number in range(3):
        await scene.passwords.attempt("room", "salt", f"wrong{number}", "1.2.3.4")
    with pytest.raises(Refused, match="wrong passwords"):
        await scene.passwords.attempt("room", "salt", "right", "1.2.3.4")


async def test_a_guess_that_nobody_accepts_counts(scene: Scene) -> None:
    for _ in range(3):
        guess = await scene.passwords.attempt("room", "salt", "wrong", "1.2.3.4")
        guess.end()
        guess.end()
    with pytest.raises(Refused, match="wrong passwords"):
        await scene.passwords.attempt("room", "salt", "wrong", "1.2.3.4")


async def test_a_guess_for_which_no_key_is_derived_does_not_count(scene: Scene) -> None:
    scene.gate.clear()
    tasks = [asyncio.create_task(scene.passwords.derive("room", "salt", f"x{number}")) for number in range(64)]
    while len(scene.derived) < 2:
        await asyncio.sleep(0.001)
    for _ in range(4):
        with pytest.raises(Refused, match="too many passwords"):
            await scene.passwords.attempt("room", "salt", "right", "1.2.3.4")
    scene.gate.set()
    await asyncio.gather(*tasks)


async def test_a_client_that_gives_up_does_not_end_the_derivation_of_another(scene: Scene) -> None:
    scene.gate.clear()
    one, other = (asyncio.create_task(scene.passwords.derive("room", "salt", "x")) for _ in range(2))
    while not scene.derived:
        await asyncio.sleep(0.001)
    one.cancel()
    scene.gate.set()
    assert await other
    assert len(scene.derived) == 1


async def test_the_cache_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_CACHED", 2)
    for password in "abcab":
        await scene.passwords.derive("room", "salt", password)
    assert len(scene.derived) == 5


def test_a_salt_depends_on_room_and_password(scene: Scene) -> None:
    salts = [scene.passwords.salt(room, password) for room in "ab" for password in "xy"]
    assert len(set(salts)) == 4
    assert scene.passwords.salt("a", "x") == salts[0]
