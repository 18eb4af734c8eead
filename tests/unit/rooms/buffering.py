"""Buffers of a worker, and a client that opens some."""

from collections.abc import Callable
from typing import Any

from relay.metrics import Metrics
from relay.rooms.buffers import Buffer, Buffers


class Client:
    """A client of one address; its buffers are counted in `buffers`."""

    def __init__(self, address: str = "here", buffers: Buffers | None = None, **limits: Any) -> None:
        self.address = address
        self.buffers = buffers or make_buffers(**limits)

    def buffer(self, drop: Callable[[], None]) -> Buffer:
        return self.buffers.open(self.address, drop)

    @property
    def total(self) -> int:
        return self.buffers.everything.total


def make_buffers(
    *, address_limit: int = 1_000_000, worker_limit: int = 2_000_000, metrics: Metrics | None = None
) -> Buffers:
    return Buffers(
        address_limit=address_limit, worker_limit=worker_limit, metrics=metrics or Metrics(), clock=lambda: 0.0
    )
