"""The text that the commands print."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from relay import __version__, gateways
from relay.config import ListenAddress, Setting, Settings, declared, masked
from relay.logs import escape
from relay.model.names import unescape


def greeting(settings: Settings, port: int, forward: ListenAddress | None = None) -> str:
    """The text that `relay serve` prints at the start: addresses, the bus, and a command to try.

    `forward` is where the first worker listens for requests of other replicas, None if it does not.
    """
    address = f"{reachable(settings.host)}:{port}"
    secure = "s" if settings.tls_cert else ""
    enabled = gateways.enabled(settings)
    sockets = [f"ws{secure}://{address}{path}" for gateway in enabled for path in gateway.websockets]
    prefixes = [prefix for gateway in enabled for prefix in gateway.prefixes if "{" not in prefix]
    others = [f"http{secure}://{address}{prefix}/" for prefix in prefixes]
    redis = next(one for one in declared() if one.name == "redis_url")
    alone = "in memory, for this process alone; no Redis is set (--redis-url)"
    bus = f"Redis at {masked(redis, settings.redis_url)}" if settings.redis_url else alone
    several = f", {settings.workers} workers" if settings.workers > 1 else ""
    first = f"{_python()} -m websockets {sockets[0]}" if sockets else ""
    if first and settings.auth == "required":
        # That program sends no token, and would be refused.
        demo = f"http{secure}://{address}/demo?room=demo, with a token that `relay token --room demo` prints"
        first = demo if settings.pages == "on" else ""
    rows = [
        ("serves", " and ".join(sockets or others) + several),
        ("health", f"http{secure}://{address}/health"),
        *([("page", settings.public_url or f"http{secure}://{address}/")] if settings.pages == "on" else []),
        *([("files", escape(str(Path(settings.static).absolute())))] if settings.static else []),
        ("bus", bus),
        *([("peers", _peers(forward, settings.workers))] if forward else []),
        *([("try", first)] if first else []),
    ]
    return f"relay {__version__}\n" + aligned([("", *row) for row in rows])


def _peers(forward: ListenAddress, workers: int) -> str:
    """The address at which other replicas reach the workers."""
    ports = f"ports {forward.port} to {forward.port + workers - 1}" if workers > 1 else f"port {forward.port}"
    return f"{forward.host} {ports}, for requests of other replicas"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows in columns, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def shell_word(name: str) -> str:
    """Return the text of an escaped name as a shell takes it: in quotes where it has spaces and the like."""
    return escape(shlex.quote(unescape(name)))


def plain(value: object) -> str:
    """Write the value of a setting as a flag or variable takes it."""
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)


def shown(setting: Setting, value: object) -> str:
    """Write the value of a setting in one line, as the operator may see it: a secret masked, an empty value as `-`."""
    return escape(masked(setting, value if setting.secret else plain(value))) or "-"


def reachable(host: str) -> str:
    """The host part of a URL by which this machine reaches a server that listens on `host`."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104  # compared with, and not listened on
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _python() -> str:
    """The path of this interpreter, relative to the current folder if it is inside and the folder is not the root."""
    path, here = Path(sys.executable), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) and here != Path(here.anchor) else str(path)
