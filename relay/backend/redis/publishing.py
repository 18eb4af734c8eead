"""The commands by which messages are published, written in Redis's protocol (RESP) by hand.

This is the hot path: packing a command argument by argument costs four times as much. The parts that
all commands of a room have in common are packed once.
"""

import sys
from collections.abc import Callable
from typing import Final

import msgspec

from relay.backend.headroom import Level
from relay.backend.redis.expected_ids import CAREFUL
from relay.backend.redis.fence import Fenced
from relay.backend.redis.keys import Keys
from relay.backend.redis.scripts import PUBLISH, PUBLISH_TOGETHER, milliseconds, variant
from relay.backend.redis.shared_calls import (
    ALONE,
    STORED,
    UNSTORED,
    WITHOUT_HISTORY,
    RoomMessages,
    RoomTemplate,
    SharedCall,
)
from relay.backend.settings import RoomSettings
from relay.limits import Clock
from relay.model.commands import Identity
from relay.model.envelope import MessageId, splice
from relay.model.publication import Publication

_PARTS: Final = 13
"""Parts of a command with one message without addressees: EVALSHA, hash, number of keys, 4 keys, and 6 arguments."""

_PARTS_TOGETHER: Final = 7
"""Parts of a command with several rooms, but for those of each: EVALSHA, hash, number of keys, and 4 arguments."""

_PARTS_OF_ROOM: Final = 9
"""Parts of each room in such a command, but for its texts and addressees: 4 keys, and 5 arguments."""

_RENEWALS: Final = 4
"""Renewals of a history's TTL, at most, while it runs: most messages renew nothing. To make up for that, Redis gets a
TTL that is longer by one part in so many."""

_json: Final = msgspec.json.Encoder()


def _packed_parts(*parts: str | int) -> bytes:
    """Return parts of a command in RESP."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(str(part)), str(part).encode("ascii")) for part in parts])


_COUNTS: Final = [_packed_parts(number) for number in range(17)]
"""The numbers of messages of a room, without addressees."""

_KNOWN_LENGTHS: Final = 1024

_LENGTHS: Final = [b"$%d\r\n" % size for size in range(_KNOWN_LENGTHS)]
"""The beginnings of parts of usual lengths."""

_NEXT_LENGTHS: Final = [b"\r\n" + length for length in _LENGTHS]
"""The same, behind the end of another part."""

_NEXT_TEXTS: Final = [length + b"m " for length in _NEXT_LENGTHS]
"""The same, for texts with their ids: up to the id."""

_NO_RENEWAL: Final = b" 0 - "
"""The part of a room's arguments that says that its history's TTL is not renewed."""

_ONE: Final = _COUNTS[1]
"""The number of messages of most rooms."""

_UNSTORED_KEYS: Final = 100
"""Keys that a room remembers of messages of clients whose messages are not stored, apart from the other keys."""

_NO_KEYS: Final = b"0 "
"""The last parts of argument 6 for a message without keys."""


class PublishCommands:
    """Writes publish commands; see publish_slow.lua and publish_together_fast.lua for the arguments."""

    def __init__(
        self,
        keys: Keys,
        rooms: RoomSettings,
        clock: Clock,
        on_unstored: Callable[[], object] = lambda: None,
        level_of: Callable[[str], Level] | None = None,
        *,
        clustered: bool = False,
        fenced: bool = False,
    ) -> None:
        self._fenced = int(fenced)
        self._sha, self._sha_together = (
            variant(script, clustered=clustered, fenced=fenced).sha for script in (PUBLISH, PUBLISH_TOGETHER)
        )
        self._together = _packed_parts("EVALSHA", self._sha_together)
        self._keys = keys
        self._clock = clock
        self._on_unstored = on_unstored
        history = rooms.history
        history_ttl = milliseconds(history.ttl * (1 + 1 / _RENEWALS))
        # Constant parts of the arguments.
        self._limits = b"%d %d %d %d" % (
            milliseconds(rooms.state_ttl), history_ttl, history.repeat_keys, history.ttl * 1000
        )  # fmt: skip
        self._unstored_limits = b"%d %d %d %d" % (
            milliseconds(rooms.state_ttl), history_ttl, -min(history.repeat_keys, _UNSTORED_KEYS), history.ttl * 1000
        )  # fmt: skip
        self._unstored = _packed_parts(0, 0)
        # Of a shared call of each kind.
        common = {
            STORED: (history.size, self._limits),
            WITHOUT_HISTORY: (0, self._limits),
            UNSTORED: (0, self._unstored_limits),
        }
        self._common = {
            kind: _packed_parts(size, f"{limits.decode('ascii')} {_NO_KEYS.decode('ascii')}")
            for kind, (size, limits) in common.items()
        }
        self._history = _packed_parts(history.size, 0)
        self._history_bytes = _packed_parts(history.size, history.bytes)
        self._size, self._bytes, self._ttl, self._history_ttl = history.size, history.bytes, history.ttl, history_ttl
        self._usual_large = self._large = history.large if history.size else sys.maxsize
        self._level = Level.AMPLE
        self._find_level = level_of
        self._renewal = history.ttl / _RENEWALS
        # The rooms that were added. Most rooms are idle, and a template takes a kilobyte: the first message makes it.
        self._templates: dict[str, RoomTemplate | None] = {}
        # Rooms that have no history by their rules.
        self._unrecorded: set[str] = set()

    def set_level(self, level: Level) -> None:
        """Store no large messages at LOW, and none at FULL, where all of them take the slow path.

        It is the highest level of all rooms. Only while it is not AMPLE, each message asks for that of its room.
        """
        self._level = level
        self._large = -1 if level is Level.FULL else self._usual_large

    def _level_of(self, room: str) -> Level:
        return self._level if self._find_level is None else self._find_level(room)

    def add(self, room: str) -> None:
        """Keep the common parts of the commands of this room from its first message on, until it is removed."""
        self._templates[room] = None

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

    def template(self, room: str) -> RoomTemplate:
        """Return the common parts of a room's commands."""
        template = self._templates.get(room)
        if template is None:
            template = self._template(room)
            # A server may publish to a room in which this worker has no members, and which was not added.
            if room in self._templates:
                self._templates[room] = template
        return template

    def kind(self, publication: Publication, size: int, template: RoomTemplate) -> int:
        """Return the kind of the call that a publication with a text of this size goes into."""
        command, version = publication.command, publication.version
        identity = command.identity
        if (
            version.number <= 0
            # The fast path compares ids of one epoch only, and knows no keys and no large messages.
            or version.epoch != publication.seen.epoch
            or (command.key if identity is None else identity.key)
            or command.after
            or (size > self._large and (size > self._usual_large or self._level_of(publication.room) is Level.FULL))
        ):
            return ALONE
        if not command.stored:
            return UNSTORED
        return STORED if template.stored else WITHOUT_HISTORY

    def write(self, publication: Publication) -> bytes:
        """Return the command for a publication alone; where publications have a fence, it is a `Fenced` one."""
        command, seen = publication.command, publication.seen
        to, key, text = command.to, publication.key, text_of(publication)
        template, size = self.template(publication.room), len(text)
        large, is_short = size > self._large, False
        if large and self._level:
            level = self._level_of(publication.room)
            large = level is Level.FULL or size > self._usual_large
            is_short = large and level > Level.AMPLE
        keys = _packed_keys(key, command.after, command.identity) if key or command.after else _NO_KEYS
        stored = command.stored
        limits = self._limits if stored else self._unstored_limits
        rest = b"%d %d %b %b" % (publication.generation, seen.epoch, limits, keys)
        if publication.proof:
            # In front of the generation, 0. Such a publication has no membership version, and so takes the slow path.
            rest = b"=%b/%b" % (publication.proof.encode("ascii"), rest)
        parts, head = _PARTS + len(to) + self._fenced, template.alone
        if not stored or not template.stored or is_short:
            if template.stored:
                self._on_unstored()
            history = self._unstored
        else:
            history = self._history_bytes if large else self._history
            if (now := self._clock()) >= template.renew_at:
                limit = self._bytes if large else self._history_ttl
                history = _packed_parts(self._size, f"{limit} {self._renewed(template, now, seen)}".rstrip())
            if large:
                parts, head = parts + 1, self._alone(publication.room, large=True)
        seq = b"%d" % seen.seq
        # A literal, not a constant: only its formatting is compiled.
        written = b"*%d\r\n%b$%d\r\n%b\r\n$%d\r\n%b\r\n%b$%d\r\n%b\r\n%b" % (
            parts, head, size, text, len(seq), seq, history, len(rest), rest, _packed_parts(*to) if to else b"",
        )  # fmt: skip
        return Fenced(written) if self._fenced else written

    def write_together(self, call: SharedCall) -> bytes:
        """Return the command for a call with messages of the fast path; the texts of the messages are given up.

        Returns "" if each message has to be written alone: Redis's memory has become full since the call began, or the
        room has no history any more.
        """
        kind, rooms = call.kind, call.rooms
        if self._level is Level.FULL and any(self._level_of(one.entries[0][0].room) is Level.FULL for one in rooms):
            return b""
        now = self._clock() if kind == STORED else 0.0
        keys: list[bytes] = []
        # First the beginning of the command, which is known last.
        arguments: list[bytes] = [b""]
        renews = False
        number = len(rooms)
        parts = _PARTS_TOGETHER + self._fenced + _PARTS_OF_ROOM * number
        for one in rooms:
            template, renewal = one.template, _NO_RENEWAL
            if kind == STORED and not template.stored:
                return b""
            # Also in a command that is written again: the first one, which may have had the renewal, did nothing.
            if kind == STORED and (now >= template.renew_at or one.mark):
                first = self._renewed(template, now, one.entries[-1][0].seen)
                renewal, renews = b" %d %b " % (self._history_ttl, first.encode("ascii") or b"-"), True
            elif kind == UNSTORED and template.stored and not one.mark:
                for _ in one.entries:
                    self._on_unstored()
            keys.append(template.keys)
            if (messages := len(one.entries)) == 1:
                parts += 1 + _write_one(one, renewal, arguments)
            else:
                parts += messages + _write_several(one, renewal, arguments)
        arguments[0] = b"*%d\r\n%b$%d\r\n%d\r\n%b$%d\r\n%d\r\n%b$1\r\n%d\r\n" % (
            parts, self._together, 1 if number < 3 else 2, 4 * number, b"".join(keys),
            1 if number < 10 else 2, number, self._common[kind], 1 if renews else 0,
        )  # fmt: skip
        written = b"".join(arguments)
        return Fenced(written) if self._fenced else written

    def _template(self, room: str) -> RoomTemplate:
        return RoomTemplate(
            _packed_parts(*self._keys.of_room(room)[:4]),
            _packed_parts(self._keys.channel(room)),
            self._alone(room),
            stored=room not in self._unrecorded,
        )

    def _renewed(self, template: RoomTemplate, now: float, seen: MessageId) -> str:
        """Note that the history's TTL is renewed; return the first id that it is to keep, "" for all of its ids."""
        template.renew_at = now + self._renewal
        outdated = template.outdated(now, self._ttl, seen)
        return "" if outdated is None else f"{outdated.epoch}-{outdated.seq + 1}"

    def _alone(self, room: str, *, large: bool = False) -> bytes:
        """Return the parts with which each command for one message begins: script, keys and Redis channel.

        Those about a `large` message have one more key.
        """
        keys = self._keys.of_room(room)[:4] + ((self._keys.large(room),) if large else ())
        return _packed_parts("EVALSHA", self._sha, len(keys), *keys, self._keys.channel(room))


def _foretell(one: RoomMessages, seen: MessageId, number: int) -> bool:
    """Take ids for the messages of a room, unless that was done; returns whether they go into the texts."""
    if one.mark:
        return bool(one.ids)
    expected = one.template.expected
    one.newest, one.mark = expected.take(seen, number)
    # Ids begin at 1: a counter that begins with these messages is not the room's own.
    return expected.right >= CAREFUL and one.newest > number


def _write_one(one: RoomMessages, renewal: bytes, arguments: list[bytes]) -> int:
    """As `_write_several`, for a room with one message, as most rooms of a call have."""
    publication, template = one.entries[0][0], one.template
    seen, generations, generation = publication.seen, template.generations, publication.generation
    if one.version != template.version:
        template.use(one.version)
    if publication.command.to or not _foretell(one, seen, 1):
        return _write_several(one, renewal, arguments)
    texts, one.texts = one.texts, []
    text = texts[0] if texts else text_of(publication)
    prefix, told = template.id_prefix, b"%d" % one.newest
    its_id = prefix + told
    one.ids = [its_id]
    rest = b"%d" % seen.seq + renewal + (generations.get(generation) or template.generation(generation))
    size = len(text) + 2 * len(its_id) + 4
    # Few pieces: each costs as much as a hundred bytes.
    arguments += (
        template.claim, _ONE, _LENGTHS[len(told)], told, _NEXT_LENGTHS[len(prefix) + len(rest)], prefix, rest,
        _NEXT_TEXTS[size] if size < _KNOWN_LENGTHS else b"\r\n$%d\r\nm " % size, its_id, b" ", text, its_id, b'"\r\n',
    )  # fmt: skip
    return 0


def _write_several(one: RoomMessages, renewal: bytes, arguments: list[bytes]) -> int:
    """Add the arguments of a room to those of its call; returns the number of addressees."""
    template, entries = one.template, one.entries
    number = len(entries)
    # The worker has seen the last id by now, and so those of the others.
    seen = entries[-1][0].seen
    template.use(one.version)
    foretold = _foretell(one, seen, number)
    texts = one.texts or [text_of(entry[0]) for entry in entries]
    # Anew, if the command is written again.
    ids: list[bytes] = []
    one.texts, one.ids = [], ids
    told, peers = b"0", b""
    prefix, generations = template.id_prefix, template.generations
    rest = [prefix, b"%d" % seen.seq, renewal]
    # In pieces: the texts are copied once more, when the whole call is put together.
    pieces: list[bytes] = []
    seq, addressees = one.newest - number, 0
    # Not `strict`: the compiled build makes a generic call of that.
    for entry, text in zip(entries, texts):  # noqa: B905
        publication = entry[0]
        rest.append(generations.get(publication.generation) or template.generation(publication.generation))
        if to := publication.command.to:
            peers += _packed_parts(*to)
            addressees += len(to)
        if foretold:
            seq += 1
            told = b"%d" % seq
            its_id = prefix + told
            ids.append(its_id)
            size = len(text) + 2 * len(its_id) + 4
            length = _LENGTHS[size] if size < _KNOWN_LENGTHS else b"$%d\r\n" % size
            pieces += (length, b"m ", its_id, b" ", text, its_id, b'"\r\n')
        else:
            pieces += (b"$%d\r\n" % len(text), text, b"\r\n")
    counts = _packed_parts(f"{number} {addressees}") if addressees else _COUNTS[number]
    claim = b"".join(rest)
    arguments += (template.claim, counts, _LENGTHS[len(told)], told, b"\r\n", b"$%d\r\n" % len(claim), claim, b"\r\n")
    arguments += pieces
    arguments.append(peers)
    return addressees


def text_of(publication: Publication) -> bytes:
    """Return the text that Redis publishes, but for the id after the first space, and the one at the end."""
    command, sender = publication.command, publication.sender.encode("ascii")
    to, envelope = ",".join(command.to).encode("ascii") if command.to else b"", command.envelope
    # The space says that the nesting of the envelope was checked; see `decode`.
    if envelope.endswith(b'"}'):
        # As `splice`, and without a copy in between.
        # Joining is faster than formatting, which lets its result grow.
        channel = _json.encode(command.channel)
        return b"".join((sender, b" ", to, b"\n", channel, b" \n", envelope[:-1], b',"from":"', sender, b'","id":"'))
    return b"%b %b\n%b \n%b" % (sender, to, _json.encode(command.channel), splice(envelope, publication.sender))


def _packed_keys(key: str, after: str, identity: Identity | None) -> bytes:
    """Return the last parts of argument 6: a message's own key, and the key of the message that it must come after."""
    encoded = key.encode()
    # A key is any text, so that only the length shows where the first one ends.
    since = b">%d-%d" % identity.after if identity is not None and identity.after else b""
    return b"%d%b %b%b" % (len(encoded), since, encoded, after.encode())
