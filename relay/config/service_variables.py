"""Variables that Kubernetes makes for its services.

A service named `relay`, `relay-redis` or the like in the same namespace makes variables for every container there that
begin like the relay's own (Kubernetes, "Discovering services: environment variables"): `RELAY_SERVICE_HOST`,
`RELAY_SERVICE_PORT_HTTP`, `RELAY_PORT=tcp://10.0.0.1:8888`, `RELAY_PORT_8888_TCP_ADDR` and so on.
"""

import re
from collections.abc import Mapping
from typing import Final

_SERVICE: Final = r"RELAY(?:_[A-Z0-9_]+?)??"
_NAME: Final = re.compile(
    rf"{_SERVICE}_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_PORT_NAME: Final = re.compile(rf"{_SERVICE}_PORT")
_PORT_VALUE: Final = re.compile(r"(?:tcp|udp|sctp)://\[?[0-9A-Fa-f.:]+\]?:[0-9]{1,5}")


def without_service_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the variables that Kubernetes has made for services."""
    return {name: value for name, value in environ.items() if not _is_of_service(name, value)}


def _is_of_service(name: str, value: str) -> bool:
    # No number of a port looks like the second value, so any other RELAY_PORT stays a setting.
    return bool(_NAME.fullmatch(name) or (_PORT_NAME.fullmatch(name) and _PORT_VALUE.fullmatch(value)))
