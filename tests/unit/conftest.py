"""The event loops of the unit tests."""

from asyncio import AbstractEventLoop, new_event_loop
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

_ON_UVLOOP = [Path(__file__).parent / name for name in ("wire", "process")]
"""The folders whose tests handle transports."""

# A folder that is renamed must be renamed here, too: otherwise its tests would silently run on the other loop.
assert all(folder.is_dir() for folder in _ON_UVLOOP), _ON_UVLOOP


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Run tests of transports on uvloop, as in production, and all others on asyncio's loop, which checks more."""
    if any(item.path.is_relative_to(folder) for folder in _ON_UVLOOP):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": new_event_loop}
