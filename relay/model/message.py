"""Messages: the envelopes that a bus delivers to a room."""

from relay.model.envelope import MessageId, unseal


class Message:
    """An envelope for the members of `room`, or only for those in `to`.

    `body` is the envelope with `from` and `id`, without its closing brace (see `envelope.seal`).
    """

    # Not a struct: a native class of the compiled build, whose attributes are read without a call.
    __slots__ = ("_envelope", "body", "channel", "id", "room", "sender", "to")

    def __init__(self, room: str, id: MessageId, sender: str, to: tuple[str, ...], channel: str, body: bytes) -> None:
        self.room = room
        self.id = id
        self.sender = sender
        self.to = to
        self.channel = channel
        self.body = body
        self._envelope: bytes | None = None

    @property
    def envelope(self) -> bytes:
        """The envelope as its sender wrote it, without white space at its end; made once for all codecs."""
        if self._envelope is None:
            self._envelope = unseal(self.body)
        return self._envelope

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Message) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(self._fields())

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._fields()}"

    def _fields(self) -> tuple[str, MessageId, str, tuple[str, ...], str, bytes]:
        return self.room, self.id, self.sender, self.to, self.channel, self.body


class TreeMessage(Message):
    """A change of the tree of `room`, as an envelope with a `path` there (see `relay.model.tree`).

    The value at the path is the `message` of the envelope now; or those of its `children`, by their paths below.
    If `to` is empty, it is a message for all members, else only for members that read trees.
    """

    __slots__ = ()
