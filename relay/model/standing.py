"""How a member of a room stands: whether its connection is lost, and whether its worker is alive."""

from typing import NamedTuple


class Standing(NamedTuple):
    """Whether a member is held, and when the lease of its worker ends (ms, on Redis's clock; 0 if that lease is gone).

    Each heartbeat of a worker moves the end of its lease: so a worker whose lease ends later than before is alive.
    """

    held: bool
    lease_end: float
