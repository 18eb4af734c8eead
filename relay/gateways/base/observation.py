"""Decides how much of a room a client may observe, for all gateways."""

from collections.abc import Sequence

from starlette.types import Scope

from relay.gateways.base.join_request import ObserveRequest
from relay.http_request import header
from relay.identity import has_admin_token
from relay.model.errors import Refused
from relay.rooms.observer import Sight
from relay.rooms.worker import Worker

CREDENTIALS = "token."
"""First part of a subprotocol with a token: a page cannot set headers of a WebSocket, but can offer subprotocols."""


def read_observe_request(
    scope: Scope, room: str, *, presence: bool, messages: bool, channels: Sequence[str] | None = None
) -> ObserveRequest:
    """Return the request to observe a room, with the sight that the client may have.

    Raises `Refused`: `unauthorized` for a wrong token, and for a client without one that asks for messages; `forbidden`
    where there is no admin token that would allow them.
    """
    sight = sight_of(scope)
    if messages and sight is Sight.COUNTS:
        worker: Worker = scope["state"]["worker"]
        if not worker.settings.admin_token:
            raise Refused(
                "forbidden",
                "observing messages is off, and the setting admin-token turns it on; "
                "presence can be observed without it",
            )
        raise Refused("unauthorized", f"observing messages needs the admin token: Authorization: Bearer TOKEN, or the "
                      f"subprotocol {CREDENTIALS}TOKEN")  # fmt: skip
    return ObserveRequest(room, sight, presence=presence, messages=messages, channels=channels)


def sight_of(scope: Scope) -> Sight:
    """Return how much the client of a request may see of rooms that it observes: all with the admin token, else counts.

    The token comes in the header `Authorization: Bearer TOKEN`, or as the subprotocol `token.TOKEN`. Raises `Refused`
    (`unauthorized`) if it is wrong. Without an admin token in the settings, tokens are ignored.
    """
    worker: Worker = scope["state"]["worker"]
    offered = (name.removeprefix(CREDENTIALS) for name in scope.get("subprotocols", ()) if name.startswith(CREDENTIALS))
    authorization = header(scope, b"authorization")
    known = has_admin_token(worker.settings.admin_token, authorization, otherwise=next(offered, None))
    return Sight.EVERYTHING if known else Sight.COUNTS
