"""Decides whether a handshake may go on, while a plain HTTP status can still answer it."""

from relay.model.errors import Refused
from relay.rooms.worker import Worker


def admit(worker: Worker, origin: str | None, address: str) -> None:
    """Let a handshake go on, and count a connection against its address until `worker.addresses.release(address)`.

    `origin` is the `Origin` header of a browser's request; other clients send none, and are not restricted by it.
    Raises `Refused`: `bad_origin`, `unavailable`, `worker_full`, `too_many_connections` or `too_many_handshakes`.
    """
    allowed = worker.settings.allowed_origins
    if origin is not None and "*" not in allowed and origin not in allowed:
        raise Refused("bad_origin")
    if not worker.accepts_clients:
        raise Refused("unavailable")
    if worker.full:
        raise Refused("worker_full")
    # Last, because only this counts something: the checks before it can refuse without undoing anything.
    code = worker.addresses.admit(address)
    if code:
        raise Refused(code)
