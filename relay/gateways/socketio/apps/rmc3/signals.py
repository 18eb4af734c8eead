"""The messages with which the clients of a room reach each other: signals, extra data, and notices of this application.

    {"to": "ID", "channel": "rmc", "message": {"remoteUserId": …, "message": …, "sender": …, "extra": …}}
    {"channel": "rmc-extra", "message": EXTRA}
    {"channel": "rmc-control", "message": {"closed": "PROOF"}}

A request to take part has no receiver where it is for everybody. The sender that a message names is never believed:
receivers get the peer id for which the relay vouches.
"""

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from relay.gateways.socketio.apps.rmc3.arguments import is_true
from relay.gateways.socketio.apps.wrapped_events import too_deep
from relay.model.commands import Publish
from relay.model.errors import Refused
from relay.model.json_text import nests_deeper
from relay.model.names import MAX_ESCAPED, escape_peer, unescape

CHANNEL: Final = "rmc"
"""The channel of signals."""

EXTRA_CHANNEL: Final = "rmc-extra"
"""The channel of changed extra data."""

CONTROL_CHANNEL: Final = "rmc-control"
"""The channel of notices."""


MAX_PROOF: Final = 64
"""Characters of a proof."""


class Notice(Struct, frozen=True, omit_defaults=True):
    """A notice to other clients of the application; it tells of its sender alone, for which the relay vouches.

    `closed`: the owner ends the room for all; the text proves that it was the owner (`closing`). `parted`: the sender
    has disconnected from the receiver. `renamed`: the peer id that the sender has from now on.
    """

    closed: Annotated[str, Meta(max_length=MAX_PROOF)] = ""
    parted: bool = False
    renamed: Annotated[str, Meta(max_length=MAX_ESCAPED)] = ""


class _Envelope(Struct):
    message: Raw | UnsetType = UNSET


class _Notice(Struct):
    message: Notice = Notice()


_envelope = msgspec.json.Decoder(_Envelope)
_notice = msgspec.json.Decoder(_Notice)
_fields = msgspec.json.Decoder(dict[str, Raw])
_encode: Final = msgspec.json.Encoder().encode
_peers = msgspec.json.Decoder(list[Annotated[str, Meta(max_length=MAX_ESCAPED)]])
_NULL: Final = Raw(b"null")


class PageSignal(Struct, frozen=True):
    """A message between users; `fields` are those that the page gave, `content` those of its `message`, if it has any.

    `receiver` is text: a user id, or the id of a room.
    """

    receiver: str
    fields: Mapping[str, Raw]
    content: Mapping[str, Raw]

    @property
    def asks_to_join(self) -> bool:
        """Whether it is a request to take part in a room."""
        return is_true(self.content.get("newParticipationRequest"))

    @property
    def says_goodbye(self) -> bool:
        """Whether its sender leaves the receiver."""
        return is_true(self.content.get("userLeft"))

    def envelope(self, sender: str, receiver: str = "", extra: bytes = b"") -> Publish:
        """Return the message for a receiver, or for all of the room; ids are escaped. Raises `BadFrame`."""
        fields = dict(self.fields) | {"sender": Raw(_encode(unescape(sender)))}
        if extra:
            fields["extra"] = Raw(extra)
        return _publish(CHANNEL, _encode(fields), receiver)


def read_content(fields: Mapping[str, Raw]) -> Mapping[str, Raw]:
    """Return the fields of a signal's `message`; none if it is no object."""
    try:
        return _fields.decode(fields.get("message", Raw(b"{}")))
    except msgspec.MsgspecError:
        return {}


def extra_changed(extra: bytes) -> Publish:
    """Return the message that tells a room of the extra data of its sender."""
    return _publish(EXTRA_CHANNEL, extra)


def notice(content: Notice, receiver: str = "") -> Publish:
    """Return a notice; the receiver's id is escaped."""
    return _publish(CONTROL_CHANNEL, _encode(content), receiver)


def read_signal(envelope: bytes, sender: str, receiver: str) -> tuple[PageSignal, Mapping[str, Raw]] | None:
    """Read a signal from a room; returns it and the fields that the page of the receiver gets. Ids are escaped.

    None for a message of the channel that is no signal.
    """
    try:
        found = _envelope.decode(envelope)
        fields = {} if found.message is UNSET else _fields.decode(found.message)
    except msgspec.MsgspecError:
        return None
    if fields.get("message", _NULL) == _NULL:
        # Pages read fields of it, and JavaScript has none of null.
        return None
    signal = PageSignal(receiver, fields, read_content(fields))
    named = signal.content.get("allParticipants", _NULL)
    if is_true(named) and not _lists_peers(named):
        # Pages look for user ids in it.
        return None
    vouched = {"sender": Raw(_encode(unescape(sender))), "remoteUserId": Raw(_encode(unescape(receiver)))}
    return signal, {**fields, **vouched}


def _lists_peers(value: Raw) -> bool:
    """Whether the participants that a signal names are a list of user ids."""
    try:
        _peers.decode(value)
    except msgspec.MsgspecError:
        return False
    return True


def read_extra_changed(envelope: bytes) -> bytes:
    """Read the extra data of a message from a room; b"" if it has none."""
    try:
        found = _envelope.decode(envelope)
    except msgspec.MsgspecError:
        return b""
    return b"" if found.message is UNSET else bytes(found.message)


def read_notice(envelope: bytes) -> Notice:
    """Read a notice from a room; one that cannot be read says nothing, nor does one with an id that no peer has."""
    try:
        found = _notice.decode(envelope).message
        # Any member can write it: another form of an id would be another id to pages.
        is_peer = not found.renamed or escape_peer(unescape(found.renamed)) == found.renamed
    except (msgspec.MsgspecError, Refused):
        return Notice()
    return found if is_peer else Notice()


def _publish(channel: str, message: bytes, receiver: str = "") -> Publish:
    to = b'"to":"%b",' % receiver.encode("ascii") if receiver else b""
    envelope = b'{%b"channel":"%b","message":%b}' % (to, channel.encode("ascii"), message)
    if nests_deeper(envelope):
        raise too_deep("")
    return Publish(envelope, (receiver,) if receiver else (), channel)
