"""The folder of the workers' unix sockets: private, writable, and with a short path."""

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from relay.process.server import CannotListen

log = logging.getLogger("relay.process.socket_folder")

_LONGEST_PATH = 107
"""Bytes of the path of a unix socket; the system's structure has room for one more, which is zero (unix(7))."""

_VARIABLES = ("TMPDIR", "TEMP", "TMP", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR")
_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108  # a folder that only this user may enter is made there


def make_socket_folder(workers: int, environ: Mapping[str, str] = os.environ) -> str:
    """Make a folder that only this user may enter, for the sockets `0.sock` and so on of so many workers.

    It is in the first folder that the environment names, or in one of the system, in which that is possible. Raises
    `CannotListen` if there is none.
    """
    problems: list[str] = []
    for parent in dict.fromkeys(_candidates(environ)):
        try:
            folder = _make(parent, workers)
        except OSError as error:
            problems.append(f"{parent}: {error.strerror or error}")
            continue
        if problems:
            log.warning("the unix sockets of the workers are in %s (%s)", folder, "; ".join(problems))
        return folder
    raise CannotListen(
        f"unix sockets for {workers} workers: {'; '.join(problems)}; set TMPDIR to a folder to which this user may "
        f"write, and whose path has at most {_LONGEST_PATH - len(_example(workers))} bytes; or use --workers 1"
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[str]:
    for name in _VARIABLES:
        # RUNTIME_DIRECTORY of systemd may have several folders.
        path = environ.get(name, "").partition(":")[0]
        if path:
            yield str(Path(path).absolute())
    yield from _FOLDERS


def _example(workers: int) -> str:
    return f"/relay-12345678/{workers - 1}.sock"


def _make(parent: str, workers: int) -> str:
    if len(os.fsencode(parent + _example(workers))) > _LONGEST_PATH:
        raise OSError("the path is too long for a unix socket")
    folder = tempfile.mkdtemp(prefix="relay-", dir=parent)
    try:
        # Some file systems have no sockets.
        probe = Path(folder, f"{workers - 1}.sock")
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(probe))
        probe.unlink()
    except OSError:
        with suppress(OSError):
            shutil.rmtree(folder)
        raise
    return folder
