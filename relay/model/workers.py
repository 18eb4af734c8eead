"""The name of a worker in session ids, and its view of the workers behind the same port."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

GROUP_SIZE: Final = 6
"""Bytes that name a group of local workers; random, so that two groups of a fleet have different names."""

LISTENER: Final = "listener"
"""The key under which `scope["state"]` has the kind of the listening socket on which a request came."""

Listener = Literal["public", "local", "forwarding"]
"""The clients' port and the admin port; the unix socket of a worker; the port for requests of other replicas."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The worker that has a session: its group of local workers, and its number among them."""

    group: bytes
    index: int

    def __str__(self) -> str:
        return f"{self.group.hex()}-{self.index}"


def new_group() -> bytes:
    """Make the name of a new group of local workers."""
    return secrets.token_bytes(GROUP_SIZE)


@dataclass(frozen=True, slots=True)
class LocalWorkers:
    """The workers behind one port, as one of them sees them.

    `sockets` are the paths of the unix sockets of all of them, this one included; empty for a lone worker.
    `forward_address` is the address (`IP:PORT`) at which workers of other replicas reach this one, "" if they do not.
    """

    owner: Owner = field(default_factory=lambda: Owner(new_group(), 0))
    sockets: Sequence[str] = ()
    forward_address: str = ""
