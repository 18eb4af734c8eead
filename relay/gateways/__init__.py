"""Gateways: how clients of each protocol reach the relay.

A gateway is a package with a `declaration` for the rest of the relay, `routes`, a codec (frames to commands, and events
to frames), and the transports that its protocol has beside WebSocket. `base` has their common parts, above all the
session. No gateway imports another, and rooms know none of them: the members of one room may speak different protocols.

This module has the declarations alone; `composition` has the routes.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Annotated, Final

from msgspec import Struct

from relay.config import Extension, Settings
from relay.config.declaring import setting
from relay.gateways.base.gateway import Gateway
from relay.model.errors import ERRORS, ErrorTable
from relay.model.names import CORE_WORDS

_PACKAGES: Final = (
    "native",
    "socketio",
    "peerjs",
    "plainhttp",
    "xhrsignaling",
    "signalrclassic",
    "xmpp",
    "signalr",
    "sip",
    "websync",
    "firebase",
)
"""Every gateway, by the name of its package."""

_PLANNED: Final = frozenset({"sip", ".lp"})
"""First segments of the paths of gateways to come: no room that is legal today becomes illegal with them."""

GATEWAYS: Final[Mapping[str, Gateway]] = {
    name: import_module(f"{__name__}.{name}.declaration").GATEWAY for name in _PACKAGES
}
"""Name → declaration."""

ALL: Final = "*"


def _check_name(name: str) -> None:
    if name != ALL and name not in GATEWAYS:
        raise ValueError("not a gateway")


class GatewaySettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which gateways serve clients."""

    gateways: Annotated[
        tuple[str, ...],
        setting(
            f"Gateways that serve clients ({', '.join(GATEWAYS)}), comma-separated; * for all",
            consequence="the paths of the others answer HTTP 404 not_found",
            allowed=f"* or a list of {', '.join(GATEWAYS)}",
            check=_check_name,
            min_length=1,
        ),
    ] = (ALL,)


EXTENSIONS: Final[Sequence[Extension]] = (
    Extension(GatewaySettings),
    *(gateway.extension for gateway in GATEWAYS.values() if gateway.extension),
)
"""The settings of gateways, also of those that are switched off: the settings of a fleet need not change with them."""


def enabled(settings: Settings) -> Sequence[Gateway]:
    """Return the gateways that serve clients, in the order of their declaration."""
    names = settings.of(GatewaySettings).gateways
    return [gateway for gateway in GATEWAYS.values() if ALL in names or gateway.name in names]


def error_tables() -> Mapping[str, ErrorTable]:
    """Return the error codes that only one gateway uses, by its title."""
    return {gateway.title: gateway.errors for gateway in GATEWAYS.values() if gateway.errors}


def error_codes(settings: Settings) -> Mapping[str, Sequence[str]]:
    """Return the protocols that clients may speak, each with the error codes that it has: the labels of metrics."""
    return {protocol: [*ERRORS, *gateway.errors] for gateway in enabled(settings) for protocol in gateway.protocols}


def reserved_words() -> frozenset[str]:
    """Return the words that no room, and no key or prefix of a gateway, may be: first segments of the relay's paths.

    In the paths of some protocols, the name of a room is where such a word could be. The words of gateways that are
    switched off are among them, so that the same rooms are legal on all workers and at all times.
    """
    declared = (path.split("/")[1] for gateway in GATEWAYS.values() for path in (*gateway.prefixes, *gateway.paths))
    return CORE_WORDS.union(_PLANNED, (word for word in declared if not word.startswith("{")))
