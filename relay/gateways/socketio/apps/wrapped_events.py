"""Events in envelopes: `{"event": name, "args": […]}`, with binary attachments as Base64 in `attachments`.

Clients of all applications exchange events in this form, and those of other protocols read and write it as well.
"""

import base64
from collections.abc import Collection
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from relay.gateways.socketio.encoders import OutgoingEvent
from relay.gateways.socketio.packets import BadPacket
from relay.gateways.socketio.parser import (
    MAX_ATTACHMENTS,
    MAX_NAME,
    IncomingEvent,
    check_placeholders,
    compact_placeholders,
)
from relay.model.base64_text import read_base64
from relay.model.envelope import MessageId
from relay.model.errors import BadFrame
from relay.model.json_text import MAX_NESTING, nests_deeper

_Base64 = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/_=\s-]*$")]
"""As `read_base64` reads it, but only characters of Base64 and white space; any other text is no attachment."""


class _Event(Struct):
    """An event in an envelope."""

    event: Annotated[str, Meta(max_length=MAX_NAME)] | int
    args: list[Raw]
    attachments: Annotated[list[_Base64], Meta(max_length=MAX_ATTACHMENTS)] = msgspec.field(default_factory=list)


class _Named(Struct):
    event: Raw | UnsetType = UNSET


_event = msgspec.json.Decoder(_Event)
_named = msgspec.json.Decoder(_Named)
_json = msgspec.json.Encoder()


def wrap(event: IncomingEvent, max_size: int, key: str) -> bytes:
    """Return the envelope of an event that a client has emitted; raises `BadFrame` with this key.

    `max_size` is in bytes.
    """
    attachments = b""
    if event.attachments:
        texts = [base64.b64encode(data).decode("ascii") for data in event.attachments]
        attachments = b',"attachments":' + _json.encode(texts)
    envelope = b'{"event":%b,"args":[%b]%b}' % (_json.encode(event.name), event.data, attachments)
    if nests_deeper(envelope):
        raise too_deep(key)
    if attachments and len(envelope) > max_size:
        # The session has checked the size of the text, but attachments grow by a third in Base64.
        raise BadFrame("too_large", f"at most {max_size} bytes are relayed", about="event", key=key)
    return envelope


def is_wrapped(envelope: bytes) -> bool:
    """Return whether an envelope names an event, also a broken one."""
    if b'"event"' not in envelope:
        return False
    try:
        return _named.decode(envelope).event is not UNSET
    except msgspec.MsgspecError:
        return True


def read_wrapped(
    envelope: bytes, hidden: Collection[str | int], position: tuple[str, MessageId] | None = None
) -> OutgoingEvent | None:
    """Read the event that an envelope wraps; None for any other envelope, for `hidden` names, and for broken events.

    Messages on the bus are within the bound on nesting, so that no parser here meets its own.
    """
    try:
        event = _event.decode(envelope)
        if event.event in hidden:
            return None
        arguments = [bytes(value) for value in event.args]
        attachments = [read_base64(data.encode()) for data in event.attachments]
        if attachments:
            check_placeholders(arguments, len(attachments))
            arguments = [compact_placeholders(value) for value in arguments]
        return OutgoingEvent(_json.encode(event.event), arguments, attachments, position)
    except (msgspec.MsgspecError, BadPacket):
        return None


def too_deep(key: str) -> BadFrame:
    """Return the error about an event that nests too deep."""
    return BadFrame("bad_json", f"nested more than {MAX_NESTING} levels deep as an envelope", about="event", key=key)
