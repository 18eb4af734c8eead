"""Writes values whose increments are added to the values that are there."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from relay.gateways.firebase.places import TreePlace
from relay.model.errors import Refused
from relay.model.tree import contents_of, has_increments, with_increments
from relay.model.tree_changes import Expected, TreeChange, TreePart

_MOST_ATTEMPTS: Final = 25
"""How often an increment is tried against the writes of others; of those that are tried together, one succeeds."""


async def write_value(
    place: TreePlace,
    value: Any,
    make: Callable[[Any], TreeChange],
    read: Callable[[], Awaitable[TreePart]],
    write: Callable[[TreeChange, Expected | None], Awaitable[None]],
) -> None:
    """Write the change that `make` makes of a value; with increments, only over the values to which they were added.

    `read` reads the place, and `write` makes the change. Raises `Refused`: `stale_value` if others change the values
    all the time, and the errors of the functions.
    """
    if not has_increments(value):
        await write(make(value), None)
        return
    for _ in range(_MOST_ATTEMPTS):
        part = await read()
        change = make(incremented(part, place, value))
        try:
            await write(change, Expected(place.path, contents_of(part.leaves)))
        except Refused as error:
            if error.code != "stale_value":
                raise
        else:
            return
    raise Refused("stale_value")


def incremented(part: TreePart, place: TreePlace, value: Any) -> Any:
    """Return a value with its increments added to the values of a part of a tree."""
    leaves = dict(part.leaves)

    def current(path: str) -> Any:
        return msgspec.json.decode(leaves[path]) if path in leaves else None

    return with_increments(value, place.path, current)
