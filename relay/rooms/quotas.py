"""Quotas: the amount of something that each address may use in a minute, or in another period, on all workers."""

import logging
import sys
from typing import Final

from relay.backend.usage import MINUTE_MS, AddressUsage
from relay.logs import LogIntervals

log = logging.getLogger("relay.rooms.quotas")

_SWEEP: Final = 1024
_LOG_INTERVAL: Final = 10.0

_MOST: Final = 32_768
"""Addresses whose use a worker counts; for each further one, that which it has counted for longest is forgotten."""


class Quota:
    """The use of one address in the present period, as far as this worker knows it.

    The worker reports the use of its clients, in steps, and learns the total of the fleet from the replies. So a fleet
    may exceed the quota by one step for each worker. A client without an address, such as one behind a unix socket, has
    no limit: all of them would have one together.
    """

    __slots__ = ("_address", "_most", "_period", "_quotas", "_unreported", "_used", "open")

    def __init__(self, quotas: "Quotas", address: str) -> None:
        self._quotas = quotas
        self._address = address
        self._most = quotas.most if address else sys.maxsize
        self._period = 0
        self._used = 0
        self._unreported = 0
        self.open = True
        """Whether more may be used, as far as is known without looking at the time: it may be False for too long."""

    @property
    def is_used_up(self) -> bool:
        """Whether nothing more may be used in this period."""
        self._begin_period()
        self.open = self._used < self._most
        if not self.open:
            self._quotas.note_used_up(self._address)
        return not self.open

    @property
    def is_over(self) -> bool:
        """Whether the last period in which it was used is over, so that a new quota would be the same."""
        return self._period != self._quotas.period()

    def reserve(self) -> bool:
        """Take one that may be used or given back; False if the quota is used up."""
        if self.is_used_up:
            return False
        self._used += 1
        return True

    def give_back(self) -> None:
        """Give one back that was reserved."""
        self._used = max(0, self._used - 1)

    def use_reserved(self) -> None:
        """Use one that was reserved."""
        self._report(1)

    def use(self, amount: int) -> None:
        """Use so much, also beyond the quota."""
        self._begin_period()
        self._used += amount
        self.open = self._used < self._most
        self._report(amount)

    def forget(self) -> None:
        """Report all use: a new quota of this address learns of it from the reply to its first report."""
        if self._unreported and not self.is_over:
            self._report(0, least=1)

    def _report(self, amount: int, *, least: int = 0) -> None:
        self._unreported += amount
        if self._address and self._unreported >= (least or self._quotas.step):
            period, unreported, self._unreported = self._period, self._unreported, 0
            self._quotas.usage.add(
                self._quotas.kind,
                self._address,
                period,
                unreported,
                lambda total: self._told(period, total),
                length=self._quotas.length,
            )

    def _told(self, period: int, total: int) -> None:
        if period == self._period:
            self._used = max(self._used, total + self._unreported)
            self.open = self._used < self._most

    def _begin_period(self) -> None:
        period = self._quotas.period()
        if period != self._period:
            self._period = period
            self._used = self._unreported = 0
            self.open = True


class Quotas:
    """The quotas of all addresses for one `kind` of use: `most` in each period, reported in steps of at least `step`.

    A period has this `length` (ms). `use` names the use in the log, and `setting` the setting of its limit.

    A worker counts at most 32,768 addresses. One that it has forgotten may use a step more, until the worker learns the
    total of the fleet from the reply to its next report.
    """

    def __init__(
        self,
        kind: str,
        most: int,
        usage: AddressUsage,
        *,
        step: int = 1,
        use: str,
        setting: str,
        length: int = MINUTE_MS,
    ) -> None:
        self.kind = kind
        self.most = most
        self.usage = usage
        self.step = step
        self.length = length
        self._use = use
        self._setting = setting
        self._known: dict[str, Quota] = {}
        self._sweep_at = _SWEEP
        self._lines = LogIntervals(_LOG_INTERVAL, lambda: usage.now() / 1000)

    def of(self, address: str) -> Quota:
        """Return the quota of an address."""
        quota = self._known.get(address)
        if quota is None:
            self._make_room()
            quota = self._known[address] = Quota(self, address)
        return quota

    def period(self) -> int:
        """Return the number of the present period."""
        return self.usage.now() // self.length

    def note_used_up(self, address: str) -> None:
        """Log that a client is refused, at most once in ten seconds."""
        if self._lines.due() is not None:
            log.warning(
                "address %s has used up its %s for now (%d); if its clients are not hostile, raise %s",
                address, self._use, self.most, self._setting,
            )  # fmt: skip

    def _make_room(self) -> None:
        """Forget quotas of past periods, whenever the number of addresses has doubled, and one that is too many."""
        if len(self._known) >= self._sweep_at:
            self._known = {name: quota for name, quota in self._known.items() if not quota.is_over}
            self._sweep_at = max(_SWEEP, 2 * len(self._known))
        if len(self._known) >= _MOST:
            self._known.pop(next(iter(self._known))).forget()
