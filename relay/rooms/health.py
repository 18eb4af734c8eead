"""The health of one worker: what is checked, and when clients may be sent to it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: whether it is as it should be, and in words how it is."""

    ok: bool
    text: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """A worker's state; `ready` when clients may be sent to it. `uptime` is in seconds."""

    ready: bool
    worker: str
    version: str
    uptime: float
    rooms: int
    connections: int
    draining: bool
    checks: dict[str, Check]
