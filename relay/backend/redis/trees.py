"""The trees of rooms in Redis: a hash of leaves for each room, with two sorted sets of their paths."""

from collections.abc import Awaitable, Sequence
from typing import Any

from relay.backend.headroom import Level
from relay.backend.redis.keys import Keys
from relay.backend.redis.place import Redis
from relay.backend.redis.scripts import TREE_FINISH, TREE_PREPARE, TREE_READ, TREE_WRITE, milliseconds
from relay.backend.settings import RoomSettings
from relay.backend.trees import Ended, Writer, WriteReceipt
from relay.model.envelope import MembershipVersion, MessageId, read_id
from relay.model.errors import NotMember, Refused, Replaced
from relay.model.tree import MAX_BYTES, MAX_LEAVES
from relay.model.tree_changes import Expected, Prepared, TreeChange, TreePart, netstrings


class RedisTrees:
    """Calls one script for each call. Changes that are as large as a large message are not kept in the history."""

    def __init__(self, client: Redis, keys: Keys, rooms: RoomSettings) -> None:
        self._client = client
        self._keys = keys
        self._large = rooms.history.large
        self._state_ttl = milliseconds(rooms.state_ttl)
        self._history = f"{rooms.history.size} {milliseconds(rooms.history.ttl)}"

    async def read(self, room: str, path: str, *, ttl: float) -> TreePart:
        """Call tree_read.lua."""
        reply = await self._client.run(TREE_READ, self._keys.of_tree(room), path, milliseconds(ttl))
        newest, version, members, flat = reply
        return TreePart(_leaves(flat), read_id(newest), read_id(version), members)

    async def write(
        self,
        room: str,
        writer: Writer,
        change: TreeChange,
        *,
        ttl: float,
        expected: Expected | None = None,
        reads: str | None = None,
    ) -> WriteReceipt:
        """Call tree_write.lua."""
        level = self._client.headroom.level_of(room)
        if change.grows and (level is Level.FULL or (level is Level.LOW and change.size > self._large)):
            raise Refused("memory_low")
        reply = await self._client.run(
            TREE_WRITE,
            self._keys.of_tree(room),
            self._keys.channel(room),
            writer.peer,
            writer.generation,
            writer.seen.epoch,
            writer.seen.seq,
            self._state_ttl,
            self._history_of(room, change.size),
            _limits(ttl),
            change.packed(writer.peer),
            "" if reads is None else f"/{reads}",
            *(() if expected is None else (expected.path, expected.contents)),
        )
        return self._outcome(reply)

    async def prepare(self, room: str, writer: Writer, prepared: Prepared, *, ttl: float) -> bool:
        """Call tree_prepare.lua."""
        if prepared.changes and self._client.headroom.level_of(room) is Level.FULL:
            raise Refused("memory_low")
        reply = await self._client.run(
            TREE_PREPARE,
            self._keys.of_tree(room),
            writer.peer,
            writer.generation,
            prepared.until,
            _packed(prepared, writer.peer),
            milliseconds(ttl),
        )
        return bool(reply)

    def finish(self, room: str, ended: Sequence[Ended], *, seen: MessageId, ttl: float) -> Awaitable[int]:
        """Call tree_finish.lua."""
        arguments: list[str | int | bytes] = []
        for one in ended:
            prepared = one.prepared
            until = "" if prepared is None else str(prepared.until)
            changes = b"" if prepared is None else _packed(prepared, one.peer)
            arguments += [one.peer, one.generation, "1" if one.left else "", until, changes]
        return self._client.run(
            TREE_FINISH,
            self._keys.of_tree(room),
            self._keys.channel(room),
            seen.epoch,
            seen.seq,
            self._state_ttl,
            self._history_of(room, 0),
            _limits(ttl),
            *arguments,
        )

    def _history_of(self, room: str, size: int) -> str:
        stored = size <= self._large and self._client.headroom.level_of(room) is not Level.FULL
        return self._history if stored else "0 0"

    def _outcome(self, reply: Any) -> WriteReceipt:
        match reply:
            case [b"sent", bytes() as text, bytes() as version, *read]:
                written = read_id(text)
                part = TreePart(_leaves(read[1]), written, written, read[0]) if read else None
                return WriteReceipt(text, version=MembershipVersion(int(version), written.epoch), part=part)
            case [b"stale"]:
                raise Refused("stale_value")
            case [b"full"]:
                raise Refused("tree_full")
            case [b"unknown"]:
                raise NotMember()
            case [b"replaced"]:
                raise Replaced()
            case _:
                raise self._client.script_error(reply)


def _leaves(flat: Sequence[bytes]) -> list[tuple[str, bytes]]:
    return [(leaf.decode(), value) for leaf, value in zip(flat[::2], flat[1::2], strict=True)]


def _limits(ttl: float) -> str:
    return f"{MAX_BYTES} {MAX_LEAVES} {milliseconds(ttl)} {milliseconds(ttl)}"


def _packed(prepared: Prepared, peer: str) -> bytes:
    return netstrings([change.packed(peer) for change in prepared.changes])
