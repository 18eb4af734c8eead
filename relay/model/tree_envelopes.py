"""The envelopes that tell of changes of a room's tree, and reading them.

`{"channel":"chat","message":VALUE,"key":"KEY","path":"chat/KEY"}`: the value at the path is this one now (`null` for
none). Channel and key are there if it may be a message for clients of other protocols.
`{"path":"chat","children":{"a/b":VALUE}}`: the values at these paths below it are these.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from relay.model.envelope_head import MAX_KEY

_json = msgspec.json.Encoder()


class ReadChange(NamedTuple):
    """A change as the envelope tells of it: the `value` at the path, or that of each of its `children`, as JSON."""

    path: str
    value: bytes | None
    children: Mapping[str, bytes]


class _Envelope(Struct):
    path: str = ""
    message: Raw = Raw(b"null")
    children: dict[str, Raw] | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Envelope).decode


def set_envelope(path: str, value: object, channel: str | None = None) -> bytes:
    """Write that a path has this value; with a `channel`, it may be a message."""
    fields: dict[str, object] = {} if channel is None else {"channel": channel}
    fields["message"] = value
    key = path.rpartition("/")[2]
    if channel is not None and len(key) <= MAX_KEY:
        fields["key"] = key
    fields["path"] = path
    return _json.encode(fields)


def merge_envelope(path: str, children: Mapping[str, object]) -> bytes:
    """Write that these paths below a path have these values."""
    return _json.encode({"path": path, "children": children})


def removal(paths: Sequence[str]) -> bytes:
    """Write that these paths of the room have no value any more."""
    return merge_envelope("", dict.fromkeys(paths))


def read_change(envelope: bytes) -> ReadChange:
    """Read such an envelope; raises ValueError for another one."""
    found = _decode(envelope)
    if found.children is not UNSET:
        return ReadChange(found.path, None, {path: bytes(value) for path, value in found.children.items()})
    return ReadChange(found.path, bytes(found.message), {})
