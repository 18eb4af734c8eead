"""Unfinished messages: the bytes that have arrived before a session takes them, bounded for each address and worker.

They are the beginnings of messages and requests, and frames that wait while their connection is not read.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol

LIMIT: Final = 100_663_296
ADDRESS_LIMIT: Final = 50_331_648
LARGEST: Final = 2_621_440
PATIENCE: Final = 10.0
MESSAGE_TIME: Final = 30.0

PROGRESS: Final = 65_536
"""Bytes that must arrive in the time that a message has."""

_ONE_READ: Final = 262_144
"""Bytes that the transport reads at once; uvloop has a buffer of this size."""

_LONGEST_TICK: Final = 1.0
"""Seconds."""


class Sender(Protocol):
    """A connection of which bytes are kept."""

    @property
    def address(self) -> str:
        """The name under which the client's address is counted."""
        ...

    @property
    def arriving(self) -> bool:
        """Whether a message has begun to arrive, and the relay waits for its rest alone."""
        ...

    def hold_back(self, *, paused: bool) -> None:
        """Stop reading from the client, or go on."""
        ...

    def give_up(self) -> None:
        """Close the connection, and release its bytes."""
        ...


@dataclass(slots=True)
class _Address:
    """The bytes of one address; `senders` has its connections, in the order in which their messages began."""

    name: str
    total: int = 0
    senders: dict[Sender, "_Kept"] = field(default_factory=dict)
    paused: dict[Sender, "_Kept"] = field(default_factory=dict)


@dataclass(slots=True)
class _Kept:
    """The bytes of one connection; since `moved`, when there were `mark`, less than `PROGRESS` have arrived."""

    address: _Address
    moved: float
    size: int = 0
    mark: int = 0


class UnfinishedMessages:
    """Bounds the bytes that the connections of one worker keep before a session or an application takes them.

    Nearly every message arrives whole, and never comes here. Above `address_limit` bytes of one address, the worker
    reads on from one connection of it at a time: the one whose message began first. Above `limit` bytes of all, it does
    so with each address that keeps more than its fair share. Connections that have begun to send meanwhile add one
    read each; when these reads add up to half the limit more (or to a message of `largest` bytes), the connections that
    keep the most are closed.

    A message has `message_time` seconds for each 64 KB, or `patience` seconds while its address or the worker is above
    its limit; the time in which the relay itself does not read does not count.
    """

    def __init__(
        self,
        limit: int = LIMIT,
        patience: float = PATIENCE,
        *,
        address_limit: int | None = None,
        message_time: float = MESSAGE_TIME,
        largest: int = LARGEST,
    ) -> None:
        self._limit = limit
        self._address_limit = min(limit, ADDRESS_LIMIT if address_limit is None else address_limit)
        self._patience = min(patience, message_time)
        self._message_time = message_time
        self._spare = largest + _ONE_READ
        self._kept: dict[Sender, _Kept] = {}
        self._addresses: dict[str, _Address] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.total = 0

    def keep(self, sender: Sender, size: int) -> bool:
        """Set how many bytes a connection keeps; return False if it is held back from now on."""
        kept = self._kept.get(sender)
        if kept is None:
            name = sender.address
            address = self._addresses.get(name)
            if address is None:
                address = self._addresses[name] = _Address(name)
            kept = self._kept[sender] = address.senders[sender] = _Kept(address, asyncio.get_running_loop().time())
        more = size - kept.size
        kept.size = size
        kept.address.total += more
        self.total += more
        if self._timer is None:
            self._start_timer()
        if more <= 0 or (self.total <= self._limit and kept.address.total <= self._address_limit):
            return True
        return self._bound(sender, kept)

    def release(self, sender: Sender) -> None:
        """Forget the bytes of a connection: its message is complete, or it has ended."""
        kept = self._kept.pop(sender, None)
        if kept is None:
            return
        address, was_above = kept.address, self.total > self._limit
        self.total -= kept.size
        address.total -= kept.size
        del address.senders[sender]
        if not address.senders:
            del self._addresses[address.name]
        if address.paused.pop(sender, None):
            sender.hold_back(paused=False)
        self._read_on(address)
        if was_above and self.total <= self._limit:
            for other in list(self._addresses.values()):
                self._read_on(other)

    def _is_above(self, address: _Address) -> bool:
        if address.total > self._address_limit:
            return True
        return self.total > self._limit and address.total > self._limit / len(self._addresses)

    def _bound(self, sender: Sender, kept: _Kept) -> bool:
        """Keep to the limits where the last bytes were too many; return whether the connection is read on."""
        address = kept.address
        if address.total > self._address_limit + max(self._address_limit // 2, self._spare):
            self._close_largest(address)
        elif self.total > self._limit + max(self._limit // 2, self._spare):
            self._close_largest(max(self._addresses.values(), key=lambda one: one.total))
        if sender not in self._kept or sender in address.paused:
            return True
        if not self._is_above(address) or sender is next(iter(address.senders)):
            return True
        address.paused[sender] = kept
        sender.hold_back(paused=True)
        return False

    def _close_largest(self, address: _Address) -> None:
        max(address.senders, key=lambda one: address.senders[one].size).give_up()

    def _read_on(self, address: _Address) -> None:
        """Read on from the connection whose message began first, and from all if there is room again."""
        while address.paused:
            above = self._is_above(address)
            sender = next(iter(address.senders if above else address.paused))
            if address.paused.pop(sender, None) is None:
                return
            address.senders[sender].moved = asyncio.get_running_loop().time()
            sender.hold_back(paused=False)
            if above:
                return

    def _start_timer(self) -> None:
        seconds = min(_LONGEST_TICK, self._patience / 4, self._message_time / 4)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._check)

    def _check(self) -> None:
        """Close the connections whose messages are too slow."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        for address in list(self._addresses.values()):
            for sender, kept in list(address.senders.items()):
                if sender in address.paused or not sender.arriving or kept.size - kept.mark >= PROGRESS:
                    kept.moved, kept.mark = now, kept.size
                elif now - kept.moved >= (self._patience if self._is_above(address) else self._message_time):
                    sender.give_up()
        if self._kept:
            self._start_timer()
