"""Who may connect at all: decided before the upgrade, when a plain HTTP status can still answer."""

from relay.rooms.worker import Worker


def refusal(worker: Worker, origin: str | None, address: str) -> str:
    """The error code with which a handshake is refused, or "" when it may go on.

    A handshake that may go on is counted against its address until `worker.addresses.release`.
    """
    allowed = worker.settings.allowed_origins
    if origin is not None and "*" not in allowed and origin not in allowed:
        return "bad_origin"
    if not worker.accepts_clients:
        return "unavailable"
    if worker.full:
        return "worker_full"
    return worker.addresses.admit(address)
