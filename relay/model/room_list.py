"""Pages of the list of all rooms."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class RoomQuery:
    """Which rooms a page has: up to `limit` whose names begin with `prefix` and sort after `after`; "" for all."""

    prefix: str = ""
    after: str = ""
    limit: int = 100


FIRST_ROOMS: Final = RoomQuery()


@dataclass(frozen=True, slots=True)
class RoomPage:
    """Rooms with members, with their number, sorted by name.

    `next` continues the list as the next query's `after`; "" on the last page. A page may have fewer rooms than its
    limit, or none, and still have a `next`. `total` is the number of rooms that begin with the prefix; on a list of
    several pages, a room counts once for each worker that has members of it. `missing` says, for operators, why rooms
    are missing, because a part of Redis did not answer; "" if none are.
    """

    rooms: list[tuple[str, int]]
    next: str
    total: int
    missing: str = ""
