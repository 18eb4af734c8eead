"""What this client has to say, until the relay has acknowledged it. No I/O.

Every envelope has a key, under which it may be sent again, over the same connection or another, and is delivered once.
Several are on their way at a time. The rule by which none overtakes another:

1. What is not acknowledged is sent in the order of the calls, and each names the one before it (`after`) as long as
   that one waits too: the relay refuses it (`out_of_order`) should that one be missing.
2. When one fails that may be tried again, it and all that follow are sent again, in order. So are all of them over a
   new connection. Those that did arrive are known by their keys, and acknowledged again.
3. What was refused for good, or given up, is named no more; what named it is refused, and by 2 sent again without.
"""

import asyncio
import itertools
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from relay.client.errors import NotAcknowledged, QueueFull, Rejected
from relay.model.envelope import MAX_KEY, MessageId
from relay.model.errors import ERRORS

_json = msgspec.json.Encoder()

AGAIN = frozenset({"unavailable", "outcome_unknown", "too_fast", "out_of_order", "not_joined", "replaced", "internal"})
"""Errors after which an envelope is sent again."""

_RESERVED = frozenset({"from", "id", "room", "type"})


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
        self._turn = asyncio.Lock()
        self._space = asyncio.Event()
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
        """Take an envelope; raises `QueueFull`, or `Rejected` for what the relay would take for something else."""
        if len(self._items) >= self._size:
            raise QueueFull(f"{self._size} envelopes wait for the relay")
        item = Item(self._key_of(envelope), _json.encode(envelope))
        self._items[item.key] = item
        return item

    async def space(self) -> None:
        """Wait until there is space for one more; those who wait take turns."""
        async with self._turn:
            while len(self._items) >= self._size:
                self._space.clear()
                await self._space.wait()

    def give_up(self, item: Item) -> NotAcknowledged:
        """Nobody waits for this one any more, and it is not sent again; others may be sent in its place."""
        self._pop(item.key)
        return NotAcknowledged(possibly_sent=item.tried)

    def fail(self, error: Exception) -> None:
        """None of them will be sent."""
        items, self._items = self._items, {}
        self._space.set()
        for item in items.values():
            if not item.done.done():
                item.done.set_exception(error)
                # Whoever sent it may not be waiting for it.
                item.done.exception()

    def to_send(self) -> Iterator[bytes]:
        """The frames to send now; each counts as sent. What changes meanwhile is heeded."""
        while (frame := self._next_frame()) is not None:
            yield frame

    def _next_frame(self) -> bytes | None:
        before = ""
        for item in itertools.islice(self._items.values(), self._window):
            if not item.sent:
                self.resent += item.tried
                item.sent = item.tried = True
                return _frame(item, before)
            before = item.key
        return None

    def rewind(self, key: str = "") -> None:
        """The one with this key, and all after it, are to be sent again; without a key, all."""
        found = not key
        for item in self._items.values():
            found = found or item.key == key
            if found:
                item.sent = False

    def acknowledged(self, key: str, message_id: MessageId) -> None:
        """The relay has it."""
        item = self._pop(key)
        if item is not None and not item.done.done():
            item.done.set_result(message_id)

    def refused(self, key: str, code: str, text: str) -> bool:
        """The relay did not take it; whether to wait a while before anything more is sent.

        Once is enough for all that were on their way together; and what named one that is gone need not wait at all.
        """
        item = self._items.get(key)
        if item is None:
            return False
        if code in AGAIN:
            news = item.sent
            self.rewind(key)
            return news and not (code == "out_of_order" and item is next(iter(self._items.values())))
        self._pop(key)
        if not item.done.done():
            item.done.set_exception(Rejected(code, text))
            # Whoever sent it may not be waiting for it.
            item.done.exception()
        return False

    def _pop(self, key: str) -> Item | None:
        self._space.set()
        return self._items.pop(key, None)

    def _key_of(self, envelope: Mapping[str, Any]) -> str:
        """The envelope's own key, for those who know what they sent in an earlier life; else one of this client's."""
        if _RESERVED & envelope.keys():
            raise Rejected("reserved_field", ERRORS["reserved_field"][1])
        key = envelope.get("key")
        if not key:
            return f"{self._prefix}-{next(self._numbers)}"
        if not isinstance(key, str) or len(key) > MAX_KEY:
            raise Rejected("bad_envelope", f"a key is text of at most {MAX_KEY} characters")
        if key in self._items:
            raise Rejected("bad_envelope", "an envelope with this key waits for the relay already")
        return key


def _frame(item: Item, after: str) -> bytes:
    command = {"type": "publish", "key": item.key, "envelope": msgspec.Raw(item.envelope)}
    return _json.encode(command | {"after": after} if after else command)
