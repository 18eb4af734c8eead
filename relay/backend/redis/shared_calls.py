"""Script calls that messages share, and the messages of each room in them."""

from typing import Final

from relay.backend.bus import Published
from relay.backend.redis.expected_ids import ExpectedIds
from relay.model.envelope import MembershipVersion, MessageId
from relay.model.envelope_head import MAX_ADDRESSEES
from relay.model.publication import Publication

_MOST: Final = 16
"""Messages of one call.

Redis serves nobody else meanwhile: for about 0.2 ms, or 1 ms if all of them take the slow path. A join takes 0.1 ms.
"""

_MOST_GENERATIONS: Final = 32
"""Generations of a room that are kept in their written form."""

ALONE: Final = 0
"""The kind of a call with one message that takes the slow path: with a key, large, or without a membership version."""
STORED: Final = 1
"""The kind of a call whose messages go into the histories of their rooms."""
WITHOUT_HISTORY: Final = 2
"""The kind of a call whose rooms have no history."""
UNSTORED: Final = 3
"""The kind of a call whose messages are not to be stored."""


Entry = tuple[Publication, Published]
"""A message, and the callback that takes its outcome."""


class RoomTemplate:
    """The common parts of a room's publish commands, in RESP, and the time of the next renewal of its history's TTL.

    Most members of a room have the same membership version, so the last one is remembered together with its RESP.
    """

    __slots__ = (
        "alone",
        "channel",
        "claim",
        "expected",
        "generations",
        "id_prefix",
        "keys",
        "marks",
        "renew_at",
        "stored",
        "version",
    )

    def __init__(self, keys: bytes, channel: bytes, alone: bytes, *, stored: bool = True) -> None:
        # The beginning of a command with one message.
        self.alone = alone
        self.keys = keys
        self.channel = channel
        # Whether the room has a history.
        self.stored = stored
        self.renew_at = 0.0
        # The newest id that was seen at each of the last renewals, with its time.
        self.marks: list[tuple[float, MessageId]] = []
        self.expected = ExpectedIds()
        # The generations of the senders, as their messages have them.
        self.generations: dict[int, bytes] = {}
        self.version = MembershipVersion()
        self.claim = self.id_prefix = b""

    def outdated(self, now: float, ttl: float, seen: MessageId) -> MessageId | None:
        """Note the newest id that was seen by now; return one that was seen more than `ttl` ago, each once.

        All events up to that id are as old.
        """
        self.marks.append((now, seen))
        found = None
        while self.marks[0][0] <= now - ttl:
            found = self.marks.pop(0)[1]
        return found

    def generation(self, number: int) -> bytes:
        """Return a sender's generation as its messages have it."""
        if len(self.generations) >= _MOST_GENERATIONS:
            self.generations.clear()
        text = self.generations[number] = b"%d " % number
        return text

    def use(self, version: MembershipVersion) -> None:
        """Set `claim` to the Redis channel and the membership version, and `id_prefix` to the beginning of its ids."""
        if version != self.version:
            number = b"%d" % version.number
            self.version = version
            self.claim = b"%b$%d\r\n%b\r\n" % (self.channel, len(number), number)
            self.id_prefix = b"%d-" % version.epoch


class RoomMessages:
    """The messages of one room in a call, in their order, with the callbacks that take their outcomes.

    `call` is the number of the call in its turn. It is not the call itself, which refers to these messages: a cycle
    would keep all of a turn until the garbage collector runs.

    `texts` are those that Redis publishes, until the command is written; then they are given up. `ids` are the ids in
    the command, none if they are not known. `newest` is the expected sequence number of the last message, and `mark`
    belongs to it (see `ExpectedIds`); both are 0 until the command is written.
    """

    __slots__ = ("call", "entries", "ids", "mark", "newest", "template", "texts", "version")

    def __init__(self, call: int, template: RoomTemplate, entry: Entry, text: bytes) -> None:
        self.call = call
        self.template = template
        self.version = entry[0].version
        self.entries = [entry]
        self.texts = [text]
        self.ids: list[bytes] = []
        self.newest = self.mark = 0


class SharedCall:
    """A script call: messages of one kind, which may be of several rooms. Its `number` is its place in the turn.

    `messages_left` and `addressees_left` are the numbers of those that it still takes.
    """

    __slots__ = ("addressees_left", "kind", "messages_left", "number", "rooms")

    def __init__(self, number: int, kind: int) -> None:
        self.number = number
        self.kind = kind
        self.rooms: list[RoomMessages] = []
        self.messages_left = _MOST
        self.addressees_left = MAX_ADDRESSEES

    def takes(self, kind: int, addressees: int) -> bool:
        """Whether it takes one more message of this kind, with so many addressees."""
        return self.messages_left > 0 and self.kind == kind and self.addressees_left >= addressees

    def entries(self) -> list[Entry]:
        """Return all messages, in their order."""
        return [entry for one in self.rooms for entry in one.entries]
