"""Finds the worker of a session: the unix socket of a local worker, or the address of another replica's worker."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, NamedTuple

from relay.http_client import Target
from relay.limits import Clock
from relay.logs import LogIntervals, escape
from relay.model.errors import RelayError
from relay.model.workers import LocalWorkers, Owner

log = logging.getLogger("relay.forwarding")

Networks = Sequence[IPv4Network | IPv6Network]

_FRESH: Final = 2.0
"""Seconds for which an address that was looked up is used without another look."""

_ABSENT: Final = 0.25
"""Seconds for which a worker without an address is not looked up again: less than the time between its heartbeats."""

_STALE: Final = 15.0
"""Seconds for which an address is used while Redis does not answer."""

_LOST: Final = 3.0
"""Seconds for which an address is used that Redis has no more: if it lost its data, heartbeats soon restore it.

A worker that has ended refuses the connection, and one that has its address now refuses the request. But to a machine
that is gone, the connection takes long to fail.
"""

_MAX_KNOWN: Final = 4096
_LOG_INTERVAL: Final = 60.0
_ADDRESS: Final = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([0-9.]{7,15})):([0-9]{1,5})", re.ASCII)


class ForbiddenTarget(Exception):
    """A worker's address in Redis is not one to which this worker may connect."""


def parse_target(text: str, networks: Networks) -> tuple[str, int]:
    """Read `IP:PORT` or `[IPV6]:PORT`; raises `ForbiddenTarget` if it is not in one of the networks, or no address."""
    found = _ADDRESS.fullmatch(text)
    try:
        ip = ip_address(found[1] or found[2]) if found else None
    except ValueError:
        ip = None
    if found is None or ip is None or not 0 < int(found[3]) < 65_536:
        raise ForbiddenTarget("it is not IP:PORT")
    if not any(ip in network for network in networks):
        raise ForbiddenTarget("it is in none of the forward-networks")
    return str(ip), int(found[3])


class _KnownAddress(NamedTuple):
    """The address of an owner, "" for none; until `asked_again` it is used as it is.

    Until `valid_until`, it is also used if Redis does not answer, or has none.
    """

    address: str = ""
    asked_again: float = 0.0
    valid_until: float = 0.0


class ForwardTargets:
    """Finds the target of each owner; `look_up` returns the address of a live worker in Redis, "" if there is none.

    Without `networks`, only local workers are found.
    """

    def __init__(
        self, local: LocalWorkers, networks: Networks, look_up: Callable[[str], Awaitable[str]], clock: Clock
    ) -> None:
        self._local = local
        self._networks = networks
        self._look_up = look_up
        self._clock = clock
        self._known: dict[Owner, _KnownAddress] = {}
        self._pending: dict[Owner, asyncio.Task[str]] = {}
        self._lines = LogIntervals(_LOG_INTERVAL, clock)

    async def find(self, owner: Owner) -> Target | None:
        """Return where the owner is; None if it is this worker, or gone.

        Raises `ForbiddenTarget`, and `Unavailable` or `OutcomeUnknown` if Redis does not say where it is.
        """
        own = self._local.owner
        if owner.group == own.group:
            return None if owner.index == own.index else self._socket(owner.index)
        if not self._networks:
            return None
        address = await self._address(owner)
        if not address:
            return None
        try:
            return parse_target(address, self._networks)
        except ForbiddenTarget as error:
            self._warn(owner, address, error)
            raise

    def forget(self, owner: Owner) -> None:
        """Look the owner up again next time: it could not be reached."""
        self._known.pop(owner, None)

    def _socket(self, index: int) -> str | None:
        sockets = self._local.sockets
        return sockets[index] if index < len(sockets) else None

    async def _address(self, owner: Owner) -> str:
        known, now = self._known.get(owner, _KnownAddress()), self._clock()
        if now < known.asked_again:
            return known.address
        # One look-up for all requests that wait; a client that drops its request must not cancel it for the others.
        pending = self._pending.get(owner)
        if pending is None:
            pending = self._pending[owner] = asyncio.ensure_future(self._look_up_now(owner))
        try:
            return await asyncio.shield(pending)
        except RelayError:
            if now < known.valid_until:
                return known.address
            raise

    async def _look_up_now(self, owner: Owner) -> str:
        try:
            address = await self._look_up(str(owner))
        finally:
            del self._pending[owner]
        now, known = self._clock(), self._known.get(owner, _KnownAddress())
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        if address:
            known = _KnownAddress(address, now + _FRESH, now + _STALE)
        elif now < known.valid_until:
            known = known._replace(asked_again=now + _ABSENT, valid_until=min(known.valid_until, now + _LOST))
        else:
            known = _KnownAddress(asked_again=now + _ABSENT)
        self._known[owner] = known
        return known.address

    def _warn(self, owner: Owner, address: str, error: ForbiddenTarget) -> None:
        if self._lines.due() is not None:
            log.warning(
                "the address of worker %s in Redis is refused (%r: %s); requests for its sessions are not forwarded; "
                "check forward-networks, and which programs may write to Redis", owner, escape(address[:100]), error,
            )  # fmt: skip
