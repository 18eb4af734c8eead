"""A message on its way to the bus, and what the bus returns for it."""

from typing import Final

from mypy_extensions import mypyc_attr

from relay.model.commands import Publish
from relay.model.envelope import BEFORE_ALL, MembershipVersion, MessageId, read_id

_NO_VERSION: Final = MembershipVersion()


class Publication:
    """A `Publish` command on its way to the bus, with the worker's data about its sender.

    `room` is the receiving room (that of the command may be "", for the connection's own). `sender` is the peer id
    that the relay vouches for, `generation` the sender's claim to it (0: not a member, there is no claim to check),
    `version` is from the sender's last `Receipt`, or from its join. `seen` is the newest id that the worker has seen
    in the room. A member whose connection may be on another worker claims its peer id by `proof` instead: the
    fingerprint of its resume key ("" for none).
    """

    # Not a struct: a native class of the compiled build, whose attributes are read without a call.
    __slots__ = ("command", "generation", "proof", "room", "seen", "sender", "version")

    def __init__(
        self,
        command: Publish,
        room: str,
        sender: str,
        generation: int = 0,
        version: MembershipVersion = _NO_VERSION,
        seen: MessageId = BEFORE_ALL,
        proof: str = "",
    ) -> None:
        self.command = command
        self.room = room
        self.sender = sender
        self.generation = generation
        self.version = version
        self.seen = seen
        self.proof = proof

    @property
    def key(self) -> str:
        """The key under which the envelope is published at most once; "" if it may be published again."""
        identity = self.command.identity
        return self.command.key if identity is None else identity.key

    def is_repeat_of(self, earlier: MessageId, epoch: int) -> bool:
        """Whether this repeats an earlier envelope of its sender with the same key, in a room with this epoch."""
        identity = self.command.identity
        if identity is None or identity.after is None:
            return True
        return identity.after[0] == epoch and earlier.seq > identity.after[1]


@mypyc_attr(allow_interpreted_subclasses=True)
class Receipt:
    """The id of a publication (`text` is `epoch-sequence`).

    `repeat`: it was delivered under this id before, and not again. `version`, if any, belongs into the sender's next
    publication.
    """

    __slots__ = ("repeat", "text", "version")

    def __init__(self, text: bytes, repeat: bool = False, version: MembershipVersion | None = None) -> None:
        self.text = text
        self.repeat = repeat
        self.version = version

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Receipt):
            return NotImplemented
        return (self.text, self.repeat, self.version) == (other.text, other.repeat, other.version)

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Receipt({self.text!r}, {self.repeat}, {self.version})"

    @property
    def id(self) -> MessageId:
        """The id; parsed on demand, as most callers only pass its text on."""
        return read_id(self.text)
