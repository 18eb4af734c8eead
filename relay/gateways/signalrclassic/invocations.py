"""Reads calls of hub methods, `{"H": hub, "M": method, "A": [arguments], "I": number}`, and writes their results."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from relay.gateways.base.plain_envelope import channel_of
from relay.gateways.signalrclassic.errors import BadInvocation
from relay.gateways.signalrclassic.hubs import ClassicHubs, HubMethod, unresolved_hub, unresolved_method
from relay.model.commands import NO_IDENTITY, Publish
from relay.model.errors import RelayError
from relay.model.explanations import explain, explain_encoding
from relay.model.json_text import MAX_NESTING, check_nesting, nests_deeper, without_lone_surrogates

MAX_ARGUMENTS: Final = 64
_NOT_HUB_EXCEPTIONS: Final = frozenset({"no_such_hub", "no_such_method"})
"""Errors that the original does not mark as those of a hub's own code."""


class _Invocation(Struct):
    hub: Annotated[str, Meta(max_length=256)] = msgspec.field(name="H")
    method: Annotated[str, Meta(max_length=256)] = msgspec.field(name="M")
    arguments: Annotated[list[Raw], Meta(max_length=MAX_ARGUMENTS)] = msgspec.field(name="A", default_factory=list)
    number: int | Annotated[str, Meta(max_length=64)] | None = msgspec.field(name="I", default=None)


class _Numbered(Struct):
    number: int | Annotated[str, Meta(max_length=64)] | None = msgspec.field(name="I", default=None)


_invocation: Final = msgspec.json.Decoder(_Invocation)
_numbered: Final = msgspec.json.Decoder(_Numbered)
_text: Final = msgspec.json.Decoder(str)
_encode: Final = msgspec.json.Encoder().encode


def read_invocation(data: bytes, hubs: ClassicHubs) -> Publish:
    """Return the command of a call; its key is the call's number, "" if it has none.

    A lone surrogate in a string does not fail the call: U+FFFD takes its place. Raises `BadInvocation`.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise BadInvocation("bad_json", explain_encoding(error), about="invocation") from None
    check_nesting(data)
    try:
        return _read(data, hubs)
    except msgspec.ValidationError as error:
        raise BadInvocation("bad_command", explain(error), about="invocation", key=_number_of(data)) from None
    except msgspec.DecodeError as error:
        raise BadInvocation("bad_json", explain(error), about="invocation") from None


def result(key: str) -> bytes:
    """Write that a call has succeeded, without a value."""
    return b'{"I":%b}' % _encode(key)


def failure(key: str, code: str, text: str, detail: dict[str, object]) -> bytes:
    """Write the error of a call; with the key "", one that belongs to no call, which clients log at most."""
    fields: dict[str, Any] = {"I": key, "E": text}
    if code not in _NOT_HUB_EXCEPTIONS:
        fields |= {"H": True, "D": {"code": code, **detail}}
    return _encode(fields)


def failed(key: str, error: RelayError) -> bytes:
    """As `failure`."""
    return failure(key, error.code, error.text, dict(error.detail))


def _read(data: bytes, hubs: ClassicHubs) -> Publish:
    try:
        call = _invocation.decode(data)
        text = _text.decode(call.arguments[0]) if _is_one_string(call) else None
    except msgspec.DecodeError as error:
        repaired = without_lone_surrogates(data)
        if isinstance(error, msgspec.ValidationError) or repaired == data:
            raise
        return _read(repaired, hubs)
    key = "" if call.number is None else str(call.number)
    hub = hubs.find(call.hub)
    if hub is None:
        raise BadInvocation("no_such_hub", unresolved_hub(call.hub), about="invocation", key=key)
    method = hub.method(call.method)
    if method is None or (method.takes_messages and len(call.arguments) != 1):
        raise BadInvocation("no_such_method", unresolved_method(call.method), about="invocation", key=key)
    if method.takes_messages:
        return _broadcast(method, bytes(call.arguments[0]) if text is None else text.encode(), call.arguments, key)
    return _event(method, call.arguments, key)


def _is_one_string(call: _Invocation) -> bool:
    return len(call.arguments) == 1 and bytes(call.arguments[0]).startswith(b'"')


def _broadcast(method: HubMethod, envelope: bytes, arguments: list[Raw], key: str) -> Publish:
    """Publish the object that the one argument is, or has as text; any other value as an event."""
    channel = channel_of(envelope)
    if channel is None and b"\\u" in envelope:
        envelope = without_lone_surrogates(envelope)
        channel = channel_of(envelope)
    if channel is None:
        return _event(method, arguments, key)
    return Publish(envelope, (), channel, key, identity=NO_IDENTITY)


def _event(method: HubMethod, arguments: list[Raw], key: str) -> Publish:
    """Publish an event in the form that it has in all protocols with events."""
    values = b",".join([bytes(value) for value in arguments])
    envelope = b'{"event":%b,"args":[%b]}' % (_encode(method.calls), values)
    if nests_deeper(envelope):
        raise BadInvocation("bad_json", f"nested more than {MAX_NESTING} levels deep", about="invocation", key=key)
    return Publish(envelope, key=key, identity=NO_IDENTITY)


def _number_of(data: bytes) -> str:
    """Return the number of a call that has another fault."""
    try:
        number = _numbered.decode(data).number
    except msgspec.MsgspecError:
        return ""
    return "" if number is None else str(number)
