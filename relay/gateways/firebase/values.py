"""Values that clients read: of a part of a tree, and as the REST interface writes them."""

import re
from typing import Any, Final

import msgspec
from msgspec import Raw

from relay.gateways.firebase.places import TreePlace
from relay.model.tree import PRIORITY, VALUE, hash_of, value_at
from relay.model.tree_changes import TreePart

_PRESENT: Final = True
"""The value of a room that has members and an empty tree: it has no child, and names nobody."""

_EMPTY_HASHES: Final = frozenset({"", hash_of(_PRESENT)})
"""Hashes of a client that knows of no tree in a room."""

_INDEX: Final = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)


def value_of(part: TreePart, place: TreePlace) -> Any:
    """Return a value, as `relay.model.tree.value_at` does; of a room without a tree, whether it has members."""
    value = value_at(part.leaves, place.path)
    return _PRESENT if value is None and not place.path and part.members else value


def knows(part: TreePart, place: TreePlace, digest: str) -> bool:
    """Return whether a client whose value has this hash knows the present one."""
    value = value_at(part.leaves, place.path)
    if value is None and not place.path:
        return digest in _EMPTY_HASHES
    return hash_of(value) == digest


def plain(value: Any) -> Any:
    """Return a value without priorities; an object most of whose keys are the indexes of an array is one."""
    if isinstance(value, Raw):
        return msgspec.json.decode(value)
    if not isinstance(value, dict):
        return value
    if VALUE in value:
        return plain(value[VALUE])
    children = {key: plain(child) for key, child in value.items() if key != PRIORITY}
    indexes = [int(key) for key in children if _INDEX.fullmatch(key)]
    # As in Firebase: more than half of the places of the array have a value.
    if not children or len(indexes) < len(children) or 2 * len(indexes) <= max(indexes):
        return children
    return [children.get(str(index)) for index in range(max(indexes) + 1)]


def shallow(value: Any) -> Any:
    """Return a value with `true` in place of each child."""
    if isinstance(value, dict) and VALUE not in value:
        return {key: True for key in value if key != PRIORITY}
    return plain(value)
