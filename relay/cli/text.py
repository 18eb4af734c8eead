"""What the command prints."""

import sys
from collections.abc import Sequence
from pathlib import Path

from relay import __version__
from relay.config import Setting, Settings, declared, masked


def greeting(settings: Settings, port: int) -> str:
    """What is printed at the start: what is served, and one line to try."""
    place = f"{reachable(settings.host)}:{port}"
    secure = "s" if settings.tls_cert else ""
    socket = f"ws{secure}://{place}/"
    redis = next(one for one in declared() if one.name == "redis_url")
    alone = "in memory, this process alone; no Redis is given"
    bus = f"Redis at {masked(redis, settings.redis_url)}" if settings.redis_url else alone
    several = f", {settings.workers} workers" if settings.workers > 1 else ""
    rows = [
        ("serves", f"{socket} and {socket}rooms/{{room}}{several}"),
        ("health", f"http{secure}://{place}/health"),
        *([("page", settings.public_url or f"http{secure}://{place}/")] if settings.pages == "on" else []),
        ("bus", bus),
        ("try", f"{_python()} -m websockets {socket}"),
    ]
    return f"relay {__version__}\n" + aligned([("", *row) for row in rows])


def settings_table() -> str:
    """All settings as a table in Markdown."""
    lines = ["| Flag, variable | Default | Meaning | Allowed | Past it |", "| --- | --- | --- | --- | --- |"]
    for one in declared():
        cells = (
            "<br>".join(f"`{name}`" for name in (one.flag, one.variable, one.file_variable) if name),
            f"`{plain(one.default)}`" if plain(one.default) else "",
            one.description,
            one.allowed,
            one.consequence,
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def plain(value: object) -> str:
    """A setting's value as it would be given."""
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value)


def shown(setting: Setting, value: object) -> str:
    """A setting's value as anybody may see it."""
    return masked(setting, value if setting.secret else plain(value)) or "-"


def reachable(host: str) -> str:
    """How to reach from this machine what listens on `host`."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104  # not listened on, but compared with
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _python() -> str:
    """This interpreter, the way one would type it here."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
