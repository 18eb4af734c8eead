"""`relay serve` whose native clients have no cursor: `python -m tests.tracking_server PORT`.

Their ids count for nothing, and the worker notes their delivered positions, as for protocols that need it. Settings
come from the environment.
"""

import sys

from msgspec import structs
from starlette.types import Scope

from relay.cli import main
from relay.gateways.base.join_request import JoinRequest, ObserveRequest
from relay.gateways.native import gateway
from relay.model.commands import Tracking

_read_request = gateway.read_request


def read_request(scope: Scope, default_room: str) -> JoinRequest | ObserveRequest:
    """Return the request of a client, which asks for delivered positions."""
    request = _read_request(scope, default_room)
    if isinstance(request, JoinRequest):
        return structs.replace(request, since=None, tracking=Tracking.WRITTEN)
    return request


if __name__ == "__main__":
    gateway.read_request = read_request
    main(["serve", "--port", sys.argv[1]])
