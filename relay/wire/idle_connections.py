"""HTTP connections on which no request is being answered: their number for each address, and the oldest ones."""

from collections import OrderedDict
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Protocol

from relay.addresses import counted_address, read_address

Networks = Sequence[IPv4Network | IPv6Network]

PER_ADDRESS: Final = 1000

_KNOWN_PROXIES: Final = 1024
"""Addresses that are remembered as those of load balancers, or not."""


class Idle(Protocol):
    """A connection that has not sent a whole request yet, or whose last request is answered."""

    def close_idle(self) -> None:
        """Close, as another connection needs the place."""
        ...


class IdleConnections:
    """The idle connections of a worker: beyond `per_address` of one address, the oldest of them is closed.

    A load balancer has the connections of many clients, so those from `proxies` are not counted, and not closed.
    """

    def __init__(self, per_address: int = PER_ADDRESS, proxies: Networks = ()) -> None:
        self._per_address = per_address
        self._proxies = proxies
        self._known: dict[str, bool] = {}
        self._all: OrderedDict[Idle, str] = OrderedDict()
        self._addresses: dict[str, OrderedDict[Idle, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def name_of(self, host: str) -> str:
        """Return the name under which connections from a host are counted, "" if they are not."""
        return "" if self._proxies and self._is_proxy(host) else counted_address(host)

    def add(self, connection: Idle, address: str) -> bool:
        """Count a connection that is idle from now on; False if another one of its address is closed for it."""
        if not address or connection in self._all:
            return True
        self._all[connection] = address
        own = self._addresses.get(address)
        if own is None:
            own = self._addresses[address] = OrderedDict()
        own[connection] = None
        if len(own) <= self._per_address:
            return True
        self._close(next(iter(own)))
        return False

    def remove(self, connection: Idle) -> None:
        """Forget a connection that is not idle any more, or has ended."""
        address = self._all.pop(connection, None)
        if address is not None:
            own = self._addresses[address]
            del own[connection]
            if not own:
                del self._addresses[address]

    def close_oldest(self, besides: Idle) -> bool:
        """Close the connection that is idle for the longest time; False if there is none besides this one."""
        for oldest in self._all:
            if oldest is not besides:
                self._close(oldest)
                return True
        return False

    def _close(self, connection: Idle) -> None:
        self.remove(connection)
        connection.close_idle()

    def _is_proxy(self, host: str) -> bool:
        found = self._known.get(host)
        if found is None:
            if len(self._known) >= _KNOWN_PROXIES:
                self._known.clear()
            address = read_address(host)
            found = address is not None and any([address in network for network in self._proxies])
            self._known[host] = found
        return found
