"""Room rules in Redis: a hash for each room that has some."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from relay.backend.redis.bus import RedisBus
from relay.backend.redis.keys import Keys
from relay.backend.redis.outboxes import RedisOutboxes
from relay.backend.redis.place import Redis
from relay.backend.redis.scripts import CLOSE, GOVERN, KICK, MOVE, milliseconds
from relay.backend.rules import KICK_MARK, Change, Kicking, StoredRules, read_rules, write_rules
from relay.backend.settings import RoomSettings
from relay.model.errors import Refused, Unavailable

_CONFIRMATION: Final = milliseconds(2.0)
"""Time after Redis came back in which an unconfirmed state is left alone (ms); see `RedisPresence`."""

_WAITS: Final = (0.1,) * 20
"""Seconds between calls that find such a state."""

_PAGE: Final = 100
"""Members that one script puts out of a room, and subjects that one command reads."""

_CLOSING: Final = milliseconds(5.0)
"""For how long nobody comes in after a page: as long as a worker waits for the next one (ms)."""


class RedisRoomRules:
    """The store and the controls: each step is one script, whose comments say what it does."""

    def __init__(
        self, client: Redis, keys: Keys, bus: RedisBus, settings: RoomSettings, outboxes: RedisOutboxes
    ) -> None:
        self._client = client
        self._keys = keys
        self._bus = bus
        self._outboxes = outboxes
        history = settings.history
        self._state_ttl, self._idle_ttl = milliseconds(settings.state_ttl), milliseconds(settings.idle_ttl)
        self._rules_ttl = milliseconds(settings.rules_ttl)
        self._history = f"{history.size} {milliseconds(history.ttl)}"
        self._last_history = f"{history.size} {milliseconds(history.last_ttl)}"

    async def read(self, room: str) -> StoredRules | None:
        """Call govern.lua."""
        return read_rules((await self._govern(room, "read")).decode())

    async def change(self, room: str, change: Change, *, by: str = "", create: bool = False) -> StoredRules:
        """Call govern.lua."""
        text = f"{change.set} a=1" if create else change.set
        reply = await self._confirmed(lambda: self._govern(room, "change", text, change.remove, by, create=create))
        if reply == [b"absent"]:
            raise Refused("no_such_room", room=room)
        return read_rules(reply.decode()) or StoredRules()

    def restore(self, room: str, rules: StoredRules) -> Awaitable[StoredRules]:
        """Call govern.lua; the command is sent when this returns."""
        return _stored(self._govern(room, "restore", write_rules(rules)))

    def keep(self, room: str, rules: StoredRules | None) -> None:
        """Subscribe to the Redis channel of workers that can restore the rules, or unsubscribe from it."""
        self._bus.guard(room, guarded=rules is not None, history=rules is None or rules.history)

    async def kick(self, kicking: Kicking) -> int:
        """Call kick.lua, for each peer of a subject."""
        peers = [kicking.peer] if kicking.peer else await self._of_subject(kicking.room, kicking.subject)
        kicked = 0
        # A subject that has no member is banned as well: by the peer id "", which nobody has.
        for peer in peers or [""]:
            kicked += await self._confirmed(lambda peer=peer: self._kick(kicking, peer))  # type: ignore[misc]
        return kicked

    async def close(self, room: str, *, reason: str = "") -> int:
        """Call close.lua, page by page."""
        out, left, first = 0, 1, True
        while left:
            count, left = await self._confirmed(lambda first=first: self._close(room, reason, first=first))  # type: ignore[misc]
            out, first = out + count, False
        return out

    async def move(self, room: str, to: str, peers: Sequence[str] | None) -> int:
        """Call move.lua."""
        return int(await self._confirmed(lambda: self._move(room, to, peers)))

    async def _of_subject(self, room: str, subject: str) -> list[str]:
        """The peers of a subject, read in pages."""
        key, cursor, found = self._keys.subjects(room), b"0", dict[str, None]()
        while True:
            cursor, flat = await self._client.call("HSCAN", key, cursor, "COUNT", _PAGE)
            pairs = zip(flat[::2], flat[1::2], strict=True)
            found |= {peer.decode(): None for peer, its in pairs if its.decode() == subject}
            if cursor == b"0":
                return list(found)

    async def _confirmed(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Return the reply of a script, called again while Redis has come back and no worker has confirmed the room."""
        for wait in _WAITS:
            reply = await call()
            if reply not in ([b"unconfirmed"], -1):
                return reply
            await asyncio.sleep(wait)
        raise Unavailable("Redis has come back, and no worker has confirmed the room's state yet")

    def _govern(
        self, room: str, operation: str, text: str = "", removed: str = "", by: str = "", *, create: bool = False
    ) -> asyncio.Future[Any]:
        return self._client.run(
            GOVERN,
            self._keys.of_room(room),
            operation,
            text,
            removed,
            by,
            int(create),
            self._keys.channel(room),
            self._state_ttl,
            self._rules_ttl,
            self._history,
            self._client.at_room(room).era,
            _CONFIRMATION,
            self._idle_ttl,
        )

    def _kick(self, kicking: Kicking, peer: str) -> asyncio.Future[Any]:
        keys, hook = self._outboxes.extend(kicking.room, self._keys_of_removal(kicking.room), "kicked")
        self._outboxes.register(kicking.room)
        kicked = self._client.run(
            KICK,
            keys,
            self._keys.channel(kicking.room),
            peer,
            json.dumps(kicking.reason),
            milliseconds(KICK_MARK),
            milliseconds(kicking.ban),
            kicking.subject,
            self._state_ttl,
            self._history,
            self._idle_ttl,
            self._last_history,
            self._rules_ttl,
            self._client.at_room(kicking.room).era,
            _CONFIRMATION,
            hook,
        )
        self._outboxes.watch(kicking.room, kicked)
        return kicked

    def _close(self, room: str, reason: str, *, first: bool) -> asyncio.Future[Any]:
        keys, hook = self._outboxes.extend(room, self._keys_of_removal(room), "closed")
        self._outboxes.register(room)
        closed = self._client.run(
            CLOSE,
            keys,
            self._keys.channel(room),
            int(first),
            json.dumps(reason),
            _CLOSING,
            _PAGE,
            self._state_ttl,
            self._history,
            self._idle_ttl,
            self._last_history,
            self._client.at_room(room).era,
            _CONFIRMATION,
            hook,
        )
        self._outboxes.watch(room, closed)
        return closed

    def _move(self, room: str, to: str, peers: Sequence[str] | None) -> asyncio.Future[Any]:
        return self._client.run(
            MOVE,
            self._keys.of_room(room),
            self._keys.channel(room),
            to,
            self._state_ttl,
            self._history,
            self._client.at_room(room).era,
            _CONFIRMATION,
            *(peers or ()),
        )

    def _keys_of_removal(self, room: str) -> tuple[str, ...]:
        keys = self._keys
        return (
            *keys.of_room(room),
            keys.places(room),
            keys.large(room),
            keys.watched(room),
            keys.subjects(room),
            keys.positions(room),
            keys.of_tree(room)[-1],
        )


async def _stored(reply: asyncio.Future[Any]) -> StoredRules:
    return read_rules((await reply).decode()) or StoredRules()
