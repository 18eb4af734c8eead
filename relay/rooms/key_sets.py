"""The keys that prove tokens, from all places that the settings name: secrets, PEM, and key sets in files and at URLs.

A file is read again when it changes. A key set at a URL is fetched by one worker for the whole fleet, and the others
take it from Redis, with a signature of the fleet key. After any failure, the last good keys stay in use.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from relay.backend.turns import Turns
from relay.config.auth_settings import AuthSettings
from relay.config.key_place import is_url
from relay.fleet_key import SIZE, FleetKey
from relay.key_fetch import Fetcher, FetchError
from relay.limits import Clock
from relay.logs import LogIntervals, without_password
from relay.metrics import Metrics
from relay.model.errors import NotAllowed, Refused, RelayError

log = logging.getLogger("relay.key_sets")

REFRESH: Final = 300.0
"""Seconds after which a key set is fetched again."""

TURN: Final = 30.0
"""Seconds in which the fleet fetches a key set once at most, whichever keys the tokens name."""

_LOOK, _FIRST_LOOK = 2.0, 0.25
"""Seconds between two looks for changes; the second is for a worker that has no key set yet."""

_KEPT: Final = 86_400.0
"""Seconds for which Redis has a fetched key set: a worker that starts while the issuer is away uses it."""

_PAUSE: Final = 1.0
"""Seconds between two looks that tokens cause: any client can send one that names an unknown key."""

_LOG_INTERVAL: Final = 60.0
_PURPOSE: Final = "key set"
_TIME: Final = 8
"""Bytes of a time (ms)."""

Read = Callable[[bytes], Sequence[Any]]
"""Returns the keys in a text; raises `NotAllowed` with the reason."""


@dataclass(frozen=True, slots=True)
class KeyFleet:
    """The parts of a worker by which workers share fetched key sets; `now` is the time (ms) of the fleet's clock."""

    turns: Turns
    fleet_key: FleetKey
    now: Callable[[], int]


class KeySets:
    """All keys that the settings name. `run` looks for changes until it is cancelled; a worker without `auth` has none.

    No file and no answer of a server is an error here: a worker with live clients goes on with the keys that it has.
    The command that starts it calls `check_keys` before. Raises `NotAllowed` for keys in the settings themselves.
    """

    def __init__(self, settings: AuthSettings, fleet: KeyFleet, *, metrics: Metrics, clock: Clock) -> None:
        self.generation = 0
        self._keys: Sequence[Any] = ()
        self._fixed: Sequence[Any] = ()
        self._files: Sequence[_File] = ()
        self._remote: _Remote | None = None
        if settings.auth != "off":
            self._fixed, self._files = _places(settings)
            if is_url(settings.auth_jwks):
                self._remote = _Remote(settings.auth_jwks, fleet, metrics, clock)
            self._look_at_files()
            self._collect()

    @property
    def changes(self) -> bool:
        """Whether keys may change while the worker runs, so that `run` has work."""
        return bool(self._files) or self._remote is not None

    def current(self) -> Sequence[Any]:
        """Return the keys of all places; raise `Refused` (`keys_unavailable`) if there is none."""
        if not self._keys:
            raise Refused("keys_unavailable")
        return self._keys

    async def renew(self) -> bool:
        """Look for newer keys; return whether those that are there now are up to date."""
        if self._look_at_files():
            self._collect()
        if self._remote is None:
            return bool(self._keys)
        current = await self._remote.renew()
        if self._remote.take_change():
            self._collect()
        return current

    async def run(self) -> None:
        """Look for changes until cancelled."""
        while True:
            changed = self._look_at_files()
            if self._remote is not None:
                await self._remote.refresh()
                changed = self._remote.take_change() or changed
            if changed:
                self._collect()
            await asyncio.sleep(_FIRST_LOOK if self._remote is not None and not self._remote.keys else _LOOK)

    def _look_at_files(self) -> bool:
        # Every one, and not only up to the first that has changed.
        return any([file.look() for file in self._files])

    def _collect(self) -> None:
        of_files = [key for file in self._files for key in file.keys]
        self._keys = (*self._fixed, *of_files, *(self._remote.keys if self._remote else ()))
        self.generation += 1


class _File:
    """One file with keys, read again when its size, its time or its place on the disk has changed.

    A file without usable keys is not read again either until it changes: any client can cause a look.
    """

    def __init__(self, setting: str, path: str, read: Read, limit: int) -> None:
        self.keys: Sequence[Any] = ()
        self.setting = setting
        self.path = Path(path)
        self._read = read
        self._limit = limit
        self._mark: tuple[int, int, int] | None = None
        self._refused: tuple[tuple[int, int, int], NotAllowed] | None = None
        self._lines = LogIntervals(_LOG_INTERVAL)

    def look(self) -> bool:
        """Read the file if it has changed; return whether there are other keys now."""
        try:
            found = self.path.stat()
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
            if mark == self._mark:
                return False
            keys = self._load_changed(mark)
        except NotAllowed as error:
            if self._lines.due() is not None:
                log.error("%s: the keys stay as they were: %s", self.setting, error)
            return False
        except OSError as error:
            if self._lines.due() is not None:
                log.error("%s: the keys stay as they were: the file cannot be read: %s", self.setting, error.strerror)
            return False
        if self._mark is not None:
            log.info("%s: the file has changed, and its %d keys are in use now", self.setting, len(keys))
        self._mark, self.keys = mark, keys
        return True

    def _load_changed(self, mark: tuple[int, int, int]) -> Sequence[Any]:
        if self._refused is not None and self._refused[0] == mark:
            raise self._refused[1]
        try:
            return self.load()
        except NotAllowed as error:
            self._refused = mark, error
            raise

    def load(self) -> Sequence[Any]:
        """Return the keys in the file; raises OSError or `NotAllowed`."""
        with self.path.open("rb") as file:
            return self._read(file.read(self._limit + 1))


class _Remote:
    """A key set at a URL."""

    def __init__(self, url: str, fleet: KeyFleet, metrics: Metrics, clock: Clock) -> None:
        from relay.identity.keys import MAX_SET, keys_of_set

        self.keys: Sequence[Any] = ()
        self._read = keys_of_set
        self._fetcher = Fetcher(url, MAX_SET)
        self._shown = without_password(url)
        self._name = "keys-" + hashlib.sha256(url.encode()).hexdigest()[:16]
        self._fleet = fleet
        self._metrics = metrics
        self._clock = clock
        self._lines = LogIntervals(_LOG_INTERVAL, clock)
        self._busy = asyncio.Lock()
        self._body = b""
        self._fetched = 0
        self._changed = False
        # By this worker's clock: when it may look again, and when it may fetch without asking Redis, which is away.
        self._renew_at = self._fetch_at = float("-inf")

    def take_change(self) -> bool:
        """Return whether the keys have changed since the last call."""
        changed, self._changed = self._changed, False
        return changed

    async def refresh(self) -> None:
        """Fetch the key set if that is due, or take it from the worker that has."""
        if self._age() >= REFRESH:
            async with self._busy:
                await self._look(REFRESH)

    async def renew(self) -> bool:
        """Look for a newer key set, as a token names a key that is not there; return whether this one is up to date."""
        if self._age() >= TURN:
            async with self._busy:
                # Others may have waited for the same look.
                if self._age() >= TURN and self._clock() >= self._renew_at:
                    await self._look(TURN)
                    self._renew_at = self._clock() + _PAUSE
        return self._age() < TURN

    def _age(self) -> float:
        """Return how long ago the key set was fetched, by any worker."""
        return max(0.0, (self._fleet.now() - self._fetched) / 1000) if self._body else float("inf")

    async def _look(self, oldest: float) -> None:
        """Take the key set that another worker has fetched, or fetch it, if that is this worker's turn."""
        if not self._fleet.fleet_key.agreed:
            # The worker starts, and has no clients yet. It could not read results that others sign, nor they its own.
            return
        await self._take_shared()
        if self._age() < oldest or not await self._is_turn():
            return
        try:
            body = await self._fetcher.fetch()
            keys = self._read(body)
        except (FetchError, NotAllowed) as error:
            self._metrics.key_fetches.labels("failed").inc()
            if self._lines.due("fetch") is not None:
                log.error(
                    "auth_jwks: the key set at %s cannot be used (%s); %s, and the next attempt follows in %g s",
                    self._shown, error, "the last good one stays in use" if self._body else "there is none", TURN,
                )  # fmt: skip
            return
        self._metrics.key_fetches.labels("fetched").inc()
        self._use(self._fleet.now(), body, keys)
        await self._share()

    async def _is_turn(self) -> bool:
        now = self._clock()
        if now < self._fetch_at:
            return False
        try:
            mine = await self._fleet.turns.take(self._name, TURN)
        except RelayError:
            # Redis is away: each worker goes by its own time.
            mine = True
        if mine:
            self._fetch_at = now + TURN
        return mine

    async def _take_shared(self) -> None:
        try:
            value = await self._fleet.turns.shared(self._name)
        except RelayError:
            return
        mac, text = value[:SIZE], value[SIZE:]
        if not self._fleet.fleet_key.verify(_PURPOSE, text, mac):
            # Also if there is none. A key set that no worker of the fleet has signed is not used.
            return
        fetched, body = int.from_bytes(text[:_TIME], "big"), text[_TIME:]
        if fetched <= self._fetched:
            return
        try:
            keys = self._read(body)
        except NotAllowed:
            return
        self._metrics.key_fetches.labels("shared").inc()
        self._use(fetched, body, keys)

    async def _share(self) -> None:
        text = self._fetched.to_bytes(_TIME, "big") + self._body
        try:
            await self._fleet.turns.share(self._name, self._fleet.fleet_key.sign(_PURPOSE, text) + text, _KEPT)
        except RelayError as error:
            if self._lines.due("share") is not None:
                log.warning(
                    "auth_jwks: the key set could not be left in Redis for the other workers (%s); each fetches it "
                    "itself", error.code,
                )  # fmt: skip

    def _use(self, fetched: int, body: bytes, keys: Sequence[Any]) -> None:
        if body != self._body:
            log.info("auth_jwks: %d keys of %s are in use now", len(keys), self._shown)
            self._body, self.keys, self._changed = body, keys, True
        self._fetched = fetched


def _places(settings: AuthSettings) -> tuple[Sequence[Any], Sequence[_File]]:
    """Return the keys that are in the settings themselves, and the files that have others."""
    # Imported here: a worker without tokens does not load the libraries for them.
    from relay.identity import keys

    def pem(text: bytes) -> Sequence[Any]:
        return keys.keys_of_pem(text.decode("ascii", "replace"))

    fixed = [*_of_setting("auth_secret", keys.keys_of_secrets, settings.auth_secret)]
    files = []
    if settings.auth_key.lstrip().startswith("-----BEGIN"):
        fixed += _of_setting("auth_key", keys.keys_of_pem, settings.auth_key)
    elif settings.auth_key:
        files.append(_File("auth_key", settings.auth_key, pem, keys.MAX_SET))
    if settings.auth_jwks and not is_url(settings.auth_jwks):
        files.append(_File("auth_jwks", settings.auth_jwks, keys.keys_of_set, keys.MAX_SET))
    return fixed, files


def _of_setting(name: str, read: Callable[[str], Sequence[Any]], text: str) -> Sequence[Any]:
    try:
        return read(text)
    except NotAllowed as error:
        raise NotAllowed(f"{name}: {error}") from None


def check_keys(settings: AuthSettings) -> list[str]:
    """Return the faults of the keys that the settings name; a key set at a URL is not fetched."""
    if settings.auth == "off":
        return []
    try:
        _, files = _places(settings)
    except NotAllowed as error:
        return [str(error)]
    problems = []
    for file in files:
        try:
            file.load()
        except NotAllowed as error:
            problems.append(f"{file.setting}: the file {file.path}: {error}")
        except OSError as error:
            problems.append(f"{file.setting}: the file {file.path} cannot be read: {error.strerror}")
    return problems
