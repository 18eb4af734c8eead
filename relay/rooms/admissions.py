"""Admission: which clients a worker accepts, and how many of them are connected now."""

from typing import Self

from relay.limits import AddressLimits, Clock, Pace, PaceLimits
from relay.metrics import Metrics, ProtocolMetrics
from relay.model.errors import Refused


class Ticket:
    """The admission of one client, which counts against its address until it is released.

    `metrics` are those of the client's protocol. A session keeps one ticket for its whole life, also when it changes
    its transport. Several sessions of one client share its ticket.
    """

    # A worker has one ticket for each idle connection: no `__dict__`.
    __slots__ = ("_admissions", "_pace", "_released", "address", "metrics")

    def __init__(self, admissions: "Admissions", address: str, metrics: ProtocolMetrics) -> None:
        self._admissions = admissions
        self._released = False
        # Made with the first message: a worker has tens of thousands of idle clients.
        self._pace: Pace | None = None
        self.address = address
        self.metrics = metrics

    def pace(self) -> Pace:
        """Return the rate of the client's messages; also for those that are served after its end."""
        if self._pace is None:
            self._pace = self._admissions.pace_of(self)
        return self._pace

    def release(self) -> None:
        """Count the end of the client; later calls do nothing."""
        if not self._released:
            self._released = True
            self._admissions.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Release the ticket of a client whose handshake fails; after a success, the session has it."""
        if error is not None:
            self.release()


class Admissions:
    """Admits clients of one worker: `most` at a time, and each address within its own limits."""

    def __init__(
        self, addresses: AddressLimits, pace: PaceLimits, *, most: int, metrics: Metrics, clock: Clock
    ) -> None:
        self._addresses = addresses
        self._pace = pace
        self._clock = clock
        self._most = most
        self._metrics = metrics
        self._count = 0

    def __len__(self) -> int:
        """Return how many tickets are not released."""
        return self._count

    def admit(self, address: str, protocol: str) -> Ticket:
        """Admit a client; raises `Refused`: `worker_full`, `too_many_connections` or `too_many_handshakes`."""
        if self._count >= self._most:
            raise Refused("worker_full")
        # Last, because this counts the attempt: the check before it refuses without undoing anything.
        code = self._addresses.admit(address)
        if code:
            raise Refused(code)
        self._count += 1
        metrics = self._metrics.of(protocol)
        metrics.connections += 1
        return Ticket(self, address, metrics)

    def pace_of(self, ticket: Ticket) -> Pace:
        """Make the rate of an admitted client; its address shares a budget of bytes."""
        return Pace(self._pace, self._addresses.byte_budget(ticket.address), self._clock)

    def release(self, ticket: Ticket) -> None:
        """Count the end of an admitted client; called by its ticket, once."""
        self._count -= 1
        ticket.metrics.connections -= 1
        self._addresses.release(ticket.address)
