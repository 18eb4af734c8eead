"""Bounds of the transport `longPolling`."""

from typing import Final

HOLD: Final = 25.0
"""Seconds after which a poll without messages is answered; proxies drop requests that are silent for longer."""

IDLE: Final = 30.0
"""Seconds without a poll after which the client counts as lost; its place is held from then on."""

MAX_BODY: Final = 8192
"""Bytes of the form of a poll: the cursor, and a token of groups, of which the relay has none."""
