"""The fields of an envelope that the relay reads, as msgspec decodes them."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from relay.model.channels import Label

MAX_ADDRESSEES = 100
MAX_KEY = 64

Key = Annotated[str, Meta(max_length=MAX_KEY)]


class EnvelopeHead(Struct):
    """The fields of an envelope that the relay reads; of all others it only checks that they are JSON.

    Reserved fields are `Raw`: whether they are there is all that counts, not their type.
    """

    type: Raw | UnsetType = UNSET
    sender: Raw | UnsetType = msgspec.field(name="from", default=UNSET)
    id: Raw | UnsetType = UNSET
    room: Raw | UnsetType = UNSET
    to: str | Annotated[list[str], Meta(min_length=1, max_length=MAX_ADDRESSEES)] | None = None
    key: Key | None = None


class LabelledHead(EnvelopeHead):
    """The fields of an envelope whose channel is a label, or that has none."""

    channel: Label | None = None


class UnlabelledHead(EnvelopeHead, kw_only=True):
    """The fields of an envelope whose channel is an object or an array, which is no label."""

    channel: dict[str, Raw] | list[Raw]


class TypedHead(Struct):
    """The one field that makes an object a command."""

    type: Raw | UnsetType = UNSET


class EnvelopeFields(TypedHead):
    """The fields of `EnvelopeHead` as they are written, unread."""

    sender: Raw | UnsetType = msgspec.field(name="from", default=UNSET)
    id: Raw | UnsetType = UNSET
    room: Raw | UnsetType = UNSET
    to: Raw | UnsetType = UNSET
    key: Raw | UnsetType = UNSET
    channel: Raw | UnsetType = UNSET
