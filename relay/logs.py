"""Setting up the log: one line per event, as text or as JSON, on standard error.

What a client sent may be in a message; so no control character reaches the terminal or the file as it is.
"""

import json
import logging
import sys
import time
from typing import TextIO

_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    # What some programs take for the end of a line, or for a change of direction.
    code: f"\\u{code:04x}"
    for code in (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


def escape(text: str) -> str:
    """Make every control character in `text` visible; a lone surrogate becomes one too."""
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode()


def configure(level: str, form: str, *, worker: str = "", stream: TextIO | None = None) -> None:
    """Send every log of this process to `stream` (standard error), from `level` on; `form` is "text" or "json".

    `worker` is named in each line, where several write to the same place. The server below says only what is wrong: its
    other messages carry the addresses clients ask for, and these may hold secrets.
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
    """For people: time (UTC), level, area, message; a traceback follows indented."""

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self._worker = f" [{worker}]" if worker else ""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        area = f"{record.levelname.lower():7}{self._worker} {record.name}:"
        lines = [f"{_time(record)} {area} {escape(record.getMessage())}"]
        lines += [f"    {escape(line)}" for line in _trace(record).splitlines()]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """For machines, one object per line: time, level, area, message, and worker and error where there is one."""

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
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
