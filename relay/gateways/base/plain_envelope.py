"""Objects of JSON that can be relayed as envelopes just as they are: without a field that means something to the relay.

Protocols that carry any value wrap all others, so that a value never becomes a direct message or an error by chance.
"""

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from relay.model.channels import SHORT_LABEL, Label, label
from relay.model.errors import Refused
from relay.model.json_text import SHALLOW_BYTES, nests_deeper


class _Envelope(Struct):
    """An object that can be relayed as an envelope without change: it has none of these fields but the channel."""

    type: Raw | UnsetType = UNSET
    sender: Raw | UnsetType = msgspec.field(name="from", default=UNSET)
    id: Raw | UnsetType = UNSET
    room: Raw | UnsetType = UNSET
    to: Raw | UnsetType = UNSET
    key: Raw | UnsetType = UNSET
    event: Raw | UnsetType = UNSET
    channel: Label | dict[str, Raw] | list[Raw] | None = None


_envelope: Final = msgspec.json.Decoder(_Envelope)


def channel_of(data: bytes) -> str | None:
    """Return the channel of an object that can be relayed as an envelope, and None for everything else."""
    if len(data) > SHALLOW_BYTES and nests_deeper(data):
        return None
    try:
        head = _envelope.decode(data)
    except msgspec.MsgspecError:
        return None
    if (
        head.type is UNSET
        and head.sender is UNSET
        and head.id is UNSET
        and head.room is UNSET
        and head.to is UNSET
        and head.key is UNSET
        and head.event is UNSET
    ):
        # Nearly all channels are short text, which is its own label.
        if type(head.channel) is str and len(head.channel) <= SHORT_LABEL:
            return head.channel
        return _label(head.channel)
    return None


def _label(channel: Label | dict[str, Raw] | list[Raw] | None) -> str | None:
    if isinstance(channel, dict | list):
        return ""
    try:
        return label(channel)
    except Refused:
        # A channel that is too long for an envelope still reaches clients of the same protocol, in a wrapped value.
        return None
