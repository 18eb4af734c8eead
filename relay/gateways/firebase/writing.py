"""Writes values whose increments are added to the values that are there."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from relay.gateways.firebase.places import TreePlace
from relay.model.errors import Refused
from relay.model.tree import contents_of, has_increments, read_path, with_increments
from relay.model.tree_changes import Expected, TreeChange, TreePart

_MOST_ATTEMPTS: Final = 25
"""How often an increment is tried against the writes of others; of those that are tried together, one succeeds."""


Turn = Callable[[Callable[[], object]], Awaitable[None]]
"""Calls a function in its turn among those that take long."""


async def make_in_turn(make: Callable[[Any], TreeChange], value: Any, turn: Turn | None) -> TreeChange:
    """Make a change of a value; that of a large value takes a `turn`, as it takes the worker milliseconds."""
    if turn is None:
        return make(value)
    made: list[TreeChange] = []
    await turn(lambda: made.append(make(value)))
    return made[0]


async def write_value(
    place: TreePlace,
    value: Any,
    make: Callable[[Any], TreeChange],
    read: Callable[[], Awaitable[TreePart]],
    write: Callable[[TreeChange, Expected | None], Awaitable[None]],
    turn: Turn | None = None,
) -> None:
    """Write the change that `make` makes of a value; with increments, only over the values to which they were added.

    `read` reads the place, and `write` makes the change; `turn` is as in `make_in_turn`. Raises `Refused`:
    `stale_value` if others change the values all the time, and the errors of the functions.
    """
    if not has_increments(value):
        await write(await make_in_turn(make, value, turn), None)
        return
    for _ in range(_MOST_ATTEMPTS):
        part = await read()
        change = await make_in_turn(make, incremented(part, place, value), turn)
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

    def current(text: str) -> Any:
        # The keys of an update are paths as the client writes them, perhaps with a slash at their beginning.
        path = "/".join(read_path(text))
        return msgspec.json.decode(leaves[path]) if path in leaves else None

    return with_increments(value, place.path, current)
