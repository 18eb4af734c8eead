"""The admission of connections by a listener: by network, by the number of idle ones, and by open files."""

from asyncio import Transport
from collections.abc import Callable, Sized
from ipaddress import ip_address

from relay.wire.http_connections import HttpConnections
from relay.wire.idle_connections import Idle, IdleConnections, Networks
from relay.wire.notices import LimitNotices


class PeerGuard:
    """Admits connections from these networks alone; `on_stranger` is called for each other one."""

    def __init__(self, networks: Networks, on_stranger: Callable[[], None]) -> None:
        self._networks = networks
        self._on_stranger = on_stranger

    def admits(self, peer: tuple[str, int] | None) -> bool:
        """Return whether this peer may be connected."""
        # An IPv6 address of the local link has the name of an interface after a percent sign.
        address = ip_address(peer[0].partition("%")[0]) if peer else None
        if address is not None and any(address in network for network in self._networks):
            return True
        self._on_stranger()
        return False


class Gate:
    """Decides about the connections of a listener that any client reaches.

    `http` bounds the HTTP connections of each address; None for no bound, as on the admin port. With `files`
    connections open, the one that is idle for the longest time is closed for a new one; where none is idle, the new
    one is not taken. The files above are for Redis, other workers and the admin port. `connections` are all that are
    open. The system gives a new file the lowest number that is free. So a number from `files` on also means that so
    many files are open.
    """

    def __init__(
        self,
        idle: IdleConnections,
        files: int | None,
        notices: LimitNotices,
        connections: Sized = frozenset(),
        http: HttpConnections | None = None,
    ) -> None:
        self._idle = idle
        self._http = http
        self._files = files
        self._connections = connections
        self._notices = notices

    def name_of(self, peer: tuple[str, int] | None) -> str:
        """Return the name under which connections from a peer are counted, "" if they are not."""
        return self._idle.name_of(peer[0]) if peer else ""

    def admits(self, connection: Idle, transport: Transport, address: str) -> bool:
        """Return whether a new connection is taken; it counts as idle. The connection calls `end` in any case."""
        if self._http is not None and not self._http.begin(connection, address):
            self._notices.note("http_connections", address)
            return False
        self.idle(connection, address)
        if self._files is None:
            return True
        opened = transport.get_extra_info("socket")
        number = 0 if opened is None else opened.fileno()
        if number < self._files and len(self._connections) <= self._files:
            return True
        self._notices.note("descriptors", address)
        if self._idle.close_oldest(connection):
            return True
        self._idle.remove(connection)
        return False

    def idle(self, connection: Idle, address: str) -> None:
        """Count a connection as idle; another one of its address may be closed for it."""
        if not self._idle.add(connection, address):
            self._notices.note("idle_connections", address)

    def busy(self, connection: Idle) -> None:
        """Take note that a request has arrived."""
        self._idle.remove(connection)

    def hand_over(self, before: object, after: object) -> None:
        """Count a connection that is not idle under another object: its response is held, or is not held any more."""
        if self._http is not None:
            self._http.hand_over(before, after)

    def held_ended(self, held: object) -> None:
        """Take note that a connection has ended whose response was held."""
        if self._http is not None:
            self._http.end(held)

    def end(self, connection: Idle) -> None:
        """Take note that a connection has ended, or is a WebSocket now."""
        self._idle.remove(connection)
        if self._http is not None:
            self._http.end(connection)
