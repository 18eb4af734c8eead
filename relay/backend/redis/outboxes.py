"""The outboxes of rooms in Redis: the scripts that add and remove members write the webhook's events into them."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from relay.backend.redis.keys import Keys
from relay.backend.redis.registration import RoomRegistrar
from relay.backend.webhooks import OUTBOX_EVENTS, Outboxes
from relay.model.errors import Unavailable


class RedisOutboxes:
    """Gives scripts the outbox of their room, and notes the rooms whose outbox may have events.

    `noted` is None if there is no webhook: then nothing is added and nothing noted. `ttl` is in ms.
    """

    def __init__(self, keys: Keys, registration: RoomRegistrar, noted: Outboxes | None, *, ttl: int) -> None:
        self._keys = keys
        self._registration = registration
        self._noted = noted
        self._ttl = ttl

    def extend(self, room: str, keys: Sequence[str], more: str = "") -> tuple[Sequence[str], str]:
        """Return the keys of a script with that of the room's outbox, and its argument for outbox.lua.

        `more` is the subject of the member that joins, or the reason why one leaves.
        """
        if self._noted is None:
            return keys, ""
        return (*keys, self._keys.outbox(room)), f"{OUTBOX_EVENTS} {self._ttl} {quote(more, safe='')}"

    def watch(self, room: str, done: asyncio.Future[Any], writes: Callable[[Any], bool] = lambda _: True) -> None:
        """Note the room once a script is done, and not before: its event may be missing until then.

        `writes` tells by the result whether the script may have written an event. One that failed may have, unless
        Redis did not take it: while Redis is away, no rooms are collected. No callback of the script's future may come
        ahead of this one: the worker must not give the room up before it is noted.
        """
        noted = self._noted
        if noted is None:
            return

        def note(done: asyncio.Future[Any]) -> None:
            error = None if done.cancelled() else done.exception()
            failed = done.cancelled() or error is not None
            if not isinstance(error, Unavailable) and (failed or writes(done.result())):
                noted.note([room])

        done.add_done_callback(note)

    def register(self, room: str) -> None:
        """Register a room in which this worker may have no members, ahead of a script that puts members out.

        If the worker dies before it has moved the events, the one that takes its rooms over does so.
        """
        if self._noted is not None:
            self._registration.register([room])

    def take_over(self, rooms: Sequence[str]) -> None:
        """Note rooms of a dead worker, which writes no further events."""
        if self._noted is not None:
            self._noted.note(rooms)
