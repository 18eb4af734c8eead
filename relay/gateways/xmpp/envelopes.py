r"""Messages of XMPP as envelopes, and envelopes as messages of XMPP; no I/O.

A body that is a JSON object is the envelope. Any other one, and one with fields that only the relay may write, is the
field `message`: as text, or as the object that it is. The field `xmpp` has the rest of the stanza, so that clients of
XMPP get it as it was written:

    {"message":"hello","xmpp":{"id":"7","wrapped":true,"elements":"<active xmlns=\"…\"/>"}}

An envelope of any other client has no such field. Its JSON text is the body, and is in a JSON container (XEP-0335).
"""

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from relay.gateways.xmpp.namespaces import CLIENT, JSON
from relay.gateways.xmpp.reading import Document, Element
from relay.model.commands import Publish
from relay.model.envelope import read_envelope
from relay.model.errors import BadFrame
from relay.model.json_text import nests_deeper

CHANNEL: Final = "xmpp"
"""The channel of messages for clients of XMPP alone: IQs between two occupants, and changes of nicks."""

GROUPCHAT: Final = ""
SUBJECT: Final = "subject"
CHAT: Final = "chat"
IQ: Final = "iq"
NICK: Final = "nick"

_OWN: Final = {("body", CLIENT), ("subject", CLIENT), ("json", JSON)}
_FIELD: Final = b',"xmpp":'
_ALONE: Final = b'{"xmpp":'


class Rest(Struct, omit_defaults=True):
    """The field `xmpp`: the parts of a stanza beside its body.

    `kind` is the stanza's kind, "" for a message to the room. `body` is its body where the envelope does not have it,
    and with `wrapped`, it is the field `message`. `elements` are its other elements, as XML. `type` and `id` are its
    attributes.
    """

    kind: str = ""
    type: str = ""
    id: str = ""
    wrapped: bool = False
    body: str | None = None
    elements: str = ""


class _Fields(Struct):
    rest: Raw | UnsetType = msgspec.field(name="xmpp", default=UNSET)
    message: Raw | UnsetType = UNSET
    subject: Raw | UnsetType = UNSET


class Said(Struct):
    """A message as XMPP shows it; `container` is the JSON of an envelope, "" for none. A `subject` changes that."""

    rest: Rest
    body: str | None = None
    subject: str | None = None
    container: str = ""


_encode = msgspec.json.Encoder().encode
_fields = msgspec.json.Decoder(_Fields)
_rests = msgspec.json.Decoder(Rest)
_texts = msgspec.json.Decoder(str)


def message_of(document: Document, room: str, to: str = "") -> Publish:
    """Return the command that publishes a message to a room, or with `to` (escaped) to one occupant.

    Raises `BadFrame` if its JSON container has no JSON.
    """
    stanza = document.root
    rest = Rest(id=stanza.get("id"), kind=CHAT if to else GROUPCHAT, elements=_others(document))
    body, subject, container = (stanza.child(*name) for name in (("body", CLIENT), ("subject", CLIENT), ("json", JSON)))
    if to and stanza.get("type") != CHAT:
        rest.type = stanza.get("type") or "normal"
    if container is not None:
        publish = _read(container.text.encode(), room, to)
        if body is not None and body.text != container.text:
            rest.body = body.text
        return _with_rest(publish, rest)
    if body is None and subject is not None and not to:
        rest.kind = SUBJECT
        return _with_rest(Publish(b'{"subject":%b}' % _encode(subject.text), room=room), rest)
    if body is None:
        return _with_rest(Publish(_directed(b"{}", to), (to,) if to else (), room=room), rest)
    return _said(body.text, room, to, rest)


def iq_of(document: Document, room: str, to: str) -> Publish:
    """Return the command that sends an IQ to one occupant."""
    stanza = document.root
    rest = Rest(kind=IQ, type=stanza.get("type"), id=stanza.get("id"), elements=_others(document))
    envelope = b'{"to":"%b","channel":"%b"}' % (to.encode(), CHANNEL.encode())
    return _with_rest(Publish(envelope, (to,), CHANNEL, room=room), rest)


def renamed(room: str, nick: str) -> Publish:
    """Return the command by which an occupant says that it has another nick from now on."""
    return _with_rest(Publish(b'{"channel":"%b"}' % CHANNEL.encode(), (), CHANNEL, room=room), Rest(NICK, body=nick))


def said(envelope: bytes) -> Said:
    """Return the content of an envelope for clients of XMPP; never fails."""
    try:
        fields = _fields.decode(envelope)
        rest = None if fields.rest is UNSET else _rests.decode(fields.rest)
    except msgspec.MsgspecError:
        fields, rest = _Fields(), None
    if rest is None:
        text = envelope.decode()
        return Said(Rest(), text, container=text)
    if rest.kind == SUBJECT:
        return Said(rest, subject=_text(fields.subject))
    if rest.wrapped:
        return Said(rest, _text(fields.message))
    own, body = _without_rest(_undirected(envelope) if rest.kind == CHAT else envelope), rest.body
    if own is None:
        return Said(rest, body)
    return Said(rest, own if body is None else body, container=own)


def _said(body: str, room: str, to: str, rest: Rest) -> Publish:
    text = body.encode().strip(b" \t\r\n")
    if text.startswith(b"{"):
        try:
            return _with_rest(_read(text, room, to), rest)
        except BadFrame:
            pass
    rest.wrapped = True
    message = text if _is_json_object(text) else _encode(body)
    envelope = _directed(b'{"message":%b}' % message, to)
    return _with_rest(Publish(envelope, (to,) if to else (), room=room), rest)


def _read(text: bytes, room: str, to: str) -> Publish:
    publish = read_envelope(text)
    if to and publish.to:
        raise BadFrame("bad_envelope", "a message to one occupant has no field to")
    envelope = _directed(text, to)
    return Publish(envelope, (to,) if to else publish.to, publish.channel, room=room)


def _is_json_object(text: bytes) -> bool:
    if not text.startswith(b"{") or nests_deeper(b'{"message":%b}' % text):
        return False
    try:
        msgspec.json.decode(text, type=dict[str, Raw])
    except msgspec.MsgspecError:
        return False
    return True


def _directed(envelope: bytes, to: str) -> bytes:
    if not to:
        return envelope
    rest = envelope[1:].lstrip(b" \t\r\n")
    return b'{"to":"%b"%b%b' % (to.encode("ascii"), b"" if rest == b"}" else b",", rest)


def _undirected(envelope: bytes) -> bytes:
    """Undo `_directed`: the receiver knows that it is the receiver."""
    head, _, tail = envelope.removeprefix(b'{"to":"').partition(b'"')
    return b"{" + tail.removeprefix(b",") if len(head) < len(envelope) and envelope.startswith(b'{"to":"') else envelope


def _with_rest(publish: Publish, rest: Rest) -> Publish:
    envelope = publish.envelope.rstrip(b" \t\r\n")[:-1].rstrip(b" \t\r\n")
    head = _ALONE if envelope == b"{" else envelope + _FIELD
    return msgspec.structs.replace(publish, envelope=head + _encode(rest) + b"}")


def _without_rest(envelope: bytes) -> str | None:
    """Return the JSON of an envelope without the field `xmpp` at its end; None if nothing but its receiver remains."""
    head = envelope.rpartition(_FIELD)[0]
    try:
        fields = msgspec.json.decode(head + b"}", type=dict[str, Raw])
    except msgspec.MsgspecError:
        # A client of another protocol has written the field, in another place.
        return None if envelope.startswith(_ALONE) else envelope.decode()
    return f"{head.decode()}}}" if fields.keys() - {"to"} else None


def _text(value: Raw | UnsetType) -> str | None:
    if value is UNSET:
        return None
    try:
        return _texts.decode(value)
    except msgspec.MsgspecError:
        return bytes(value).decode()


def _others(document: Document) -> str:
    return "".join([document.source(one) for one in document.root.children if not _is_own(one)])


def _is_own(element: Element) -> bool:
    return (element.name, element.namespace) in _OWN
