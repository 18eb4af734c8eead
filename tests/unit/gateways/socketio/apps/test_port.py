"""The parts of a port are small interfaces; test_application_session.py tests them."""

from __future__ import annotations

import inspect
from typing import get_type_hints

from relay.gateways.socketio.apps import port


def test_each_part_has_five_members_at_most() -> None:
    parts = [kind for kind in get_type_hints(port.ClientPort).values() if kind.__module__ == port.__name__]
    counts = {
        kind.__name__: len([name for name in vars(kind) if not name.startswith("_")])
        for kind in parts
        if inspect.isclass(kind) and getattr(kind, "_is_protocol", False)
    }
    assert len(counts) == 6
    assert max(counts.values()) <= 5, counts
