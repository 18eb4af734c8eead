"""`relay serve` whose native clients have no cursor: `python -m tests.tracking_server PORT`.

Their ids count for nothing, and the worker notes their delivered positions, as for protocols that need it. Settings
come from the environment.
"""

import sys
from dataclasses import replace
from typing import Any

from starlette.types import Scope

from relay.cli import main
from relay.gateways.base.join_request import JoinRequest, ObserveRequest
from relay.gateways.native.gateway import NativeGateway
from relay.model.commands import Tracking


def track(gateway: Any) -> None:
    """Make a gateway ask for delivered positions for all of its clients."""
    read = gateway._request

    def request(self: Any, scope: Scope) -> JoinRequest | ObserveRequest:
        request = read(self, scope)
        if isinstance(request, JoinRequest):
            return replace(request, since=None, tracking=Tracking.WRITTEN)
        return request

    gateway._request = request


if __name__ == "__main__":
    track(NativeGateway)
    main(["serve", "--port", sys.argv[1]])
