"""The brake on guesses, by address."""

import logging

import pytest

from relay.identity.brake import GuessBrake

ALICE, BOB = "192.0.2.1", "2001:db8::/64"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def brake(attempts: int = 3, clock: Clock | None = None) -> GuessBrake:
    return GuessBrake(attempts, clock or Clock(), tokens="a wrong token", advice="do this")


def digest(number: int) -> bytes:
    return number.to_bytes(32, "big")[::-1]


def test_an_address_is_held_after_its_attempts_and_no_other_one() -> None:
    clock = Clock()
    one = brake(3, clock)
    for number in range(3):
        assert not one.holds(ALICE)
        one.note(ALICE, digest(number))
    assert one.holds(ALICE)
    assert not one.holds(BOB)
    clock.now += 20
    assert not one.holds(ALICE)


def test_the_same_token_counts_once_also_while_others_guess() -> None:
    one = brake(2)
    one.note(ALICE, digest(0))
    for number in range(10_000):
        one.note(f"198.51.100.{number % 250}", digest(number))
        if not number % 200:
            one.note(ALICE, digest(0))
    assert not one.holds(ALICE)


def test_the_memory_is_bounded() -> None:
    one = brake(100_000)
    for number in range(5000):
        one.note(ALICE, digest(number))
        one.note(f"address-{number}", digest(number))
    assert (len(one._guessers), max(len(guesser.seen) for guesser in one._guessers.values())) == (2048, 32)


def test_an_address_has_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    one = brake(10, clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(120):
            one.note(ALICE + "\n", b"secret-digest")
            clock.now += 1
    assert len(caplog.records) == 2
    assert "\\x0a" in caplog.text
    assert "59 more requests" in caplog.text
    assert "secret" not in caplog.text


def test_many_addresses_have_few_lines(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    one = brake(10, clock)
    with caplog.at_level(logging.WARNING):
        for number in range(5000):
            one.note(f"address-{number}", digest(number))
            clock.now += 0.012
    assert len(caplog.records) <= 20
