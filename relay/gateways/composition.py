"""Composition: the routes of all gateways, and their state for each worker."""

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import msgspec
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Receive, Scope, Send

from relay import gateways
from relay.config import Settings
from relay.gateways.base.gateway import Gateway
from relay.gateways.base.websocket import deny
from relay.metrics import API
from relay.model.errors import Refused
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Return the routes of the gateways that the setting `gateways` names."""
    enabled = gateways.enabled(settings)
    found = [route for gateway in enabled for route in _routes_module(gateway).routes(settings)]
    unknown = WebSocketRoute("/{path:path}", UnknownWebSocket())
    unknown.path_regex = re.compile(".*", re.DOTALL)
    return [*found, unknown]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the state that the gateways keep for one worker; their routes find it in `scope["state"]`."""
    enabled = gateways.enabled(worker.settings)
    return {key: value for gateway in enabled for key, value in _routes_module(gateway).state(worker).items()}


class UnknownWebSocket:
    """Refuses a WebSocket to a path of no gateway, or of one that is switched off; Starlette would answer 403."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the handshake with 404 `not_found`."""
        error, worker = Refused("not_found"), scope["state"]["worker"]
        worker.metrics.errors.labels(API, error.code).inc()
        await deny(scope, receive, send, msgspec.json.encode(error.body), error.status)


def _routes_module(gateway: Gateway) -> Any:
    """Import the module of a gateway that has the functions `routes` and `state`."""
    return import_module(f"{gateways.__name__}.{gateway.name}.routes")
