"""The system's limit of open files, within which a worker's connections must fit."""

import contextlib
import logging
import resource
from typing import Final

import msgspec

from relay.config import Settings

log = logging.getLogger("relay.process.open_files")

_OTHER_FILES: Final = 256
"""Files of a worker beside its clients' connections, at most: listeners, Redis, requests for health and metrics."""


def within_open_files(settings: Settings) -> Settings:
    """Raise the limit of open files so that `max_connections` fit; where that fails, lower `max_connections`.

    The relay then refuses further clients with `worker_full`, so that a load balancer tries another worker. One address
    keeps to three quarters of them, so that it cannot take them all.
    """
    # A forwarded request takes one more file on the worker that forwards it, and one on the other worker. Idle HTTP
    # connections are those of one address here: where more come, the oldest are closed for them.
    forwards = settings.workers > 1 or bool(settings.forward_listen)
    needed = settings.max_connections * (3 if forwards else 1) + settings.http_connections_per_address + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
            soft = needed
    if soft == resource.RLIM_INFINITY or soft >= settings.max_connections + _OTHER_FILES:
        return settings
    lowered = max(1, soft - _OTHER_FILES)
    per_address = min(settings.connections_per_address, max(1, lowered * 3 // 4))
    also = f", and connections_per_address to {per_address}" if per_address < settings.connections_per_address else ""
    log.warning(
        "max_connections is lowered from %d to %d%s: the system allows %d open files; raise that limit (ulimit -n, or "
        "LimitNOFILE= of systemd) for more connections",
        settings.max_connections,
        lowered,
        also,
        soft,
    )
    return msgspec.structs.replace(settings, max_connections=lowered, connections_per_address=per_address)


def files_for_clients() -> int | None:
    """Return with how many files open a new connection takes the place of an idle one; None if there is no limit.

    The files above are for Redis, for other workers, and for the admin port.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft - min(_OTHER_FILES // 2, soft // 8)
