"""The routes of the gateway, and its state for each worker."""

from collections.abc import Mapping

from starlette.routing import BaseRoute, Route, WebSocketRoute

from relay.config import Settings
from relay.gateways.base.http_sessions import HttpSessions
from relay.gateways.xmpp.bosh.gateway import STATE, BoshGateway
from relay.gateways.xmpp.bosh.session import BoshSession
from relay.gateways.xmpp.declaration import BOSH_PATH, SOCKET_PATH
from relay.gateways.xmpp.gateway import XmppGateway
from relay.rooms.worker import Worker


def routes(settings: Settings) -> list[BaseRoute]:
    """Make the routes of the gateway."""
    return [WebSocketRoute(SOCKET_PATH, XmppGateway(settings)), Route(BOSH_PATH, BoshGateway(settings))]


def state(worker: Worker) -> Mapping[str, object]:
    """Make the sessions of clients over BOSH; the application puts them into `scope["state"]`."""
    sessions: HttpSessions[BoshSession] = HttpSessions(worker)
    return {STATE: sessions}
