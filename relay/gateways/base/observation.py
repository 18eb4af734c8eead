"""Decides how much of a room a client may observe without a token of its own, for all gateways."""

from collections.abc import Sequence

from starlette.types import Scope

from relay.gateways.base.credentials import TOKEN_SUBPROTOCOL, offered_token, read_token
from relay.gateways.base.gateway import TokenFields
from relay.gateways.base.join_request import ObserveRequest
from relay.http_request import counted_client, header
from relay.model.errors import Refused
from relay.rooms.observer import Sight
from relay.rooms.worker import Worker


def read_observe_request(
    scope: Scope,
    room: str,
    fields: TokenFields,
    *,
    presence: bool,
    messages: bool,
    channels: Sequence[str] | None = None,
) -> ObserveRequest:
    """Return the request to observe a room, with the sight that the client may have.

    If auth is on, and the client has a token (in one of the `fields`), the session's guard decides. Otherwise only
    the admin token shows more than counts. Raises `Refused`: `unauthorized` for a wrong admin token, and for a client
    without one that asks for messages; `forbidden` if there is no admin token that would allow them.
    """
    worker: Worker = scope["state"]["worker"]
    token = read_token(scope, fields)
    sight = Sight.COUNTS if token else sight_of(scope)
    # A token is asked for first where every client needs one.
    if messages and sight is Sight.COUNTS and not token and not worker.authority.is_required:
        if not worker.admin_token.is_set:
            raise Refused(
                "forbidden",
                "observing messages is off, and the setting admin-token turns it on; "
                "presence can be observed without it",
            )
        raise Refused("unauthorized", f"observing messages needs the admin token: Authorization: Bearer TOKEN, or the "
                      f"subprotocol {TOKEN_SUBPROTOCOL}TOKEN")  # fmt: skip
    return ObserveRequest(room, sight, presence=presence, messages=messages, channels=channels, token=token)


def sight_of(scope: Scope) -> Sight:
    """Return how much the client of a request may see of rooms that it observes: all with the admin token, else counts.

    The token comes in the header `Authorization: Bearer TOKEN`, or as the subprotocol `token.TOKEN`. Raises `Refused`
    (`unauthorized`) if it is wrong. Without an admin token in the settings, tokens are ignored.
    """
    worker: Worker = scope["state"]["worker"]
    authorization = header(scope, b"authorization")
    known = worker.admin_token.check(counted_client(scope), authorization, otherwise=offered_token(scope))
    return Sight.EVERYTHING if known else Sight.COUNTS
