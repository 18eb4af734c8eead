"""The codec of XMPP: frames with one XML element each, and events as the stanzas of a room."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from relay.gateways.xmpp import stanzas
from relay.gateways.xmpp.envelopes import IQ, NICK, said
from relay.gateways.xmpp.errors import BadStanza
from relay.gateways.xmpp.jids import nick_of, peer_of
from relay.gateways.xmpp.namespaces import CLIENT, MUC
from relay.gateways.xmpp.reading import BadXml, Document, read
from relay.model import events
from relay.model.codec import Frame
from relay.model.commands import Command, GatewayCommand
from relay.model.errors import Refused

STANZAS: Final = frozenset({"iq", "message", "presence"})

_SPACE: Final = b" \t\r\n"
_SHOWN_KEY: Final = 3200
"""Characters of the parts of a stanza that its key has; a stanza with more gets an error without them."""


JOINED: Final = "joined"
LEFT: Final = "left"
RENAMED: Final = "renamed"


class Received(GatewayCommand):
    """One element of the client; its key is the text that an error about it has to repeat."""

    __slots__ = ("document",)

    def __init__(self, document: Document) -> None:
        self.document = document

    @property
    def about(self) -> str:  # type: ignore[override]  # the name of the element
        """The name of the element."""
        return self.document.root.name

    @property
    def key(self) -> str:
        """The id and the receiver of a stanza that gets an error."""
        root = self.document.root
        if not self.is_stanza or root.get("type") in {"error", "result"}:
            return ""
        key = f"{root.get('id')}\n{root.get('to')}"
        return key if len(key) <= _SHOWN_KEY else "\n"

    @property
    def joins(self) -> int:
        """Whether it asks to enter a room."""
        return int(self.document.root.name == "presence" and self.document.root.child("x", MUC) is not None)

    @property
    def is_stanza(self) -> bool:
        """Whether it is a stanza, and not of the stream."""
        return self.document.root.name in STANZAS and self.document.root.namespace == CLIENT


class Whitespace(GatewayCommand):
    """White space, by which a client keeps its connection alive."""

    __slots__ = ()

    about = "whitespace"


class FramingFrame(Frame):
    """An element of the framing of WebSockets (RFC 7395), for which BOSH has attributes of its bodies."""

    __slots__ = ()


class Stanza(NamedTuple):
    """A stanza that an event causes. `peer` is the occupant from which it comes.

    `kind` is the type of an IQ, which has an `id`, or tells a presence; "" for a message. The `id` of a farewell
    (`RENAMED`) is the new nick.
    """

    frame: Frame
    peer: str = ""
    kind: str = ""
    id: str = ""


class RoomFrame(Frame):
    """An event, and the stanzas that are the same for all occupants; the session decides which of them it writes."""

    __slots__ = ("event", "stanzas")

    def __init__(self, event: events.Event, written: Sequence[Stanza]) -> None:
        super().__init__(b"")
        self.event = event
        self.stanzas = written


class XmppCodec:
    """The `Codec` of the clients of one domain."""

    def __init__(self, domain: str) -> None:
        self._domain = domain
        self.key = f"xmpp {domain}"

    def decode(self, frame: Frame) -> Command:
        """Read one frame; raises `BadFrame`."""
        if not frame.is_text:
            raise BadStanza("bad_xml", "XMPP has text frames only", condition="not-well-formed")
        data = frame.data
        if data[:1] in _SPACE and not data.strip(_SPACE):
            return Whitespace()
        try:
            return Received(read(data))
        except BadXml as error:
            raise BadStanza("bad_xml", str(error), condition=error.condition) from None

    def encode(self, event: events.Event) -> Frame:
        """Write the stanzas of an event."""
        match event:
            case events.Message():
                return RoomFrame(event, [self.message(event)])
            case events.PresenceChange():
                return RoomFrame(event, self._changes(event))
            case _:
                return RoomFrame(event, ())

    def message(self, event: events.Message, sent: str = "") -> Stanza:
        """Write a message as the stanza of its sender."""
        told = said(event.envelope)
        sender = self.occupant(event.room, event.sender)
        if told.rest.kind == NICK and not event.to and (new := _nick(told.rest.body)):
            frame = stanzas.presence(sender, leaves=True, statuses=[stanzas.RENAMED], nick=new)
            return Stanza(frame, event.sender, RENAMED, new)
        if told.rest.kind == IQ and event.to:
            iq = stanzas.iq(told.rest, sender)
            if iq is not None:
                return Stanza(iq, event.sender, told.rest.type, told.rest.id)
        room = stanzas.room_jid(event.room, self._domain)
        frame = stanzas.message(told, sender, room, str(event.id), to_all=not event.to, sent=sent)
        return Stanza(frame, event.sender)

    def occupant(self, room: str, peer: str) -> str:
        """Return the address of an occupant."""
        return stanzas.occupant_jid(room, peer, self._domain)

    def room(self, room: str) -> str:
        """Return the address of a room."""
        return stanzas.room_jid(room, self._domain)

    def _changes(self, change: events.PresenceChange) -> list[Stanza]:
        def of(peers: Sequence[str], kind: str) -> list[Stanza]:
            leaves = kind == LEFT
            return [
                Stanza(stanzas.presence(self.occupant(change.room, peer), leaves=leaves), peer, kind) for peer in peers
            ]

        return of(change.joined, JOINED) + of(change.left, LEFT)


def _nick(text: str | None) -> str:
    """Return the nick that an occupant has from now on; "" if the text is no nick."""
    try:
        return nick_of(peer_of(text or ""))
    except Refused:
        return ""
