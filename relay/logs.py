"""The log: one line per event, as text or as JSON, on standard error.

Messages can contain text from clients. So every control character is escaped: none of them can forge a line of the log,
or change the terminal on which an operator reads it.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from typing import Final, TextIO

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    # Line separators for some programs, and characters that reverse the direction of the text after them.
    code: f"\\u{code:04x}"
    for code in (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.%]{2,60}\]|[^\[\]:]*)(?::[0-9]{0,5})?", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._-]*", re.ASCII)
_QUERY = re.compile("[?#]")
_HIDDEN = "***"

_LIBRARIES: Final = (
    "uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "asyncio", "websockets", "httpx2", "httpcore2",
)  # fmt: skip

_MOST_KINDS: Final = 100
"""Kinds of events that one `LogIntervals` remembers."""


def escape(text: str) -> str:
    """Return `text` with every control character and lone surrogate escaped."""
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode()


def without_password(url: str) -> str:
    """Return a URL that may be logged and shown.

    All up to its last @ may be a user and a password. Without an @, the text in place of the port may be the password
    of a URL that was not written to its end. A query may have a token.
    """
    head, at, rest = url.rpartition("@")
    scheme, slashes, after = (head if at else rest).partition("//")
    if not slashes:
        return _bounded(rest)
    return scheme + slashes + _bounded(rest if at else after)


def _bounded(address: str) -> str:
    """Return host, port and path of an address, with *** in place of everything else."""
    authority = re.split("[/?#]", address, maxsplit=1)[0]
    if not _AUTHORITY.fullmatch(authority):
        host = _HOST.match(authority)
        return f"{host[0] if host else ''}:{_HIDDEN}"
    rest = _QUERY.search(address)
    return address if rest is None else f"{address[: rest.end()]}{_HIDDEN}"


def configure(level: str, form: str, *, worker: str = "", stream: TextIO | None = None) -> None:
    """Write every log record of this process from `level` on to `stream` (by default standard error).

    `form` is "text" or "json". Each line names `worker`, where several workers write to the same stream. Libraries log
    only warnings and errors: their other messages contain URLs, which may contain secrets.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(worker) if form == "json" else TextFormatter(worker))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class LogIntervals:
    """Decides which of many like events get a line in the log: of each kind, one in `seconds`.

    Clients, or another server, can cause such events as often as they like, and a log that is full of them hides all
    else. Events without a line are counted, so that the next line can tell their number.
    """

    __slots__ = ("_clock", "_next", "_seconds", "_unlogged")

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._next: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def due(self, kind: str = "") -> int | None:
        """Return how many events of a kind had no line since its last one, if this event gets a line; else None."""
        now = self._clock()
        if now < self._next.get(kind, float("-inf")):
            self._unlogged[kind] += 1
            return None
        if kind not in self._next and len(self._next) >= _MOST_KINDS:
            # Kinds may come from another server, and must not fill the memory.
            self._next.clear()
            self._unlogged.clear()
        unlogged = self._unlogged.get(kind, 0)
        self._next[kind], self._unlogged[kind] = now + self._seconds, 0
        return unlogged


class TextFormatter(logging.Formatter):
    """Formats records for people: time (UTC), level, logger, message; a traceback follows, indented."""

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self._worker = f" [{worker}]" if worker else ""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the lines of the traceback."""
        area = f"{record.levelname.lower():7}{self._worker} {record.name}:"
        lines = [f"{_time(record)} {area} {escape(record.getMessage())}"]
        lines += [f"    {escape(line)}" for line in _trace(record).splitlines()]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """Formats records for machines, one JSON object per line: time, level, area, message, worker, error."""

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON object; empty fields are left out."""
        fields = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "area": record.name,
            "message": escape(record.getMessage()),
            "worker": self._worker,
            "error": _trace(record),
        }
        return json.dumps({name: value for name, value in fields.items() if value})


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _trace(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
