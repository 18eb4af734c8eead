"""A message on its way to the bus, and what the bus returns for it."""

from msgspec import Struct

from relay.model.commands import Publish
from relay.model.envelope import BEFORE_ALL, MembershipVersion, MessageId, read_id


class Publication(Struct, frozen=True):
    """A `Publish` command on its way to the bus, with the worker's data about its sender.

    `room` is the receiving room (that of the command may be "", for the connection's own). `sender` is the peer id
    that the relay vouches for, `generation` the sender's claim to it (0: not a member, there is no claim to check),
    `version` is from the sender's last `Receipt`, or from its join. `seen` is the newest id that the worker has seen
    in the room. A member whose connection may be on another worker claims its peer id by `proof` instead: the
    fingerprint of its resume key ("" for none).
    """

    command: Publish
    room: str
    sender: str
    generation: int = 0
    version: MembershipVersion = MembershipVersion()
    seen: MessageId = BEFORE_ALL
    proof: str = ""

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


class Receipt(Struct, frozen=True):
    """The id of a publication (`text` is `epoch-sequence`).

    `repeat`: it was delivered under this id before, and not again. `version`, if any, belongs into the sender's next
    publication.
    """

    text: bytes
    repeat: bool = False
    version: MembershipVersion | None = None

    @property
    def id(self) -> MessageId:
        """The id; parsed on demand, as most callers only pass its text on."""
        return read_id(self.text)
