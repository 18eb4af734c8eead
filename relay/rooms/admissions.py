"""Admission: which clients a worker accepts, and how many of them are connected now."""

from collections.abc import Callable
from dataclasses import replace
from typing import Self

from relay.limits import AddressLimits, Clock, Pace, PaceLimits, burst_of
from relay.metrics import Metrics
from relay.model.errors import Refused
from relay.protocol_metrics import ProtocolMetrics
from relay.rooms.buffers import Buffer, Buffers
from relay.rooms.quotas import Quotas


class Ticket:
    """The admission of one client, which counts against its address until it is released.

    `metrics` are those of the client's protocol. A session keeps one ticket for its whole life, also when it changes
    its transport. Several sessions of one client share its ticket.
    """

    # A worker has one ticket for each idle connection: no `__dict__`.
    __slots__ = ("_admissions", "_limits", "_pace", "_released", "address", "metrics")

    def __init__(self, admissions: "Admissions", address: str, metrics: ProtocolMetrics) -> None:
        self._admissions = admissions
        self._released = False
        # The rates of those sessions whose tokens have one.
        self._limits: dict[int, float] | None = None
        # Made with the first message: a worker has tens of thousands of idle clients.
        self._pace: Pace | None = None
        self.address = address
        self.metrics = metrics

    def pace(self) -> Pace:
        """Return the rate of the client's messages, also of messages that are served after its end."""
        if self._pace is None:
            self._pace = self._admissions.pace_of(self)
        return self._pace

    def limit_messages(self, rate: float | None, session: int = 0) -> None:
        """Let the client send so many messages a second; None stands for the rate of the settings.

        Of several rates of the client's sessions, which are told apart by numbers, the lowest one counts: a token for
        one of them does not lift the limit of another.
        """
        limits = self._limits or {}
        if rate is None and session not in limits:
            return
        if rate is None:
            del limits[session]
        else:
            limits[session] = rate
        self._limits = limits
        self._admissions.limit_pace(self.pace(), min(limits.values(), default=None))

    def buffer(self, drop: Callable[[], None]) -> Buffer:
        """Open an empty buffer that counts for the client's address; see `Buffering`."""
        return self._admissions.buffers.open(self.address, drop)

    def release(self) -> None:
        """Count the end of the client; later calls do nothing."""
        if not self._released:
            self._released = True
            if self._pace is not None:
                self._pace.end()
            self._admissions.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Release the ticket of a client whose handshake fails; after a success, the session has it."""
        if error is not None:
            self.release()


class Admissions:
    """Admits clients of one worker: `most` at a time, and each address within its own limits.

    `buffers` bounds the bytes that wait for the clients, or in their requests.
    """

    def __init__(
        self,
        addresses: AddressLimits,
        pace: PaceLimits,
        stored: Quotas,
        buffers: Buffers,
        *,
        most: int,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.buffers = buffers
        self._addresses = addresses
        self._pace = pace
        self._stored = stored
        # Bound once: each client's rate refers to it.
        self._find_stored = stored.of
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
        """Make the rate of an admitted client; its address shares a budget of bytes, and a quota of stored ones."""
        return self.pace_at(ticket.address)

    def pace_at(self, address: str) -> Pace:
        """Make the rate of a client that was not admitted, as it has no connection here."""
        return Pace(self._pace, self._addresses.byte_budget(address), self._clock, self._find_stored, address)

    def limit_pace(self, pace: Pace, rate: float | None) -> None:
        """Change the rate of a client's messages; None for the one of the settings."""
        pace.limit(self._pace if rate is None else replace(self._pace, rate=rate, burst=burst_of(rate)))

    def charge(self, address: str, size: int) -> bool:
        """Count a message of a client without a connection against the bytes of its address; False if they are used up.

        These are the budget of bytes that its connections share, and the quota of stored messages.
        """
        stored = self._stored.of(address)
        if stored.is_used_up or not self._addresses.byte_budget(address).take(size):
            return False
        stored.use(size)
        return True

    def release(self, ticket: Ticket) -> None:
        """Count the end of an admitted client; called by its ticket, once."""
        self._count -= 1
        ticket.metrics.connections -= 1
        self._addresses.release(ticket.address)
