"""Sends a file to a client: one piece after the other, and open only while a piece is read.

Starlette's `FileResponse` keeps the file open until the client has taken it. Slow clients could use up all files that
the system allows. This subclass overrides private methods; a test checks that Starlette still calls each of them.
"""

import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from anyio import CapacityLimiter, to_thread
from starlette.responses import FileResponse, MalformedRangeHeader
from starlette.types import Receive, Scope, Send

from relay.http_request import counted_client
from relay.rooms.connection import ABORT_EXTENSION
from relay.rooms.worker import Worker

log = logging.getLogger("relay.pages.transfer")

READ_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""The path of a file that was looked up ends in no symbolic link. Opening a pipe, or the like, must not wait."""

MOST_WAITING: Final = 131_072
"""Bytes of a file that wait for a client which does not read: 64 KB in the server, one piece more, and the next one."""


class FileTransfer(FileResponse):
    """The response with a file, or with ranges of it.

    `status` is that of the file when it was looked up, `limiter` bounds how many files are open. If the file changes
    on the way, the connection is aborted: the client must not take parts of two versions for one file. The bytes that
    wait of the file count for the client's address (`relay.rooms.buffers`), which could have thousands of clients that
    do not read.
    """

    chunk_size = 32_768

    def __init__(
        self,
        path: str,
        status: os.stat_result,
        limiter: CapacityLimiter,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__(path, headers=headers, media_type=media_type, stat_result=status)
        self._status = status
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        abort = scope.get("extensions", {}).get(ABORT_EXTENSION)
        worker: Worker = scope["state"]["worker"]
        # Other servers offer no way to end the connection.
        buffer = worker.admissions.buffers.open(counted_client(scope), abort or (lambda: None))
        buffer.grow(min(self._status.st_size, MOST_WAITING))
        try:
            await super().__call__(scope, receive, send)
        except OSError as error:
            # The head of the response has been sent.
            log.info("static: %s was not sent to its end (%s); the client has to ask again", self.path, error)
            if abort is None:
                raise
            abort()
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            buffer.clear()

    @asynccontextmanager
    async def _open_file(self) -> AsyncIterator[Any]:
        yield _Reader(str(self.path), self._status, self._limiter)

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        """Return the ranges that a header asks for; none for a header that is wrong, which is ignored (RFC 9110)."""
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []


class _Reader:
    """Reads one version of a file, from a position on; raises OSError once there is another version."""

    def __init__(self, path: str, status: os.stat_result, limiter: CapacityLimiter) -> None:
        self._path = path
        self._version = _version(status)
        self._limiter = limiter
        self._position = 0

    async def seek(self, position: int) -> None:
        """Read from this position on."""
        self._position = position

    async def read(self, size: int) -> bytes:
        """Return the next bytes, fewer than `size` at the end of the file only."""
        data = await to_thread.run_sync(self._read, size, limiter=self._limiter)
        self._position += len(data)
        return data

    def _read(self, size: int) -> bytes:
        file = os.open(self._path, READ_FLAGS)
        try:
            if _version(os.fstat(file)) != self._version:
                raise OSError("the file has changed")
            return os.pread(file, size, self._position)
        finally:
            os.close(file)


def _version(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
