"""The queue of the webhook's events in Redis: a stream of the fleet, and an outbox for each room."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeVar
from urllib.parse import unquote

from msgspec import structs

from relay.backend.redis import infos
from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.redis.scripts import HOOK_ADD, HOOK_TAKE, OUTBOX_DONE, milliseconds
from relay.backend.settings import WebhookQueueSettings
from relay.backend.webhooks import BATCH_BYTES, PartlyMoved, WebhookBatch
from relay.model.errors import RelayError, Unavailable
from relay.model.webhook_events import PresenceChange, WebhookEvent

log = logging.getLogger("relay.backend.redis")

_T = TypeVar("_T")

_PAGE: Final = 100
"""Events of one outbox that one move takes."""

_ADDED: Final = 200
"""Events that one call of hook_add.lua adds."""

_TTL: Final = milliseconds(7 * 86_400)
"""How long Redis keeps the queue while no worker of the fleet lives, or after the webhook was taken away (ms)."""

_KINDS: Final[Mapping[str, PresenceChange]] = {"o": "room_opened", "j": "joined", "l": "left", "c": "room_closed"}
"""The kinds of outbox.lua."""


class RedisWebhookQueue:
    """Moves events by plain reads and two scripts, and takes them by another one.

    `worker` is the name of this worker. `on_dropped` is called with the number of events that a move has dropped.
    """

    def __init__(
        self,
        client: Redis,
        keys: Keys,
        worker: str,
        settings: WebhookQueueSettings,
        on_dropped: Callable[[int], object],
    ) -> None:
        self._client = client
        self._keys = keys
        # Its own even if two workers have the same name.
        self._worker = f"{worker}/{random.getrandbits(48):012x}"
        self._most = settings.events
        self._claim = milliseconds(settings.claim)
        self._on_dropped = on_dropped

    async def move(self, rooms: Sequence[str]) -> Sequence[str]:
        """Read the outboxes, call hook_add.lua for all of them, and outbox_done.lua for each.

        In this order a worker that dies in between loses nothing: another one moves the same events again. A part of a
        cluster that fails does not keep the events of the other rooms.
        """
        read = await asyncio.gather(*map(self._read, rooms), return_exceptions=True)
        pages = dict(_whole(rooms, read))
        entries = ((room, entry) for room, page in pages.items() for entry in page)
        while added := list(islice(entries, _ADDED)):
            await self._add(added)
        added_of = {room: page for room, page in pages.items() if page}
        calls = [
            self._client.run(OUTBOX_DONE, (self._keys.outbox(room),), len(page), page[0], page[-1])
            for room, page in added_of.items()
        ]
        removed = dict(_whole(list(added_of), await asyncio.gather(*calls, return_exceptions=True)))
        failed = [room for room in rooms if room not in pages or (room in added_of and room not in removed)]
        more = [room for room in removed if len(pages[room]) == _PAGE]
        if failed:
            raise PartlyMoved([*failed, *more])
        return more

    async def take(self, most: int, *, done: WebhookBatch | None = None) -> WebhookBatch | None:
        """Call hook_take.lua."""
        reply = await self._take(self._claim, most, done or WebhookBatch())
        if not reply:
            return None
        dropped, notice, entries, queued = reply
        return WebhookBatch(
            events=list(_events(entries)),
            dropped=dropped,
            notice=notice.decode(),
            last=entries[-1][0].decode() if entries else "",
            queued=queued,
        )

    async def renew(self) -> None:
        """Call hook_take.lua, for no events."""
        await self._take(self._claim, 0, WebhookBatch())

    async def release(self) -> None:
        """Call hook_take.lua, for no events and the shortest time."""
        await self._take(1, 0, WebhookBatch())

    def _take(self, claim: int, most: int, done: WebhookBatch) -> asyncio.Future[Any]:
        return self._client.run(
            HOOK_TAKE, self._keys.webhook, self._worker, claim, most, BATCH_BYTES, done.last, done.notice, _TTL
        )

    async def _read(self, room: str) -> Sequence[bytes]:
        key = self._keys.outbox(room)
        if self._client.clustered and not self._client.at_room(room).reachable:
            # The events of other rooms must not wait until this command is given up.
            raise Unavailable()
        try:
            page: Sequence[bytes] = await self._client.call("LRANGE", key, 0, _PAGE - 1)
        except Unavailable as error:
            if "WRONGTYPE" not in error.report:
                raise
            # Of another program, as in outbox.lua.
            await self._client.call("UNLINK", key)
            return ()
        return page

    async def _add(self, entries: Sequence[tuple[str, bytes]]) -> None:
        dropped = sum(int(entry[2:]) for _, entry in entries if entry.startswith(b"d "))
        flat = [part for room, entry in entries if not entry.startswith(b"d ") for part in (room, entry)]
        queue, state, _ = self._keys.webhook
        _, dropped = await self._client.run(HOOK_ADD, (queue, state), self._most, _TTL, dropped, *flat)
        if dropped:
            self._on_dropped(dropped)


def _whole(rooms: Sequence[str], replies: Sequence[_T | BaseException]) -> Iterator[tuple[str, _T]]:
    """Yield the rooms that have not failed, with their replies; raise anything but an error of the backend."""
    for room, reply in zip(rooms, replies, strict=True):
        if not isinstance(reply, BaseException):
            yield room, reply
        elif not isinstance(reply, RelayError):
            raise reply


def _events(entries: Sequence[Any]) -> Iterator[WebhookEvent]:
    """Read the entries of the queue; one that no relay wrote is left out."""
    for _, fields in entries:
        try:
            _, room, _, entry = fields
            yield _read_event(room.decode(), entry.decode())
        except (ValueError, KeyError):
            log.error("an event in the queue of the webhook was not understood, and is left out: %r", fields[:4])


def _read_event(room: str, entry: str) -> WebhookEvent:
    """Read an entry of an outbox; outbox.lua has its form."""
    kind, position, time, peer, *more = entry.split(" ")
    event = WebhookEvent(type=_KINDS[kind], room=room, position=position, time=int(time), peer=peer)
    match kind, more:
        case "j", [mark, subject, info]:
            return structs.replace(
                event, info=infos.unpack(info.encode()), subject=unquote(subject), restored=mark == "+"
            )
        case "o", [mark]:
            return structs.replace(event, restored=mark == "+")
        case "l", [reason]:
            return structs.replace(event, reason=reason)
        case "c", [_]:
            return event
    raise ValueError(f"not an event of kind {kind}")
