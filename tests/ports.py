"""Ports for servers that a test starts: no other test process gets the same one."""

import itertools
import os
import socket
from collections.abc import Iterator

_FIRST, _LAST = 20_000, 32_000
"""Below the range of outgoing connections, one of which could otherwise take a port before its server does."""

_SHARE = 1_500
"""Ports between the starting points of two test processes of one run."""

_claims: dict[int, socket.socket] = {}


def _candidates() -> Iterator[int]:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = (number * _SHARE + os.getpid() % _SHARE) % (_LAST - _FIRST)
    return (_FIRST + (start + step) % (_LAST - _FIRST) for step in itertools.count())


_next = _candidates()


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free, and reserved for this process until `release_port`.

    Between this call and the start of the server nobody listens on the port. So the reservation is a UDP socket bound
    to the same number: other test processes see it, and it ends with the process at the latest.
    """
    for port in itertools.islice(_next, _LAST - _FIRST):
        claim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims[port] = claim
        return port
    raise OSError(f"no free port from {_FIRST} to {_LAST}")


def release_port(port: int) -> None:
    """End the reservation of a port, if there is one."""
    if port in _claims:
        _claims.pop(port).close()
