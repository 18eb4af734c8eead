"""Client libraries of other languages: a program in that language, which tests control by lines of JSON.

A program reads commands from standard input, one a line, and prints a line for each event. Both name the client
that is meant (`client`), as one program runs several. A program of Socket.IO clients must know these commands:

- `open`: connect a client to `url`, with `transports` (`websocket` or `polling`, in a list), in `namespace` ("/" for
  none). It comes back by itself when the connection is lost, within a second. It listens to the events of `HANDLERS`.
- `emit`: emit the event `name` with `args`. With `ack`, print the arguments of the acknowledgement.
- `disconnect`: disconnect on purpose.

It prints `{"client": …, "what": …}` with `what` one of `connect`, `disconnect`, `event` (with `name` and `args`), `ack`
(with the `mark` that was `ack`, and `answer`), and `failed` (with the `error` that a handler or the library raised).
Bytes are `{"bytes": Base64}` in both directions. The library's own handlers must have exactly as many parameters as
`HANDLERS` says, in languages in which that is fixed; in others, they print all arguments that they got.

A program of WebSocket clients knows `open` (with `url`), `send` (with `text`) and `disconnect`. It prints `connect`,
`text` (with `text`), `disconnect` (with `code`, 1006 for none) and `failed`. Its clients do not come back by
themselves.
"""

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

HANDLERS = {"message": 1, "none": 0, "one": 1, "two": 2}
"""Events that a program listens to, and the number of arguments of its handler."""

_LINE = 2**24
"""Bytes of the longest line: a large message in Base64."""


class ClientProgram:
    """A process that runs clients of one library."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = defaultdict(asyncio.Queue)
        self._reader = asyncio.create_task(self._read())
        self._names = itertools.count()

    @classmethod
    async def run(cls, command: Sequence[str]) -> Self:
        """Start a program."""
        pipe = asyncio.subprocess.PIPE
        return cls(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=_LINE))

    def new_name(self) -> str:
        return f"client{next(self._names)}"

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            event = json.loads(line)
            self._queues[event.pop("client")].put_nowait(event)
        for queue in self._queues.values():
            queue.put_nowait({"what": "failed", "error": "the program has ended"})

    def send(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    async def next(self, client: str, patience: float = 30) -> dict[str, Any]:
        async with asyncio.timeout(patience):
            return await self._queues[client].get()

    def heard(self, client: str) -> list[dict[str, Any]]:
        """Return all events that have arrived and were not read."""
        queue = self._queues[client]
        return [queue.get_nowait() for _ in range(queue.qsize())]

    async def close(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._reader.cancel()
        await asyncio.wait([self._reader])


class LanguageClient:
    """One client of a program; `patience` is how many seconds it waits for something to happen."""

    def __init__(self, program: ClientProgram, patience: float = 30) -> None:
        self._program = program
        self._patience = patience
        self._marks = itertools.count(1)
        self.name = program.new_name()

    async def open(self, url: str, **options: Any) -> Self:
        """Connect, and wait until the client has connected."""
        self._send("open", url=url, **options)
        await self.until("connect")
        return self

    async def until(self, what: str) -> dict[str, Any]:
        """Return the next happening of this kind. Only losses and returns of the connection may come before it.

        Before the end of a WebSocket, frames that nobody read may come as well.
        """
        skipped = {"connect", "disconnect", "text"} if what == "disconnect" else {"connect", "disconnect"}
        while True:
            happened = await self._program.next(self.name, self._patience)
            if happened["what"] == what:
                return happened
            assert happened["what"] in skipped, happened

    async def event(self) -> tuple[str, list[Any]]:
        """Return the next event that a handler got."""
        happened = await self.until("event")
        return happened["name"], happened["args"]

    def emit(self, name: str, *args: Any) -> None:
        self._send("emit", name=name, args=args)

    async def ask(self, name: str, *args: Any) -> list[Any]:
        """Emit, and return the arguments of the acknowledgement."""
        self._send("emit", name=name, args=args, ack=next(self._marks))
        answer: list[Any] = (await self.until("ack"))["answer"]
        return answer

    async def envelope(self, **fields: Any) -> dict[str, Any]:
        """Return the next envelope that a WebSocket client got and that has these fields."""
        while True:
            envelope: dict[str, Any] = json.loads((await self.until("text"))["text"])
            if fields.items() <= envelope.items():
                return envelope

    def send(self, envelope: dict[str, Any]) -> None:
        """Send an envelope with a WebSocket client."""
        self._send("send", text=json.dumps(envelope, ensure_ascii=False))

    def disconnect(self) -> None:
        self._send("disconnect")

    def heard(self) -> list[dict[str, Any]]:
        """Return all that has happened and was not read."""
        return self._program.heard(self.name)

    def _send(self, do: str, **command: Any) -> None:
        self._program.send({"do": do, "client": self.name, **command})
