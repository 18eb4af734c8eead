"""What all unit tests share."""

from asyncio import AbstractEventLoop, new_event_loop
from collections.abc import Callable, Mapping

import pytest
import uvloop

_ON_THE_WIRE = {"test_server.py", "test_websocket.py"}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Run what handles transports on the loop that is used for real, and the rest on the one that checks more."""
    return {"uvloop": uvloop.new_event_loop} if item.path.name in _ON_THE_WIRE else {"asyncio": new_event_loop}
