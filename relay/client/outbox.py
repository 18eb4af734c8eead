"""What this client has to say, until the relay has acknowledged it. No I/O.

Every envelope has a key, under which it may be sent again, over the same connection or another, and is delivered once.
Several are on their way at a time. So that none overtakes another, each names the one before it (`after`), as long as
that is not acknowledged: the relay refuses it should that one be missing. When one fails that may be tried again, it
and all that follow are sent again, in order.
"""

import asyncio
import itertools
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from relay.client.errors import NotAcknowledged, QueueFull, Rejected
from relay.envelope import MessageId

_json = msgspec.json.Encoder()

AGAIN = frozenset({"unavailable", "outcome_unknown", "too_fast", "out_of_order", "not_joined", "internal"})
"""Errors after which an envelope is sent again."""


@dataclass(slots=True, eq=False)
class Item:
    """One envelope; `sent` over the present connection, `tried` over any."""

    key: str
    envelope: bytes
    done: asyncio.Future[MessageId] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    sent: bool = False
    tried: bool = False


class Outbox:
    """A bounded queue, of which the first `window` may be on their way."""

    def __init__(self, *, size: int, window: int) -> None:
        self._size = size
        self._window = window
        self._items: dict[str, Item] = {}
        self._prefix = secrets.token_urlsafe(9)
        self._numbers = itertools.count()
        self.resent = 0

    def __len__(self) -> int:
        """How many are not acknowledged."""
        return len(self._items)

    def waiting(self) -> list[asyncio.Future[MessageId]]:
        """What comes of each of them."""
        return [item.done for item in self._items.values()]

    def add(self, envelope: Mapping[str, Any]) -> Item:
        """Take an envelope; raises `QueueFull`."""
        if len(self._items) >= self._size:
            raise QueueFull(f"{self._size} envelopes wait for the relay")
        item = Item(f"{self._prefix}-{next(self._numbers)}", _json.encode(envelope))
        self._items[item.key] = item
        return item

    def give_up(self, item: Item) -> NotAcknowledged:
        """Nobody waits for this one any more."""
        self._items.pop(item.key, None)
        return NotAcknowledged(possibly_sent=item.tried)

    def fail(self, error: Exception) -> None:
        """None of them will be sent."""
        items, self._items = self._items, {}
        for item in items.values():
            if not item.done.done():
                item.done.set_exception(error)
                # Whoever sent it may not be waiting for it.
                item.done.exception()

    def to_send(self) -> Iterator[bytes]:
        """The frames to send now; each counts as sent."""
        before = ""
        for item in list(itertools.islice(self._items.values(), self._window)):
            if not item.sent:
                self.resent += item.tried
                item.sent = item.tried = True
                yield _frame(item, before)
            before = item.key

    def rewind(self, key: str = "") -> None:
        """The one with this key, and all after it, are to be sent again; without a key, all."""
        found = not key
        for item in self._items.values():
            found = found or item.key == key
            if found:
                item.sent = False

    def acknowledged(self, key: str, message_id: MessageId) -> None:
        """The relay has it."""
        item = self._items.pop(key, None)
        if item is not None and not item.done.done():
            item.done.set_result(message_id)

    def refused(self, key: str, code: str, text: str) -> bool:
        """The relay did not take it; whether it is to be sent again, after a while."""
        if key not in self._items:
            return False
        if code in AGAIN:
            self.rewind(key)
            return True
        item = self._items.pop(key)
        if not item.done.done():
            item.done.set_exception(Rejected(code, text))
        return False


def _frame(item: Item, after: str) -> bytes:
    command = {"type": "publish", "key": item.key, "envelope": msgspec.Raw(item.envelope)}
    return _json.encode(command | {"after": after} if after else command)
