"""The common state of the HTTP connections of one listener."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from relay.wire.gate import Gate, PeerGuard
from relay.wire.limits import WireLimits
from relay.wire.timeouts import Timeouts

PROGRESS: Final = 65_536
"""Bytes of a body or of an answer that a slow client must move in each `request_timeout`."""

KEPT_UNCOUNTED: Final = 8192
"""Bytes of a request that may wait without being counted."""


@dataclass(frozen=True, slots=True)
class HttpListener:
    """The common state of the HTTP connections of one listener.

    A client has `request_timeout` seconds for each step, which `timeouts` count; `on_timeout` is called when it takes
    longer. `guard` and `gate` decide which connections are admitted; None for all.
    """

    config: Config
    server_state: ServerState
    app_state: dict[str, Any]
    limits: WireLimits
    request_timeout: float
    timeouts: Timeouts
    on_timeout: Callable[[], None]
    guard: PeerGuard | None = None
    gate: Gate | None = None
