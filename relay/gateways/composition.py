"""Composition: the routes of all gateways, and their state for each worker."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from starlette.routing import BaseRoute

from relay import gateways
from relay.config import Settings
from relay.gateways.base.gateway import Gateway
from relay.paths import subprotocols_first
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Return the routes of the gateways that the setting `gateways` names."""
    enabled = gateways.enabled(settings)
    return subprotocols_first(route for gateway in enabled for route in _routes_module(gateway).routes(settings))


def state(worker: Worker) -> Mapping[str, object]:
    """Make the state that the gateways keep for one worker; their routes find it in `scope["state"]`."""
    enabled = gateways.enabled(worker.settings)
    return {key: value for gateway in enabled for key, value in _routes_module(gateway).state(worker).items()}


def _routes_module(gateway: Gateway) -> Any:
    """Import the module of a gateway that has the functions `routes` and `state`."""
    return import_module(f"{gateways.__name__}.{gateway.name}.routes")
