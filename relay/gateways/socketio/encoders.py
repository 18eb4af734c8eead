"""How each version of Socket.IO writes what a client is told; revisions 5 and 4 of its protocol here."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from relay.gateways.socketio.packets import Revision, attachment
from relay.model.codec import Bundle, Frame

_json = msgspec.json.Encoder()


class OutgoingEvent(Struct):
    """An event on its way to a client: its name and its arguments, each as JSON, and the attachments they stand for."""

    name: bytes
    arguments: list[bytes]
    attachments: Sequence[bytes] = ()


class PacketEncoder(Protocol):
    """Writes the packets of one protocol version, in one namespace."""

    def event(self, event: OutgoingEvent) -> Frame:
        """Tell of an event."""
        ...

    def ack(self, number: str, value: object) -> Frame:
        """Acknowledge the packet that came with this number."""
        ...

    def entered(self, peer: str, private: str) -> Frame:
        """Let the client into the namespace; `private` is the id with which it can come back, "" if it cannot."""
        ...

    def refused(self, code: str, text: str) -> Frame:
        """Do not let it in."""
        ...

    def left(self) -> Frame:
        """Put it out, and tell it not to come back."""
        ...


class ModernEncoder:
    """See `PacketEncoder`; for Engine.IO, whose type of a message, 4, comes first."""

    def __init__(self, revision: Revision, namespace: str) -> None:
        self._revision: Revision = revision
        # What is not ASCII can only be refused; in revision 3 as `/` would be, which the other namespaces of a client
        # of version 2 hear.
        nameless = namespace == "/" or (revision == 3 and not namespace.isascii())
        self._space = b"" if nameless else namespace.encode() + b","
        self._event = b"42" + self._space + b"["

    def event(self, event: OutgoingEvent) -> Frame:
        """See `PacketEncoder.event`."""
        text = b",".join([event.name, *event.arguments]) + b"]"
        if not event.attachments:
            return self._text(self._event + text)
        head = b"45%d-%b[" % (len(event.attachments), self._space)
        binary = [attachment(data, self._revision) for data in event.attachments]
        return Bundle([self._text(head + text), *binary])

    def ack(self, number: str, value: object) -> Frame:
        """See `PacketEncoder.ack`."""
        return self._text(b"43%b%b[%b]" % (self._space, number.encode("ascii"), _json.encode(value)))

    def entered(self, peer: str, private: str) -> Frame:
        """See `PacketEncoder.entered`; older clients are told no ids, and take that of the connection for theirs."""
        if self._revision == 3:
            return Frame(b"40" + self._space)
        fields: Mapping[str, str] = {"sid": peer, "pid": private} if private else {"sid": peer}
        return Frame(b"40" + self._space + _json.encode(fields))

    def refused(self, code: str, text: str) -> Frame:
        """See `PacketEncoder.refused`."""
        if self._revision == 3:
            return Frame(b"44" + self._space + _json.encode(text))
        refusal: dict[str, Any] = {"message": text}
        if code != "bad_namespace":  # of that, the reference implementation says no more
            refusal["data"] = {"code": code, "text": text}
        return Frame(b"44" + self._space + _json.encode(refusal))

    def left(self) -> Frame:
        """See `PacketEncoder.left`."""
        return Frame(b"41" + self._space)

    def _text(self, text: bytes) -> Frame:
        return Frame(text if self._revision == 4 or text.isascii() else escaped(text))


def escaped(json: bytes) -> bytes:
    """Return JSON that is ASCII; older clients disagree on how long polling carries, and counts, anything else."""
    text = json.decode().encode("utf-16-be")
    units = [text[at] << 8 | text[at + 1] for at in range(0, len(text), 2)]
    return "".join([chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in units]).encode("ascii")
