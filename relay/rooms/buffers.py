"""Bytes that wait in this worker for its clients: counted for each address and for the worker, and bounded for both.

One client is bounded by `send-buffer`, but an address may have thousands of clients. So the bytes that wait for a
client which does not read, and those of a request body that is not complete, also count for the client's address and
for the worker. When an address has too many, its largest buffers are dropped; when the worker has, those of the address
that has most.

A room's message is encoded once, and the same bytes wait for all its members. They count once for an address, and once
for the worker. A client for which little waits is not counted at all, so that a write to a client that reads costs
nothing.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from relay.limits import Clock
from relay.logs import LogIntervals
from relay.metrics import Metrics

log = logging.getLogger("relay.rooms.buffers")

FREE: Final = 65_536
"""Bytes of one connection or request that may wait without being counted."""

_REFERENCE: Final = 64
"""Bytes that each client needs for data that waits for it, beside the data itself."""

_LOG_INTERVAL: Final = 60.0


class Buffering(Protocol):
    """Opens buffers that count for one client's address."""

    def buffer(self, drop: Callable[[], None]) -> "Buffer":
        """Open an empty buffer; `drop` is called if it has to be given up."""
        ...


class _Tally:
    """Bytes that are kept: each piece of data counts once, however many buffers have it."""

    __slots__ = ("_copies", "total")

    def __init__(self) -> None:
        self.total = 0
        # By identity: all buffers that have a piece of data refer to it.
        self._copies: dict[int, int] = {}

    def add(self, data: bytes) -> None:
        copies = self._copies.get(id(data), 0)
        self._copies[id(data)] = copies + 1
        self.total += _REFERENCE if copies else _REFERENCE + len(data)

    def remove(self, data: bytes) -> None:
        copies = self._copies.pop(id(data)) - 1
        if copies:
            self._copies[id(data)] = copies
            self.total -= _REFERENCE
        else:
            self.total -= _REFERENCE + len(data)


class _Address(_Tally):
    """One address, and its buffers that are not empty."""

    __slots__ = ("buffers", "name")

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.buffers: dict[Buffer, None] = {}


class Buffer:
    """The bytes that wait for one connection, or in one request; `size` counts them without regard to other buffers.

    Data that waits to be sent is kept in the order in which it is sent. Bytes that have arrived are only counted.
    """

    __slots__ = ("_address", "_arrived", "_buffers", "_drop", "_kept", "_name", "size")

    def __init__(self, buffers: "Buffers", name: str, drop: Callable[[], None]) -> None:
        self._buffers = buffers
        self._name = name
        self._drop = drop
        # Known while the buffer is not empty.
        self._address: _Address | None = None
        self._kept: deque[bytes] = deque()
        self._arrived = 0
        self.size = 0

    def keep(self, data: bytes) -> None:
        """Count data that waits to be sent, behind all that waits already."""
        address = self._address or self._begin()
        self._kept.append(data)
        self.size += len(data)
        address.add(data)
        self._buffers.everything.add(data)
        self._buffers.check(address)

    def trim(self, waiting: int) -> None:
        """Forget the oldest data, so far as it is not among the last `waiting` bytes."""
        kept = self._kept
        sent = self.size - self._arrived - waiting
        while kept and len(kept[0]) <= sent:
            sent -= len(kept[0])
            self._forget(kept.popleft())
        if not self.size:
            self._end()

    def grow(self, size: int) -> None:
        """Count bytes that have arrived."""
        address = self._address or self._begin()
        self._arrived += size
        self.size += size
        address.total += size
        self._buffers.everything.total += size
        self._buffers.check(address)

    def clear(self) -> None:
        """Forget everything; the buffer may be used again."""
        if self._address is not None:
            self._address.total -= self._arrived
            self._buffers.everything.total -= self._arrived
            self._arrived = 0
            while self._kept:
                self._forget(self._kept.popleft())
            self.size = 0
            self._end()

    def give_up(self) -> None:
        """Have the owner drop the bytes."""
        self._drop()
        self.clear()

    def _begin(self) -> _Address:
        self._address = self._buffers.address(self._name)
        self._address.buffers[self] = None
        return self._address

    def _end(self) -> None:
        address, self._address = self._address, None
        if address is not None:
            del address.buffers[self]
            if not address.buffers:
                self._buffers.forget(address)

    def _forget(self, data: bytes) -> None:
        self.size -= len(data)
        if self._address is not None:
            self._address.remove(data)
        self._buffers.everything.remove(data)


class Buffers:
    """All buffers of one worker; limits are in bytes.

    A limit that was exceeded is enforced in the next turn of the event loop: the caller may be going through the
    members of a room, which a connection that is closed could change. `everything` counts for the worker.
    """

    def __init__(self, *, address_limit: int, worker_limit: int, metrics: Metrics, clock: Clock) -> None:
        self._address_limit = address_limit
        self._worker_limit = worker_limit
        self._metrics = metrics
        self.everything = _Tally()
        self._addresses: dict[str, _Address] = {}
        self._exceeding: dict[_Address, None] = {}
        self._scheduled = False
        self._lines = LogIntervals(_LOG_INTERVAL, clock)
        metrics.buffered.set_function(lambda: self.everything.total)

    def open(self, address: str, drop: Callable[[], None]) -> Buffer:
        """Open a buffer of a client from this address, as `counted_address` returns it; see `Buffering`."""
        return Buffer(self, address, drop)

    # For `Buffer`.

    def address(self, name: str) -> _Address:
        """Return the address of this name, for a buffer that is no longer empty."""
        known = self._addresses.get(name)
        if known is None:
            known = self._addresses[name] = _Address(name)
        return known

    def forget(self, address: _Address) -> None:
        """Forget an address without buffers."""
        del self._addresses[address.name]
        self._exceeding.pop(address, None)

    def check(self, address: _Address) -> None:
        """Have the limits enforced if this address or the worker is above its own."""
        if address.total > self._address_limit:
            self._exceeding[address] = None
        elif self.everything.total <= self._worker_limit:
            return
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._enforce)

    # Enforcing.

    def _enforce(self) -> None:
        self._scheduled = False
        for address in list(self._exceeding):
            self._exceeding.pop(address, None)
            self._drop_largest(address, "address", partial(self._is_exceeding, address))
        while self.everything.total > self._worker_limit and self._addresses:
            largest = max(self._addresses.values(), key=lambda one: one.total)
            self._drop_largest(largest, "worker", lambda: self.everything.total > self._worker_limit)

    def _is_exceeding(self, address: _Address) -> bool:
        return address.total > self._address_limit

    def _drop_largest(self, address: _Address, scope: str, exceeded: Callable[[], bool]) -> None:
        """Give up the largest buffers of an address, until this limit is no longer exceeded."""
        before, dropped = address.total, 0
        for buffer in sorted(address.buffers, key=lambda one: one.size, reverse=True):
            if not exceeded():
                break
            buffer.give_up()
            dropped += 1
        if dropped:
            self._metrics.dropped_buffers.labels(scope).inc(dropped)
            self._warn(address, scope, before, dropped)

    def _warn(self, address: _Address, scope: str, size: int, dropped: int) -> None:
        """Log one in a minute: a client can cause it at any time."""
        if self._lines.due() is not None:
            log.warning(
                "%d bytes waited for clients of %s, which read too slowly, or in their requests; %d of these were "
                "closed (setting %s-buffer)", size, address.name or "an unknown address", dropped, scope,
            )  # fmt: skip
