"""The HTTP connections of each address, idle or not; connections that have become WebSockets do not count."""

from typing import Final

PER_SESSION: Final = 2
"""HTTP connections on which one session may have a request at a time: a poll and a post."""


class HttpConnections:
    """Admits at most `per_address` HTTP connections of one address at a time.

    Idle ones have a bound of their own (`relay.wire.idle_connections`). Without this one, an address could hold any
    number of connections by a request on each that waits for its turn.
    """

    def __init__(self, per_address: int) -> None:
        self._per_address = per_address
        self._names: dict[object, str] = {}
        self._counts: dict[str, int] = {}

    def begin(self, connection: object, address: str) -> bool:
        """Count a new connection; False if its address has too many. Connections of the address "" do not count."""
        if not address:
            return True
        count = self._counts.get(address, 0)
        if count >= self._per_address:
            return False
        self._counts[address] = count + 1
        self._names[connection] = address
        return True

    def hand_over(self, before: object, after: object) -> None:
        """Count a connection under another object from now on."""
        address = self._names.pop(before, None)
        if address is not None:
            self._names[after] = address

    def end(self, connection: object) -> None:
        """Count a connection no longer: it has ended, or is a WebSocket now; later calls do nothing."""
        address = self._names.pop(connection, None)
        if address is None:
            return
        if self._counts[address] > 1:
            self._counts[address] -= 1
        else:
            del self._counts[address]
