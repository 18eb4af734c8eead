"""Resources: which kinds of media a member sends, which other members read in its member info.

A client that joins a room calls each member once for each kind that is true. SignalMaster's own members begin with the
video alone: that one call carries the sound as well.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

FIELD: Final = "simplewebrtc"
"""The field of a member info that has the resources; members without it are not called."""


class Resources(Struct, frozen=True):
    """The kinds of media, each true if a newcomer is to call the member for it."""

    screen: bool = False
    video: bool = True
    audio: bool = False

    def as_info(self) -> bytes:
        """Return the member info of a client with these resources."""
        return msgspec.json.encode({FIELD: self})


class _Info(Struct):
    resources: dict[str, Raw] | UnsetType = msgspec.field(name=FIELD, default=UNSET)


_info = msgspec.json.Decoder(_Info)


def read_resources(info: bytes) -> Resources | None:
    """Return the resources in a member info; None for a member without any.

    Clients of other protocols write infos themselves: a kind is true only if it is given as true.
    """
    if not info:
        return None
    try:
        found = _info.decode(info).resources
    except msgspec.ValidationError:
        return None
    return None if found is UNSET else Resources(*(_is_true(found, kind) for kind in Resources.__struct_fields__))


def _is_true(resources: Mapping[str, Raw], kind: str) -> bool:
    return bytes(resources.get(kind, b"")) == b"true"
