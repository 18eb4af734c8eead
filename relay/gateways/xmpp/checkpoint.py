"""The checkpoint of a stream (XEP-0198): its position, as it is stored, and the stanzas that a returning client missed.

The history of a room says which messages follow an id, in which order. So a checkpoint has the number of the last
stanza that is in no history, and for each room the id up to which everything was written by then. A stanza that is in
no history is written only after its checkpoint. All stanzas written after the last checkpoint are in histories.

Most stanzas are messages of one room, whose ids follow each other. So the stored form has runs of entries, in which an
id is the difference to the one before. The texts of stanzas are stored once each, beside it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct, structs

from relay.gateways.xmpp.codec import Stanza
from relay.model.checkpoints import Kept
from relay.model.codec import Frame
from relay.model.envelope import BEFORE_ALL, MessageId

MOST_UNACKNOWLEDGED: Final = 1000
"""Stanzas that are kept until the client acknowledges them; a client that needs an older one cannot resume."""

MOST_BYTES: Final = 131_072
"""Bytes of these stanzas, without the messages that a history has."""

_Count = Annotated[int, Meta(ge=0)]


class Entry(Struct, frozen=True):
    """One stanza that was written: its text, "" if it is in a room's history; and where the room was then.

    `room` is "" for a stanza that is not of a room.
    """

    text: str = ""
    room: str = ""
    epoch: int = 0
    seq: int = 0

    @property
    def id(self) -> MessageId:
        """The id that the room had reached with the stanza."""
        return MessageId(self.epoch, self.seq)


class RoomReached(Struct, array_like=True, frozen=True):
    """A room in which the client is as `peer`; everything up to this id had been acknowledged."""

    room: str
    peer: str
    epoch: int
    seq: int

    @property
    def id(self) -> MessageId:
        """The id."""
        return MessageId(self.epoch, self.seq)


class _Run(Struct, array_like=True, frozen=True):
    """Entries of one room that follow each other: its ids, each as the difference to the one before."""

    room: str
    epoch: int
    has_texts: bool
    steps: Sequence[int]


class _Stored(Struct, array_like=True, frozen=True):
    user: str
    resource: str
    domain: str
    subject: str
    handled: _Count
    written: _Count
    acknowledged: _Count
    asked: tuple[str, ...]
    places: Sequence[RoomReached]
    runs: Sequence[_Run]


class Checkpoint(Struct, frozen=True):
    """A stream when `written` stanzas were written and `handled` ones of the client served.

    The client had acknowledged `acknowledged` of them, and `entries` are the others. `subject` is that of its token.
    `asked` are the fingerprints of its IQs that occupants had not answered.
    """

    user: str
    resource: str
    domain: str
    subject: str
    handled: int
    written: int
    acknowledged: int
    places: Sequence[RoomReached]
    entries: Sequence[Entry]
    asked: tuple[str, ...] = ()

    def positions(self, number: int) -> dict[str, MessageId]:
        """Return for each room the id up to which everything is among the first `number` stanzas."""
        reached = {place.room: place.id for place in self.places}
        for entry in self.entries[: max(0, number - self.acknowledged)]:
            if entry.room in reached:
                reached[entry.room] = max(reached[entry.room], entry.id)
        return reached


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Stored).decode


def write_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as it is stored, without the texts of its entries."""
    fields = {name: getattr(checkpoint, name) for name in _Stored.__struct_fields__[:-1]}
    return _encode(_Stored(**fields, runs=_runs(checkpoint.entries)))


def read_checkpoint(kept: Kept | None) -> Checkpoint | None:
    """Return a checkpoint that was stored; None if there is none that can be read."""
    if kept is None:
        return None
    try:
        stored = _decode(kept.data)
        entries = [*_entries(stored, kept.texts)]
    except (msgspec.MsgspecError, KeyError, UnicodeError):
        return None
    fields = {name: getattr(stored, name) for name in _Stored.__struct_fields__[:-1]}
    return Checkpoint(**fields, entries=entries)


def _runs(entries: Sequence[Entry]) -> list[_Run]:
    runs: list[_Run] = []
    last = 0
    for entry in entries:
        run = runs[-1] if runs else None
        if run is None or (run.room, run.epoch, run.has_texts) != (entry.room, entry.epoch, bool(entry.text)):
            runs.append(_Run(entry.room, entry.epoch, bool(entry.text), [entry.seq]))
        elif isinstance(run.steps, list):
            run.steps.append(entry.seq - last)
        last = entry.seq
    return runs


def _entries(stored: _Stored, texts: Mapping[int, bytes]) -> Iterator[Entry]:
    """Yield the entries; raises `KeyError` where a text is missing."""
    number = stored.acknowledged
    for run in stored.runs:
        seq = 0
        for step in run.steps:
            number, seq = number + 1, seq + step
            yield Entry(texts[number].decode() if run.has_texts else "", run.room, run.epoch, seq)


class Missed(Struct, frozen=True):
    """A stanza that the client has not got: its frame, and where the room was then, `BEFORE_ALL` if it is of none.

    `stanza` is that of an event that was not delivered before, None for one that was written already.
    """

    frame: Frame
    room: str = ""
    id: MessageId = BEFORE_ALL
    logged: bool = False
    stanza: Stanza | None = None


def missed(
    checkpoint: Checkpoint, handled: int, replayed: Mapping[str, Sequence[Missed]]
) -> tuple[dict[str, MessageId], list[Missed]] | None:
    """Return the stanzas that a client has missed which has handled so many, and how far it is in each room.

    `replayed` are the stanzas of each room after the id of its place. None if it is not certain: the client says
    that it has less than it acknowledged, or it got messages of several rooms after the checkpoint.
    """
    if not checkpoint.acknowledged <= handled:
        return None
    beyond, written = handled - checkpoint.written, checkpoint.positions(checkpoint.written)
    found: list[Missed] = []
    for entry in checkpoint.entries[handled - checkpoint.acknowledged :]:
        one = _missed_entry(entry, replayed.get(entry.room, ()))
        if one is None:
            return None
        found.append(one)
    later = {
        room: [one for one in stanzas if one.id > written.get(room, BEFORE_ALL)] for room, stanzas in replayed.items()
    }
    reached = checkpoint.positions(handled)
    if beyond > 0:
        spoken = [room for room, stanzas in later.items() if any(one.logged for one in stanzas)]
        if len(spoken) != 1 or not _skip(later[spoken[0]], beyond, reached):
            return None
    return reached, found + [one for stanzas in later.values() for one in stanzas]


def _missed_entry(entry: Entry, replayed: Sequence[Missed]) -> Missed | None:
    if entry.text:
        # The namespace is that of every stanza.
        return Missed(Frame(entry.text.encode()), entry.room, entry.id)
    found = next((one for one in replayed if one.logged and one.id == entry.id), None)
    return None if found is None else structs.replace(found, stanza=None)


def _skip(stanzas: list[Missed], count: int, reached: dict[str, MessageId]) -> bool:
    """Take out the first `count` messages, which the client has got; other stanzas stay. Return whether all are out."""
    for position, one in enumerate(stanzas):
        count -= one.logged
        if count == 0:
            reached[one.room] = one.id
            # Joins and leaves in between were not written: they would have had a checkpoint.
            stanzas[: position + 1] = [other for other in stanzas[:position] if not other.logged]
            return True
    return False
