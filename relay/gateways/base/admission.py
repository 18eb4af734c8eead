"""Decides whether a handshake may go on, while a plain HTTP status can still answer it."""

from starlette.types import Scope

from relay import http_request
from relay.rooms.admissions import Ticket
from relay.rooms.worker import Worker


def admit(scope: Scope, protocol: str) -> Ticket:
    """Admit the client of a handshake; the ticket counts it against its address until it is released.

    `protocol` is the name of the gateway. Clients whose address the server does not know, such as those behind a unix
    socket, have the address "": limits of one worker count them as one, and those of the fleet do not count them.
    Raises `Refused`: `bad_origin`, `unavailable`, `worker_full`, `too_many_connections` or `too_many_handshakes`.
    """
    worker: Worker = scope["state"]["worker"]
    check_origin(scope)
    return worker.admit(http_request.counted_client(scope), protocol)


def check_origin(scope: Scope) -> None:
    """Raise `Refused` (`bad_origin`) for a page of an origin that `allowed-origins` does not list.

    A gateway calls it for each request: not only the first, because a session's later ones may come from another page.
    """
    worker: Worker = scope["state"]["worker"]
    http_request.check_origin(scope, worker.origins)
