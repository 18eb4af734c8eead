"""Passwords of rooms: the keys that are derived from them, and a brake on clients that guess them."""

import asyncio
import hmac
import logging
import secrets
from collections import OrderedDict
from hashlib import scrypt, sha256
from typing import Final

from relay.address_rates import WITHOUT_ADDRESS, AddressRates
from relay.limits import Clock, TokenBucket
from relay.logs import LogIntervals, escape
from relay.metrics import Metrics
from relay.model.errors import Refused

log = logging.getLogger("relay.rooms.passwords")

_COST: Final = {"n": 16_384, "r": 8, "p": 1, "dklen": 32}
"""The cost of scrypt: 16 MB and some 50 ms of one core for each guess."""

_AT_ONCE: Final = 2
_MOST_WAITING: Final = 64
"""Derivations at the same time, and those that wait: any further client is refused."""

_ROOMS: Final = 10
"""The wrong passwords of an address for all rooms together are as many as for so many rooms."""

_MOST_CACHED: Final = 1024
"""Derived keys that are remembered, so that a class that joins a room costs one derivation."""

_LOG_INTERVAL: Final = 60.0

_Name = tuple[str, str, bytes]
"""A room, a salt or an address, and the MAC of a password."""


class Passwords:
    """Derives keys from passwords, in threads, so that the loop of the worker goes on.

    An address may offer `attempts` wrong passwords for a room a minute, and ten times as many for all rooms: one that
    knows many rooms must not keep the threads busy. Beyond that, its passwords are refused before anything is derived,
    also right ones. Clients without an address may offer `WITHOUT_ADDRESS` times as many for a room, all of them
    together. The keys that were derived last are remembered, under a MAC of the password with a secret of this process.
    """

    def __init__(self, *, attempts: int, clock: Clock, metrics: Metrics) -> None:
        self._wrong = AddressRates(attempts / 60, attempts, clock)
        self._wrong_anywhere = AddressRates(_ROOMS * attempts / 60, _ROOMS * attempts, clock)
        self._wrong_together = AddressRates(WITHOUT_ADDRESS * attempts / 60, WITHOUT_ADDRESS * attempts, clock)
        self._metrics = metrics
        self._secret = secrets.token_bytes(32)
        self._cache: OrderedDict[_Name, str] = OrderedDict()
        self._deriving: dict[_Name, asyncio.Task[str]] = {}
        self._guesses: dict[_Name, _Guesses] = {}
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._lines = LogIntervals(_LOG_INTERVAL, clock)

    def salt(self, room: str, password: str) -> str:
        """Return a salt for the password of a room; within this process, it is always the same."""
        return hmac.new(self._secret, f"salt {room} {password}".encode(), sha256).hexdigest()[:32]

    async def derive(self, room: str, salt: str, password: str) -> str:
        """Return the key derived from a password, as hex; raises `Refused` (`unavailable`) if too many wait for one.

        Those that ask for the same key at the same time wait for one derivation.
        """
        name = room, salt, self._mac(password)
        known = self._cache.get(name)
        if known is not None:
            self._cache.move_to_end(name)
            return known
        deriving = self._deriving.get(name)
        if deriving is None:
            if len(self._deriving) >= _MOST_WAITING:
                raise Refused("unavailable", "too many passwords are being checked; try again later", room=room)
            deriving = self._deriving[name] = asyncio.create_task(self._derive(name, password))
        # One that is canceled must not end the derivation of the others.
        return await asyncio.shield(deriving)

    async def _derive(self, name: _Name, password: str) -> str:
        try:
            async with self._slots:
                key = await asyncio.to_thread(scrypt, password.encode(), salt=name[1].encode(), **_COST)
        finally:
            del self._deriving[name]
        self._cache[name] = key.hex()
        if len(self._cache) > _MOST_CACHED:
            self._cache.popitem(last=False)
        return key.hex()

    async def attempt(self, room: str, salt: str, password: str, address: str) -> "Guess":
        """Derive the key that a client of this address offers; it counts as wrong until the guess is accepted.

        The same password of the same address counts once at a time, so that a class behind one address may come in
        together. Raises `Refused`: `too_many_attempts`, or as `derive` does.
        """
        name = room, address, self._mac(password)
        guesses = self._guesses.get(name)
        if guesses is None:
            if not self._take(name):
                self._metrics.passwords.labels("unseen").inc()
                raise Refused(
                    "too_many_attempts",
                    "this address has sent as many wrong passwords as it may, for this room or for all (setting "
                    "password-attempts); wait a minute, and send the right one",
                    room=room,
                )
            guesses = self._guesses[name] = _Guesses()
        guesses.open += 1
        guess = Guess(self, name, salt)
        try:
            guess.key = await self.derive(room, salt, password)
        except Refused:
            # Nothing was derived, so nothing was guessed.
            guesses.count = False
            guess.end()
            raise
        except BaseException:
            guess.end()
            raise
        return guess

    def accepted(self, name: _Name) -> None:
        """Note that a password was right, or was not looked at; `Guess.accept` calls this."""
        self._guesses[name].count = False
        self._metrics.passwords.labels("right").inc()

    def refused(self, name: _Name) -> None:
        """Note that a password was wrong; `Guess.refuse` calls this."""
        self._metrics.passwords.labels("wrong").inc()
        unlogged = self._lines.due()
        if unlogged is not None:
            room, address, _ = name
            log.warning(
                "a client had a wrong password (from %s, for room %s; %d such clients since the last of these lines)",
                escape(address) or "an unknown address", room, unlogged,
            )  # fmt: skip

    def ended(self, name: _Name) -> None:
        """End one of the guesses of this name; the last one gives the tokens back, unless a guess counted."""
        guesses = self._guesses[name]
        guesses.open -= 1
        if not guesses.open:
            del self._guesses[name]
            if not guesses.count:
                for bucket in self._buckets(name):
                    bucket.debit(-1)

    def _take(self, name: _Name) -> bool:
        """Count a guess as wrong; return whether it may be made."""
        of_address, of_room = self._buckets(name)
        if not of_address.take():
            return False
        if not of_room.take():
            of_address.debit(-1)
            return False
        return True

    def _buckets(self, name: _Name) -> tuple[TokenBucket, TokenBucket]:
        """Return the buckets of an address for all rooms, and for this one."""
        room, address, _ = name
        # Names are escaped: they have no space.
        of_room = self._wrong.of(f"{room} {address}") if address else self._wrong_together.of(room)
        return self._wrong_anywhere.of(address), of_room

    def _mac(self, password: str) -> bytes:
        return hmac.digest(self._secret, password.encode(), "sha256")


class _Guesses:
    """The guesses of one password by one address that are being checked, and whether they count as a wrong one."""

    __slots__ = ("count", "open")

    def __init__(self) -> None:
        self.open = 0
        self.count = True


class Guess:
    """A password that a client offers, as the `key` derived from it with the `salt`; its owner calls `end`."""

    __slots__ = ("_ended", "_name", "_passwords", "key", "salt")

    def __init__(self, passwords: Passwords, name: _Name, salt: str) -> None:
        self._passwords = passwords
        self._name = name
        self._ended = False
        self.salt = salt
        self.key = ""

    def accept(self) -> None:
        """Note that the password was right, or was not looked at."""
        self._passwords.accepted(self._name)

    def refuse(self) -> None:
        """Note that the password was wrong."""
        self._passwords.refused(self._name)

    def end(self) -> None:
        """End the guess, which counts as wrong unless it was accepted; a repeated call does nothing."""
        if not self._ended:
            self._ended = True
            self._passwords.ended(self._name)
