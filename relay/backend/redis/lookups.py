"""Lookups of host names, which may take longer than an attempt to connect."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from threading import Thread
from typing import Any, Final

from relay.logs import escape

_MOST: Final = 64
"""Lookups at the same time; the answers of servers name the hosts."""

_MOST_CHARACTERS: Final = 100


class UnknownHost(socket.gaierror):
    """A host name could not be resolved; servers tell the names of others, so that the error says which one it was."""

    def __init__(self, host: str, error: socket.gaierror) -> None:
        self.host = escape(host[:_MOST_CHARACTERS])
        super().__init__(error.errno, f"{error.strerror}: {self.host}")


class Lookups:
    """Resolves host names, by one lookup of each name at a time: an attempt that is given up leaves it to the next one.

    In a container network, the name of a stopped Redis is unknown, and finding that out takes ten seconds or more.
    So each lookup has a thread of its own, and keeps no other waiting. The process does not wait for these threads
    when it ends.
    """

    def __init__(self, resolve: Callable[[str, None], object] = socket.getaddrinfo) -> None:
        self._resolve = resolve
        self._pending: dict[str, asyncio.Future[None]] = {}

    async def find(self, host: str) -> None:
        """Return when the name has been resolved, at once if it is an address; raises why it failed."""
        if _is_address(host):
            return
        lookup = self._pending.get(host)
        if lookup is None:
            if len(self._pending) >= _MOST:
                raise OSError(f"too many host names are looked up: {_MOST}")
            lookup = asyncio.get_running_loop().create_future()
            lookup.add_done_callback(_ignore_failure)
            # Raises RuntimeError where a process may not have so many threads.
            Thread(target=self._run, args=(host, lookup), name="lookup", daemon=True).start()
            self._pending[host] = lookup
        # Another attempt may wait for it as well, and the next one will.
        await asyncio.shield(lookup)

    def _run(self, host: str, lookup: "asyncio.Future[None]") -> None:
        error: Exception | None = None
        try:
            self._resolve(host, None)
        except socket.gaierror as raised:
            error = UnknownHost(host, raised)
        # Not only OSError: a name that cannot be encoded is a UnicodeError.
        except Exception as raised:
            error = raised
        # The worker may have ended meanwhile, and its event loop with it.
        with suppress(RuntimeError):
            lookup.get_loop().call_soon_threadsafe(self._settle, host, lookup, error)

    def _settle(self, host: str, lookup: "asyncio.Future[None]", error: Exception | None) -> None:
        del self._pending[host]
        if lookup.done():
            return
        if error is None:
            lookup.set_result(None)
        else:
            lookup.set_exception(error)


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(host[:_MOST_CHARACTERS]))
    return False


def _ignore_failure(lookup: "asyncio.Future[Any]") -> None:
    """Mark the exception of a lookup as retrieved, also if no attempt waits for it any more."""
    if not lookup.cancelled():
        lookup.exception()
