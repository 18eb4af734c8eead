"""The commands of the native protocol as clients write them, decoded by msgspec."""

from typing import Annotated

from msgspec import Meta, Raw, Struct

from relay.gateways.native.topics import MAX_TOPICS
from relay.model.channels import Label
from relay.model.commands import MAX_LISTED
from relay.model.envelope_head import Key
from relay.model.rules import MAX_PASSWORD

Channels = Annotated[list[Label], Meta(max_length=1000)]
Topics = Annotated[list[str], Meta(max_length=MAX_TOPICS)]


class _Command(Struct, tag_field="type"):
    key: Key = ""
    room: str = ""


class JoinCommand(_Command, tag="join"):
    """Join one more room."""

    resume: Key = ""
    since: str = ""
    echo: bool = False
    presence: bool = False
    channels: Channels | None = None
    info: Raw = Raw(b"null")
    password: Annotated[str, Meta(max_length=MAX_PASSWORD)] = ""


class LeaveCommand(_Command, tag="leave"):
    """Leave a room."""


class PublishCommand(_Command, tag="publish"):
    """Publish an envelope in the room, or `data` to a topic."""

    envelope: Raw = Raw(b"")
    after: Key = ""
    topic: str = ""
    data: Raw = Raw(b"")


class SubscribeCommand(_Command, tag="subscribe"):
    """Subscribe to channels of the room, or to topics."""

    channels: Annotated[Channels, Meta(min_length=1)] | None = None
    topics: Topics | None = None


class UnsubscribeCommand(_Command, tag="unsubscribe"):
    """Unsubscribe from channels or topics; without either, from all channels."""

    channels: Channels | None = None
    topics: Topics | None = None


class InfoCommand(_Command, tag="info", kw_only=True):
    """Change the member's info."""

    info: Raw


class PresenceCommand(_Command, tag="presence"):
    """Ask for the members of the room."""

    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED)] | None = None


class PingCommand(_Command, tag="ping"):
    """Ask for a pong."""


class RefreshCommand(_Command, tag="refresh", kw_only=True):
    """Replace the client's token."""

    token: Annotated[str, Meta(min_length=1)]


class CommandType(Struct):
    """The field of a command that says which one it is."""

    type: str = ""


class CommandHead(Struct):
    """The fields of a command which an error about it repeats."""

    type: str = ""
    key: Key = ""


OwnCommand = (
    JoinCommand
    | LeaveCommand
    | PublishCommand
    | SubscribeCommand
    | UnsubscribeCommand
    | InfoCommand
    | PresenceCommand
    | PingCommand
    | RefreshCommand
)
