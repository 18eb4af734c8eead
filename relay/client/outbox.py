"""The envelopes that a client sends, until the relay has acknowledged them. No I/O.

Every envelope has a key. A client may send an envelope again, over the same connection or another; the relay delivers
each key once. Several envelopes are sent ahead of their acknowledgements. Three rules keep them in order:

1. Unacknowledged envelopes are sent in the order of the calls. Each names the one before it (`after`) while that one is
   unacknowledged; the relay refuses it (`out_of_order`) if the one before it is missing.
2. After an error that a retry may overcome, the envelope and all that follow it are sent again, in order. After a
   reconnect, all are. The relay knows by their keys which it delivered, and acknowledges those again.
3. An envelope that was refused for good, or given up, is no longer named. If one that names it was sent already, the
   relay refuses that one, and by rule 2 it is sent again without the name.
"""

import asyncio
import itertools
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from relay.client.errors import NotAcknowledged, QueueFull, Rejected
from relay.model.envelope import MessageId
from relay.model.envelope_head import MAX_KEY
from relay.model.errors import ERRORS, BadFrame
from relay.model.json_text import check_nesting, too_deep

_json = msgspec.json.Encoder()

SEND_AGAIN = frozenset(
    {"unavailable", "outcome_unknown", "too_fast", "out_of_order", "not_joined", "replaced", "internal"}
)
"""Error codes after which an envelope is sent again."""

_RESERVED = frozenset({"from", "id", "room", "type"})


@dataclass(slots=True, eq=False)
class OutboxItem:
    """One envelope; `sent` over the present connection, `tried` over any."""

    key: str
    envelope: bytes
    done: asyncio.Future[MessageId] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    sent: bool = False
    tried: bool = False


class Outbox:
    """A bounded queue, of which the first `window` envelopes are sent ahead of their acknowledgements."""

    def __init__(self, *, size: int, window: int) -> None:
        self._size = size
        self._window = window
        # By key, in the order of the calls: a dict keeps the order in which keys were added.
        self._items: dict[str, OutboxItem] = {}
        self._turn = asyncio.Lock()
        self._space = asyncio.Event()
        self._prefix = secrets.token_urlsafe(9)
        self._numbers = itertools.count()
        self.resent = 0

    def __len__(self) -> int:
        """Return the number of unacknowledged envelopes."""
        return len(self._items)

    def pending(self) -> list[asyncio.Future[MessageId]]:
        """Return the futures of all unacknowledged envelopes."""
        return [item.done for item in self._items.values()]

    def add(self, envelope: Mapping[str, Any]) -> OutboxItem:
        """Add an envelope; raise `QueueFull`, or `Rejected` if the relay would refuse it or misread it."""
        if len(self._items) >= self._size:
            raise QueueFull(f"{self._size} envelopes wait for acknowledgement already")
        item = OutboxItem(self._key_of(envelope), _encode(envelope))
        self._items[item.key] = item
        return item

    async def wait_for_space(self) -> None:
        """Wait until one more envelope fits; callers are served in the order of their calls."""
        async with self._turn:
            while len(self._items) >= self._size:
                self._space.clear()
                await self._space.wait()

    def give_up(self, item: OutboxItem) -> NotAcknowledged:
        """Remove an envelope whose caller no longer waits; return the error for that caller."""
        self._pop(item.key)
        return NotAcknowledged(possibly_sent=item.tried)

    def fail(self, error: Exception) -> None:
        """Remove all envelopes and fail their futures."""
        items, self._items = self._items, {}
        self._space.set()
        for item in items.values():
            _fail(item, error)

    def to_send(self) -> Iterator[bytes]:
        """Yield the frames to send now, and mark each as sent.

        The outbox may change between two frames; the next frame follows from its state then.
        """
        while (frame := self._next_frame()) is not None:
            yield frame

    def _next_frame(self) -> bytes | None:
        after = ""
        for item in itertools.islice(self._items.values(), self._window):
            if not item.sent:
                self.resent += item.tried
                item.sent = item.tried = True
                return _publish_frame(item, after)
            after = item.key
        return None

    def rewind(self, key: str = "") -> None:
        """Mark the envelope with this key and all after it as not sent; without a key, all."""
        found = not key
        for item in self._items.values():
            found = found or item.key == key
            if found:
                item.sent = False

    def acknowledged(self, key: str, message_id: MessageId) -> None:
        """Handle an acknowledgement: remove the envelope and resolve its future."""
        item = self._pop(key)
        if item is not None and not item.done.done():
            item.done.set_result(message_id)

    def refused(self, key: str, code: str, text: str) -> bool:
        """Handle an error about an envelope; return whether to pause before sending more.

        Of all envelopes that were on their way together, only the first error pauses. `out_of_order` for the oldest
        envelope does not: it named one that is gone, and can be sent again at once.
        """
        item = self._items.get(key)
        if item is None:
            return False
        if code in SEND_AGAIN:
            first_error = item.sent
            self.rewind(key)
            return first_error and not (code == "out_of_order" and item is next(iter(self._items.values())))
        self._pop(key)
        _fail(item, Rejected(code, text))
        return False

    def _pop(self, key: str) -> OutboxItem | None:
        self._space.set()
        return self._items.pop(key, None)

    def _key_of(self, envelope: Mapping[str, Any]) -> str:
        """Return the envelope's own key, with which a program can repeat a message after a restart; else a new key."""
        if _RESERVED & envelope.keys():
            raise Rejected("reserved_field", ERRORS["reserved_field"][1])
        key = envelope.get("key")
        if not key:
            return f"{self._prefix}-{next(self._numbers)}"
        if not isinstance(key, str) or len(key) > MAX_KEY:
            raise Rejected("bad_envelope", f"a key is text of at most {MAX_KEY} characters")
        if key in self._items:
            raise Rejected("bad_envelope", "an envelope with this key is still unacknowledged")
        return key


def _encode(envelope: Mapping[str, Any]) -> bytes:
    # The relay's error about a frame that nests too deep could not name the envelope's key: its sender would wait.
    try:
        text = _json.encode(envelope)
        check_nesting(text)
    except BadFrame as error:
        raise Rejected(error.code, error.text) from None
    except RecursionError:
        raise Rejected("bad_json", too_deep().text) from None
    return text


def _publish_frame(item: OutboxItem, after: str) -> bytes:
    command = {"type": "publish", "key": item.key, "envelope": msgspec.Raw(item.envelope)}
    return _json.encode(command | {"after": after} if after else command)


def _fail(item: OutboxItem, error: Exception) -> None:
    if not item.done.done():
        item.done.set_exception(error)
        # Perhaps no caller waits for this future; reading the exception keeps asyncio from logging that it was ignored.
        item.done.exception()
