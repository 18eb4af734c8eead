"""Which WebSockets are those of SIP."""

from collections.abc import Iterator

import pytest

from relay.config import Settings
from relay.gateways import composition
from relay.gateways.sip.gateway import STATE, SipGateway
from relay.gateways.sip.login import Logins
from relay.gateways.sip.routes import routes, state
from relay.rooms.worker import Worker


def scope(path: str, *subprotocols: str) -> dict[str, object]:
    return {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "headers": [],
        "subprotocols": list(subprotocols),
    }


def endpoints(scope: dict[str, object]) -> Iterator[object]:
    for route in composition.routes(Settings()):
        if route.matches(scope)[0].value:
            yield getattr(route, "endpoint", None)


@pytest.mark.parametrize("path", ["/", "/rooms/a", "/rooms/a%2Fb"])
def test_the_subprotocol_decides(path: str) -> None:
    assert isinstance(next(endpoints(scope(path, "chat", "sip"))), SipGateway)
    for others in ((), ("sips",), ("chat",)):
        assert not isinstance(next(endpoints(scope(path, *others))), SipGateway)


def test_other_paths_are_not_taken() -> None:
    assert not any(route.matches(scope("/rooms/a/peerjs", "sip"))[0].value for route in routes(Settings()))


async def test_state() -> None:
    assert isinstance(state(Worker(Settings()))[STATE], Logins)
