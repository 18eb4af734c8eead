"""Reads the messages in the body of a request; each is checked by itself, so that a bad one harms no other."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from relay.gateways.websync.channels import MAX_CHANNEL
from relay.model.errors import Refused
from relay.model.explanations import explain, explain_encoding
from relay.model.json_text import check_nesting, without_lone_surrogates

MAX_MESSAGES: Final = 100
"""Messages in one request."""

MAX_ID: Final = 64
MAX_TAG: Final = 255
"""Characters of the tag of a subscription, which a session keeps."""

MAX_RECORDS: Final = 16
"""Records in one message; those of a client must fit into its member info in any case."""

MAX_SUBSCRIPTIONS: Final = 64
"""Channels in one message."""

_Text = Annotated[str, Meta(max_length=2048)]
_Channel = Annotated[str, Meta(min_length=2, max_length=MAX_CHANNEL + 32)]


class Record(Struct, omit_defaults=True):
    """A record that a client binds to itself; a `private` one is not shown to others."""

    key: Annotated[str, Meta(min_length=1, max_length=MAX_CHANNEL)]
    value: Raw | UnsetType = UNSET
    private: bool | None = None


class ClientMessage(Struct, rename="camel"):
    """A message as a client sends it; `id` is the text or number that its reply repeats."""

    channel: _Channel
    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)] | int | None = None
    client_id: _Text = ""
    data: Raw | UnsetType = UNSET
    ext: dict[str, Raw] | None = None
    binding: Annotated[list[Record], Meta(max_length=MAX_RECORDS)] | Record | None = None
    subscription: Annotated[list[_Text], Meta(max_length=MAX_SUBSCRIPTIONS)] | _Text | None = None
    supported_connection_types: Annotated[list[_Text], Meta(max_length=8)] | None = None

    def text(self, name: str) -> str:
        """Return an extension that is text; "" if there is none."""
        return _text(self.ext.get(name)) if self.ext else ""

    @property
    def session_id(self) -> str:
        """The client's session id; "" if there is none."""
        return self.text("fm.sessionId")

    @property
    def acknowledges(self) -> bool:
        """Whether the client has received the messages in the last answer to a connect."""
        return self.ext is None or bytes(self.ext.get("fm.ack", b"true")) != b"false"

    @property
    def tag(self) -> str | None:
        """The tag of a subscription, by which a client tells several of one channel apart; None if it gives none."""
        return _text(self.ext["fm.tag"]) if self.ext and "fm.tag" in self.ext else None

    @property
    def channels(self) -> Sequence[str]:
        """The channels of a subscription."""
        named = self.subscription
        return () if named is None else [named] if isinstance(named, str) else named

    @property
    def records(self) -> Sequence[Record]:
        """The records of a binding."""
        bound = self.binding
        return () if bound is None else [bound] if isinstance(bound, Record) else bound


class BadMessage(Struct):
    """A message that cannot be read, with those of its fields that its reply needs."""

    error: Refused
    id: Any = None
    channel: str = ""


class _Head(Struct):
    id: Annotated[str, Meta(max_length=MAX_ID)] | int | None = None
    channel: _Text = ""


_arrays: Final = msgspec.json.Decoder(Annotated[list[Raw], Meta(max_length=MAX_MESSAGES)])
_messages: Final = msgspec.json.Decoder(ClientMessage)
_heads: Final = msgspec.json.Decoder(_Head)
_texts: Final = msgspec.json.Decoder(str)


def read_messages(body: bytes) -> Sequence[ClientMessage | BadMessage]:
    """Return the messages of a body, which is an array; raises `Refused` (`bad_json`) for anything else."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Refused("bad_json", explain_encoding(error)) from None
    check_nesting(body)
    if b"\\u" in body:
        body = without_lone_surrogates(body)
    try:
        parts = _arrays.decode(body)
    except msgspec.MsgspecError as error:
        raise Refused(
            "bad_json", f"a request is an array of at most {MAX_MESSAGES} messages: {explain(error)}"
        ) from None
    return [_message(part) for part in parts]


def _message(part: Raw) -> ClientMessage | BadMessage:
    try:
        return _messages.decode(part)
    except msgspec.MsgspecError as error:
        refused = Refused("bad_command", explain(error))
        try:
            head = _heads.decode(part)
        except msgspec.MsgspecError:
            return BadMessage(refused)
        return BadMessage(refused, head.id, head.channel)


def _text(raw: Raw | None) -> str:
    if raw is None:
        return ""
    try:
        return _texts.decode(raw)
    except msgspec.MsgspecError:
        return ""
