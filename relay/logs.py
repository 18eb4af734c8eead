"""The log: one line per event, as text or as JSON, on standard error.

Messages can contain text from clients. So every control character is escaped: none of them can forge a line of the log,
or change the terminal of an operator who reads it.
"""

import json
import logging
import sys
import time
from typing import TextIO

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    # Line separators for some programs, and characters that reverse the direction of the text after them.
    code: f"\\u{code:04x}"
    for code in (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def escape(text: str) -> str:
    """Return `text` with every control character and lone surrogate escaped."""
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode()


def without_password(url: str) -> str:
    """Return a URL that may be logged and shown: all up to its last @ may be a user and a password."""
    head, separator, rest = url.rpartition("@")
    if not separator:
        return url
    scheme, slashes, _ = head.partition("//")
    return scheme + slashes + rest if slashes else rest


def configure(level: str, form: str, *, worker: str = "", stream: TextIO | None = None) -> None:
    """Write every log record of this process from `level` on to `stream` (by default standard error).

    `form` is "text" or "json". Each line names `worker`, where several workers write to the same stream. uvicorn,
    asyncio and websockets log only warnings and errors: their other messages contain URLs, which may contain secrets.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(worker) if form == "json" else TextFormatter(worker))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "asyncio", "websockets"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


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
