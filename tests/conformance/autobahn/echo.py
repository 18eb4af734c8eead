"""The server under test: the relay's own, around applications that echo every message.

By hand, for a client of any kind: `python -m tests.conformance.autobahn.echo asgi 9001`.
"""

import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from relay.config import Settings
from relay.model.codec import Frame
from relay.process.server import ListenSocket, Server, bind, run
from relay.rooms.connection import WIRE_EXTENSION, Wire

_ROOT = Path(__file__).parents[3]
_STOP = 10.0

LARGEST: Final = 2**24
"""Bytes of the largest message that is sent; the server accepts no byte more."""


async def asgi(websocket: WebSocket) -> None:
    """Await each message and send it back with its type."""
    await websocket.accept()
    while (message := await websocket.receive())["type"] == "websocket.receive":
        kind = "bytes" if message.get("text") is None else "text"
        try:
            await websocket.send({"type": "websocket.send", kind: message[kind]})
        except WebSocketDisconnect:
            return


class Echo:
    """A receiver that echoes every message in order."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def received(self, frame: Frame) -> None:
        self._wire.write(frame.wire)

    def disconnected(self, code: int, relay_closed: str | None) -> None:
        pass


async def attached(websocket: WebSocket) -> None:
    """Attach a receiver to the connection and return."""
    await websocket.accept()
    wire: Wire = websocket.scope["extensions"][WIRE_EXTENSION]
    wire.attach(Echo(wire))


WAYS: Final[dict[str, Callable[[WebSocket], Awaitable[None]]]] = {"asgi": asgi, "attached": attached}
"""The ways in which an application can read and write; each is tested."""


@contextmanager
def served(way: str) -> Iterator[int]:
    """Serve in a process of its own; gives the port."""
    command = [sys.executable, "-m", __name__, way, "0"]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"\d+", process.stdout.readline())
            assert found, "the server did not start"
            yield int(found[0])
        finally:
            process.terminate()
            try:
                process.wait(_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert process.returncode == 0


async def _nothing() -> None:
    pass


def _main(way: str, port: str) -> None:
    app = Starlette(routes=[WebSocketRoute("/", WAYS[way])])
    listeners = [ListenSocket(sock) for sock in bind("127.0.0.1", int(port))]
    print(listeners[0].socket.getsockname()[1], flush=True)
    run(Server(app, Settings(message_rate=1_000_000, max_message=LARGEST), listeners, drain=_nothing))


if __name__ == "__main__":
    _main(*sys.argv[1:])
