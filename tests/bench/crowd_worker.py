"""The worker of `tests.bench.crowd`: the relay as `relay serve` starts it, with clients inside its process.

A program, which the Python of either build runs by its path: `crowd_worker.py CONTROL_PORT serve ...`; the other
arguments are those of `relay`. A client inside the process is a transport without a socket: the protocol of a new
connection gets it, reads the bytes of a real handshake, and writes to it. All that is above sockets is the relay's own.

Commands come over a connection to the control port, as lines of JSON; each has one answer.
"""

import asyncio
import gc
import json
import resource
import sys
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from relay import cli
from relay.process import server as server_module
from relay.process import workers
from relay.process.server import Server
from relay.wire.http import HttpProtocol
from relay.wire.listener import HttpListener

__all__ = ["Crowd", "InnerClient", "LagProbe", "frames", "masked", "share"]

STEP: Final = 0.005
"""Seconds between two looks of the probe."""

AT_ONCE: Final = 64
"""Clients inside the process that connect at the same time, as many as those of the load generator."""

PATIENCE: Final = 10.0
"""Seconds for the last messages to arrive."""

PING_FRAME: Final = b"\x89\x04ping"
PONG_FRAME: Final = b"\x8a\x84\0\0\0\0ping"

HEAD: Final = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The opcodes and payloads of a server's frames, all of which are whole."""
    at = 0
    while at < len(data):
        size, start = data[at + 1], at + 2
        if size >= 126:
            start += 2 if size == 126 else 8
            size = int.from_bytes(data[at + 2 : start])
        yield data[at] & 15, data[start : start + size]
        at = start + size


def masked(text: bytes) -> bytes:
    """A text frame of a client; the mask is 0, which takes as long to remove as any other."""
    size = len(text)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return b"\x81" + length + b"\0\0\0\0" + text


def share(samples: Sequence[float], part: float) -> float:
    """The sample below which this part of sorted ones lies, 0 if there are none."""
    return samples[min(len(samples) - 1, int(len(samples) * part))] if samples else 0.0


class Crowd:
    """The clients inside the process. They speak one protocol, as templates of `tests.bench.speak` say."""

    def __init__(self) -> None:
        self.listener: HttpListener | None = None
        self.clients: list[InnerClient] = []
        self.script: Sequence[tuple[str, str]] = ()
        self.path = self.publish = ""
        self.ping = self.pong = b""
        """The frames of a ping in this protocol and of its answer; those of WebSocket count in all."""
        self.pings = self.heard = self.lost = 0
        self._waiting: Iterator[int] = iter(())
        self._missing = 0
        self._all_joined: asyncio.Future[None] | None = None

    def speak(self, path: str, script: Sequence[tuple[str, str]], publish: str, reply: str) -> None:
        """Choose the protocol."""
        self.path, self.script, self.publish = path, script, publish
        ping, _, pong = reply.partition("=")
        self.ping, self.pong = (ping.encode(), masked(pong.encode())) if reply else (b"", b"")

    async def connect(self, count: int, first: int) -> None:
        """Connect so many clients, the first of which has this number, and let them join in rooms of two."""
        if count:
            self._waiting, self._missing = iter(range(first, first + count)), count
            self._all_joined = asyncio.get_running_loop().create_future()
            for _ in range(AT_ONCE):
                self._open_next()
            await self._all_joined

    def joined(self) -> None:
        """Take note that a client has joined."""
        self._missing -= 1
        if not self._missing and self._all_joined is not None:
            self._all_joined.set_result(None)
        self._open_next()

    def _open_next(self) -> None:
        number = next(self._waiting, None)
        if number is not None:
            assert self.listener is not None
            client = InnerClient(self, number)
            self.clients.append(client)
            client.open(HttpProtocol(self.listener))

    async def talk(self, rate: float) -> int:
        """Send a message into each room, so many a second; return how many messages reached the other member."""
        before, due = self.heard, time.perf_counter()
        for client in self.clients[::2]:
            client.say(client.filled(self.publish).replace("{mark}", f"#{client.number:019}#").replace("{pad}", ""))
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        deadline = time.monotonic() + PATIENCE
        while self.heard - before < len(self.clients) // 2 and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return self.heard - before

    def dismiss(self) -> None:
        """Disconnect all clients, without a close frame."""
        clients, self.clients = self.clients, []
        for client in clients:
            client.abort()


class InnerClient(asyncio.Transport):
    """A client, and the transport of the connection that the relay has with it."""

    __slots__ = ("_closing", "_crowd", "_protocol", "_step", "number")

    # `super` is not called: it would make a dict for each client.
    def __init__(self, crowd: Crowd, number: int) -> None:
        self._crowd = crowd
        self._protocol: Any = None
        self._closing = False
        self._step = -1
        """The number of the script's next step; -1 before the answer to the handshake."""
        self.number = number

    def open(self, protocol: asyncio.Protocol) -> None:
        """Connect, and send the handshake."""
        self._protocol = protocol
        protocol.connection_made(self)
        head = HEAD.format(path=self.filled(self._crowd.path), port=80)
        asyncio.get_running_loop().call_soon(self._arrive, head.encode())

    def filled(self, template: str) -> str:
        """A template for this client."""
        return template.replace("{client}", str(self.number)).replace("{room}", str(self.number // 2))

    def say(self, text: str) -> None:
        """Send a text."""
        self._arrive(masked(text.encode()))

    def _arrive(self, data: bytes) -> None:
        if not self._closing:
            self._protocol.data_received(data)

    # Bytes that the relay writes.

    def write(self, data: Any) -> None:
        """Take bytes of the server; answers are for a later turn of the event loop, as those over a network."""
        crowd = self._crowd
        if data == PING_FRAME:
            crowd.pings += 1
            asyncio.get_running_loop().call_soon(self._arrive, PONG_FRAME)
            return
        if self._step < 0:
            head, _, data = bytes(data).partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101"):
                self._fail(head)
                return
            self._step = 0
            self._follow_script()
        for opcode, payload in frames(bytes(data)):
            if opcode == 8:
                self._fail(payload)
            elif payload == crowd.ping and opcode == 1:
                crowd.pings += 1
                asyncio.get_running_loop().call_soon(self._arrive, crowd.pong)
            else:
                self._take(payload)

    def _take(self, payload: bytes) -> None:
        script = self._crowd.script
        if self._step >= len(script):
            self._crowd.heard += payload.count(b"#") >= 2
        elif script[self._step][1].encode() in payload:
            self._step += 1
            self._follow_script()

    def _follow_script(self) -> None:
        script = self._crowd.script
        while self._step < len(script) and script[self._step][0] == "send":
            text = self.filled(script[self._step][1])
            asyncio.get_running_loop().call_soon(self._arrive, masked(text.encode()))
            self._step += 1
        if self._step == len(script):
            self._crowd.joined()

    def _fail(self, reason: bytes) -> None:
        print("the relay ended a connection:", reason, file=sys.stderr, flush=True)
        self._crowd.lost += 1
        self.abort()

    # The rest of a transport.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """The addresses of both ends; there is no socket, and no TLS."""
        ports = {"peername": 1024 + self.number % 60_000, "sockname": 80}
        return ("127.0.0.1", ports[name]) if name in ports else default

    def is_closing(self) -> bool:
        """Whether the connection ends."""
        return self._closing

    def abort(self) -> None:
        """End the connection."""
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    close = abort

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Write to another protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The protocol of the connection."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def get_write_buffer_size(self) -> int:
        """0: the client takes all at once."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: there is no buffer."""

    def pause_reading(self) -> None:
        """Do nothing: a client sends what it is asked for."""

    def resume_reading(self) -> None:
        """Do nothing."""

    def can_write_eof(self) -> bool:
        """False: a connection ends as a whole."""
        return False


class LagProbe:
    """Looks at the clock each 5 ms, as a timer of the event loop: the lag is how much later than due it does.

    The worker's own work causes no more of a lag than the CPU time that its thread has used since the last look. The
    rest is time in which its core had other work.
    """

    def __init__(self) -> None:
        self._samples, self._own = array("d"), array("d")
        self._due = self._used = 0.0

    def begin(self) -> None:
        """Forget all samples, and look from now on."""
        running, self._samples, self._own = self._due > 0, array("d"), array("d")
        if not running:
            self._wait(time.perf_counter())

    def _wait(self, now: float) -> None:
        self._due, self._used = now + STEP, time.thread_time()
        asyncio.get_running_loop().call_later(STEP, self._look)

    def _look(self) -> None:
        now = time.perf_counter()
        late = max(0.0, now - self._due)
        self._samples.append(late)
        self._own.append(min(late, time.thread_time() - self._used))
        self._wait(now)

    def figures(self) -> Mapping[str, float]:
        """Percentiles of the lag and of its part by own work, in ms, and the number of samples."""
        figures = {"samples": float(len(self._samples))}
        for name, samples in (("", self._samples), ("own_", self._own)):
            found = [1000 * one for one in sorted(samples)]
            figures |= {
                f"{name}p50": share(found, 0.5),
                f"{name}p99": share(found, 0.99),
                f"{name}max": share(found, 1),
            }
        return figures


class Collections:
    """The longest garbage collection in CPU time, and how many full ones there were."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.full = 0
        self._began = 0.0
        gc.callbacks.append(self._collected)

    def begin(self) -> None:
        """Forget those that were."""
        self.longest, self.full = 0.0, 0

    def _collected(self, phase: str, info: Mapping[str, int]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._began = now
        else:
            self.longest = max(self.longest, now - self._began)
            self.full += info["generation"] == 2


def scheduled_timers() -> int:
    """How many timers the event loop has; the collector knows them all, once none are exempt."""
    gc.unfreeze()
    found = [one for one in gc.get_objects() if type(one).__name__ == "TimerHandle" and not one.cancelled()]
    gc.freeze()
    return len(found)


class Control:
    """Answers the commands of the benchmark."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._probe, self._collections = LagProbe(), Collections()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the connection ends."""
        while line := await reader.readline():
            command = json.loads(line)
            answer = await getattr(self, command.pop("do"))(**command)
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()

    async def speak(self, **dialect: Any) -> Mapping[str, float]:
        self._crowd.speak(**dialect)
        return {}

    async def connect(self, count: int, first: int) -> Mapping[str, float]:
        began = time.perf_counter()
        await self._crowd.connect(count, first)
        return {"seconds": time.perf_counter() - began}

    async def dismiss(self) -> Mapping[str, float]:
        self._crowd.dismiss()
        return {}

    async def begin(self) -> Mapping[str, float]:
        """Begin to measure."""
        self._crowd.pings = 0
        self._probe.begin()
        self._collections.begin()
        return {}

    async def end(self) -> Mapping[str, float]:
        """The figures since `begin`."""
        return {
            **self._probe.figures(),
            "pings": self._crowd.pings,
            "lost": self._crowd.lost,
            "collection": 1000 * self._collections.longest,
            "full": self._collections.full,
        }

    async def timers(self) -> Mapping[str, float]:
        return {"timers": scheduled_timers()}

    async def talk(self, rate: float) -> Mapping[str, float]:
        return {"heard": await self._crowd.talk(rate)}


def start(port: int, arguments: Sequence[str]) -> None:
    """Run the relay with these arguments, and listen for commands once it serves."""
    crowd = Crowd()
    control = Control(crowd)

    class CrowdServer(Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            await asyncio.start_server(control.serve, "127.0.0.1", port)

    def remembered(*values: Any, **fields: Any) -> HttpListener:
        listener = HttpListener(*values, **fields)
        crowd.listener = crowd.listener or listener
        return listener

    # Connections inside the process take no files, so the limits that follow from those of files do not count.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    replaced: Mapping[Any, Mapping[str, Any]] = {
        workers: {"Server": CrowdServer, "within_open_files": lambda settings: settings},
        server_module: {"HttpListener": remembered, "files_for_clients": lambda: None},
    }
    for module, names in replaced.items():
        for name, value in names.items():
            assert hasattr(module, name), name
            setattr(module, name, value)
    cli.main(list(arguments))


if __name__ == "__main__":
    start(int(sys.argv[1]), sys.argv[2:])
