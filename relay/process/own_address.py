"""Finds the address of this machine in given networks, at which other replicas reach it."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from relay.config import ListenAddress, Settings
from relay.process.server import CannotListen

_ANY_PORT = 9
"""Nothing is sent to it: connecting a datagram socket only makes the system choose a route."""


def forward_address(settings: Settings) -> ListenAddress | None:
    """Return where the first worker listens for requests of other replicas, None if it does not.

    0.0.0.0 is replaced by this machine's address in the forward networks, so that the port is open in no other network.
    Raises `CannotListen` if there is none.
    """
    address = settings.forward_address
    if address is None or not ip_address(address.host).is_unspecified:
        return address
    for text in settings.forward_networks:
        own = address_in(ip_network(text))
        if own:
            return ListenAddress(own, address.port)
    networks = ", ".join(settings.forward_networks)
    raise CannotListen(
        f"{address.host} port {address.port} for other replicas: this machine has no address in the forward-networks "
        f"{networks}; correct them, or name the address in forward-listen"
    )


def address_in(network: IPv4Network | IPv6Network) -> str:
    """Return an address of this machine in a network, "" if it has none."""
    for candidate in (_source_towards(network), *_addresses_of_name()):
        with suppress(ValueError):
            if candidate and ip_address(candidate) in network:
                return candidate
    return ""


def _source_towards(network: IPv4Network | IPv6Network) -> str:
    """Return the address from which this machine would send to the network."""
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((str(network[min(1, network.num_addresses - 1)]), _ANY_PORT))
        return str(sock.getsockname()[0])
    return ""


def _addresses_of_name() -> Sequence[str]:
    with suppress(OSError):
        return [str(address[0]) for *_, address in socket.getaddrinfo(socket.gethostname(), None)]
    return ()
