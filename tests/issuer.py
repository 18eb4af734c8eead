"""An issuer of tokens, as far as the relay sees it: an HTTP server on this machine with a key set."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Self

from tests.tcp import end_server


class Issuer:
    """Answers every request with `answer`, and counts them; `body` is the body of a good answer.

    While `stalls`, it sends half of the answer and waits. With `tls`, it speaks HTTPS.
    """

    def __init__(self, body: bytes = b"", *, tls: ssl.SSLContext | None = None) -> None:
        self.body = body
        self._tls = tls
        self.requests: list[str] = []
        self.answer: Callable[[], bytes] = lambda: self.response(self.body)
        self.stalls = False
        self.changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await end_server(self._server, self._abort)

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    @property
    def url(self) -> str:
        assert self._server is not None
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/keys"

    @staticmethod
    def response(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
        return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                self.requests.append(head)
                self.changed.set()
                answer = self.answer()
                if self.stalls:
                    writer.write(answer[: len(answer) // 2])
                    await reader.read()
                    return
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
