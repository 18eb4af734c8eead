"""The command by which a message is published, written in Redis's protocol (RESP) by hand.

This is the hot path: packing a command argument by argument costs four times as much. The parts that
all commands of a room have in common are packed once.
"""

import sys
from collections.abc import Callable, Sequence

import msgspec

from relay.backend.headroom import Level
from relay.backend.redis.connection import pack
from relay.backend.redis.fence import Fenced
from relay.backend.redis.keys import Keys
from relay.backend.redis.scripts import PUBLISH, PUBLISH_TOGETHER, milliseconds, variant
from relay.backend.settings import RoomSettings
from relay.limits import Clock
from relay.model.commands import Identity
from relay.model.envelope import MembershipVersion, MessageId, splice
from relay.model.envelope_head import MAX_ADDRESSEES
from relay.model.publication import Publication

_COMMAND = b"*%d\r\n%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n%b"
"""A command in RESP: the number of its parts, then the parts; some have their length already."""

_TOGETHER = b"*%d\r\n%b$%d\r\n%d\r\n%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n$%d\r\n%b\r\n%b%b"
"""The same for several messages."""

_TEXT = b'%b %b\n%b \n%b,"from":"%b","id":"'
"""The published text, but for the id after the first space, and the one at the end."""

_SHARED_BYTES = 4096
"""Bytes of each message of a call with several: 64 KB in all, as in a call with one large message."""

_PARTS = 15
"""Parts of a command without addressees: EVALSHA, hash, number of keys, 4 keys, and 8 arguments."""

_RENEWALS = 4
"""Renewals of a history's TTL, at most, while it runs: most messages renew nothing. To make up for that, Redis gets a
TTL that is longer by one part in so many."""

_json = msgspec.json.Encoder()


def _packed_parts(*parts: str | int) -> bytes:
    """Return parts of a command in RESP."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(str(part)), str(part).encode("ascii")) for part in parts])


_NO_VERSION = _packed_parts(0, 0)
"""The argument for an unknown membership version: the script takes the slow path."""

_UNSTORED_KEYS = 100
"""Keys that a room remembers of messages of clients whose messages are not stored, apart from the other keys."""

_NO_KEYS = b"0 "
"""The last parts of argument 8 for a message without keys."""


class _Template:
    """The common parts of a room's publish commands, in RESP, and the time of the next renewal of its history's TTL.

    Most members of a room have the same membership version, so the last one is remembered together with its RESP.
    """

    __slots__ = ("head", "marks", "packed", "renew_at", "stored", "version")

    def __init__(self, head: bytes, *, stored: bool = True) -> None:
        self.head = head
        # Whether the room has a history.
        self.stored = stored
        self.renew_at = 0.0
        # The newest id that was seen at each of the last renewals, with its time.
        self.marks: list[tuple[float, MessageId]] = []
        self.version = MembershipVersion()
        self.packed = _packed_parts(*self.version)

    def outdated(self, now: float, ttl: float, seen: MessageId) -> MessageId | None:
        """Note the newest id that was seen by now; return one that was seen more than `ttl` ago, each once.

        All events up to that id are as old.
        """
        self.marks.append((now, seen))
        found = None
        while self.marks[0][0] <= now - ttl:
            found = self.marks.pop(0)[1]
        return found

    def packed_version(self, version: MembershipVersion) -> bytes:
        """Return a membership version in RESP."""
        if version != self.version:
            self.version, self.packed = version, _packed_parts(*version)
        return self.packed


class PublishCommands:
    """Writes publish commands; see publish_fast.lua for the arguments."""

    def __init__(
        self,
        keys: Keys,
        rooms: RoomSettings,
        clock: Clock,
        on_unstored: Callable[[], object] = lambda: None,
        *,
        clustered: bool = False,
        fenced: bool = False,
    ) -> None:
        self._fenced = int(fenced)
        self._sha, self._sha_together = (
            variant(script, clustered=clustered, fenced=fenced).sha.encode("ascii")
            for script in (PUBLISH, PUBLISH_TOGETHER)
        )
        self._keys = keys
        self._clock = clock
        self._on_unstored = on_unstored
        history = rooms.history
        history_ttl = milliseconds(history.ttl * (1 + 1 / _RENEWALS))
        # Constant parts of the arguments 6 to 8.
        self._limits = b"%d %d %d %d" % (
            milliseconds(rooms.state_ttl), history_ttl, history.repeat_keys, history.ttl * 1000
        )  # fmt: skip
        self._unstored_limits = b"%d %d %d %d" % (
            milliseconds(rooms.state_ttl), history_ttl, -min(history.repeat_keys, _UNSTORED_KEYS), history.ttl * 1000
        )  # fmt: skip
        self._unstored = _packed_parts(0, 0)
        self._history = _packed_parts(history.size, 0)
        self._history_renewed = _packed_parts(history.size, history_ttl)
        self._history_bytes = _packed_parts(history.size, history.bytes)
        self._size, self._bytes, self._ttl, self._history_ttl = history.size, history.bytes, history.ttl, history_ttl
        self._usual_large = self._large = history.large if history.size else sys.maxsize
        self._level = Level.AMPLE
        self._renewal = history.ttl / _RENEWALS
        self._templates: dict[str, _Template] = {}
        # Rooms that have no history by their rules.
        self._unrecorded: set[str] = set()

    def set_level(self, level: Level) -> None:
        """Store no large messages at LOW, and none at FULL, where all of them take the slow path."""
        self._level = level
        self._large = -1 if level is Level.FULL else self._usual_large

    def add(self, room: str) -> None:
        """Pack the common parts of the commands of this room, and keep them until it is removed."""
        self._templates[room] = self._template(room)

    def remove(self, room: str) -> None:
        """Forget a room."""
        self._templates.pop(room, None)

    def set_history(self, room: str, *, on: bool) -> None:
        """Store the messages of a room from now on, or none of them."""
        if on:
            self._unrecorded.discard(room)
        else:
            self._unrecorded.add(room)
        template = self._templates.get(room)
        if template is not None:
            template.stored = on

    def has_history(self, room: str) -> bool:
        """Whether a room has a history by its rules, as far as this worker knows them."""
        return room not in self._unrecorded

    def write(self, publication: Publication) -> bytes:
        """Return the command for a publication; where publications have a fence, it is a `Fenced` one."""
        command, seen, version = publication.command, publication.seen, publication.version
        # As `Publication.key`, without the call.
        to, key, identity = command.to, command.key, command.identity
        if identity is not None:
            key = identity.key
        text = _text(publication)
        # A server may publish to a room in which this worker has no members, and which was not added.
        template = self._templates.get(publication.room) or self._template(publication.room)
        size = len(text)
        large = size > self._large
        # The fast path knows no keys and no large messages, and compares ids of one epoch only.
        if key or command.after or large or seen.epoch != version.epoch:
            packed_version = _NO_VERSION
        else:
            packed_version = template.packed_version(version)
        seq = b"%d" % seen.seq
        keys = _packed_keys(key, command.after, identity) if key or command.after else _NO_KEYS
        stored = command.stored
        limits = self._limits if stored else self._unstored_limits
        rest = b"%d %d %b %b" % (publication.generation, seen.epoch, limits, keys)
        if publication.proof:
            # In front of the generation, 0. Such a publication has no membership version, and so takes the slow path.
            rest = b"=%b/%b" % (publication.proof.encode("ascii"), rest)
        parts, head = _PARTS + len(to) + self._fenced, template.head
        if not stored or not template.stored or (large and self._level):
            if template.stored:
                self._on_unstored()
            history = self._unstored
        else:
            history = self._history
            now = self._clock()
            if now >= template.renew_at:
                history = self._renewed(template, now, seen, large=large)
            elif large:
                history = self._history_bytes
            if large:
                parts, head = parts + 1, self._head(publication.room, large=True)
        written = _COMMAND % (
            parts, head, size, text, packed_version, len(seq), seq, history, len(rest), rest,
            _packed_parts(*to) if to else b"",
        )  # fmt: skip
        return Fenced(written) if self._fenced else written

    def write_together(self, publications: Sequence[Publication]) -> bytes:
        """Return the command for several publications that may share a call (see `shares`), in their order.

        Returns "" if one of them is too long for that, or if they have too many addressees.
        """
        # One loop, as each comprehension would cost as much as a tenth of a message.
        packed, generations, longest, peers = list[bytes](), b"", 0, list[str]()
        for one in publications:
            text, to = _text(one), one.command.to
            size = len(text)
            packed += (b"$%d\r\n" % size, text, b"\r\n")
            generations = b"%b%d " % (generations, one.generation)
            longest = max(longest, size)
            if to:
                peers += to
        if longest > self._large or longest > _SHARED_BYTES or len(peers) > MAX_ADDRESSEES:
            return b""
        # The worker has seen the last id by now, and so those of the others.
        last, number = publications[-1], len(publications)
        seen, stored = last.seen, last.command.stored
        template = self._templates.get(last.room) or self._template(last.room)
        history = self._history
        if not stored or not template.stored:
            history = self._unstored
            if template.stored:
                for _ in publications:
                    self._on_unstored()
        elif (now := self._clock()) >= template.renew_at:
            history = self._renewed(template, now, seen, large=False)
        seq, limits = b"%d" % seen.seq, self._limits if stored else self._unstored_limits
        rest = b"%d %b %b" % (seen.epoch, limits, _NO_KEYS)
        written = _TOGETHER % (
            _PARTS + 1 + number + len(peers) + self._fenced, template.head.replace(self._sha, self._sha_together, 1),
            1 if number < 10 else 2, number, template.packed_version(last.version), len(seq), seq, history,
            len(rest), rest, len(generations), generations, b"".join(packed), _packed_parts(*peers) if peers else b"",
        )  # fmt: skip
        return Fenced(written) if self._fenced else written

    def _template(self, room: str) -> _Template:
        return _Template(self._head(room), stored=room not in self._unrecorded)

    def _renewed(self, template: _Template, now: float, seen: MessageId, *, large: bool) -> bytes:
        """Return the arguments 6 and 7 of a message that renews the history's TTL, and drops older events."""
        template.renew_at = now + self._renewal
        outdated = template.outdated(now, self._ttl, seen)
        if outdated is None:
            return self._history_bytes if large else self._history_renewed
        limit = self._bytes if large else self._history_ttl
        return _packed_parts(self._size, f"{limit} {outdated.epoch}-{outdated.seq + 1}")

    def _head(self, room: str, *, large: bool = False) -> bytes:
        """Return the parts with which each command of a room begins: script, keys and Redis channel.

        Those about a `large` message have one more key.
        """
        keys = self._keys.of_room(room)[:4] + ((self._keys.large(room),) if large else ())
        # Packed as a command of its own, less the first line, which has the number of its parts.
        packed = pack("EVALSHA", self._sha, len(keys), *keys, self._keys.channel(room))
        return packed[packed.index(b"\n") + 1 :]


def shares(publication: Publication) -> bool:
    """Whether a publication may share a call with others of its room, if it is not too long.

    It can take the fast path: that knows no keys, and compares ids of one epoch only. Those of one call have the same
    membership version, and all of them are to be stored, or none.
    """
    command, version = publication.command, publication.version
    identity = command.identity
    return (
        version.number > 0
        and version.epoch == publication.seen.epoch
        and not (command.key if identity is None else identity.key)
        and not command.after
    )


def _text(publication: Publication) -> bytes:
    """Return the text that Redis publishes, but for the id after the first space, and the one at the end."""
    command, sender = publication.command, publication.sender.encode("ascii")
    to, envelope = ",".join(command.to).encode("ascii"), command.envelope
    # The space says that the nesting of the envelope was checked; see `decode`.
    if envelope.endswith(b'"}'):
        # As `splice`, and without a copy in between.
        return _TEXT % (sender, to, _json.encode(command.channel), envelope[:-1], sender)
    return b"%b %b\n%b \n%b" % (sender, to, _json.encode(command.channel), splice(envelope, publication.sender))


def _packed_keys(key: str, after: str, identity: Identity | None) -> bytes:
    """Return the last parts of argument 8: a message's own key, and the key of the message that it must come after."""
    encoded = key.encode()
    # A key is any text, so that only the length shows where the first one ends.
    since = b">%d-%d" % identity.after if identity is not None and identity.after else b""
    return b"%d%b %b%b" % (len(encoded), since, encoded, after.encode())
