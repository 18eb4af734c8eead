"""The systems that are measured: how each is installed and started, and the protocol of its clients."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from tests.bench import install, speak
from tests.bench.install import BUILD, PEERS, ROOT
from tests.bench.speak import Dialect

__all__ = ["ABILITIES", "PURE_RELAY", "QUICK", "SYSTEMS", "Place", "System", "pure", "relay"]

RELAY = ROOT / "build" / "compiled" / "bin" / "relay"
PURE_RELAY = ROOT / ".venv" / "bin" / "relay"
# All limits stay on; these are raised, since the whole load comes from one address.
RAISED = (
    "handshake-rate", "connections-per-address", "http-connections-per-address", "new-rooms-per-address",
    "message-rate", "room-delivery-rate", "members-per-room", "places-per-address",
)  # fmt: skip
RAISED_BYTES = ("byte-rate", "address-byte-rate", "address-history-bytes")


@dataclass(frozen=True, slots=True)
class Place:
    """The port of a server, the port of its Redis, and a folder for it alone."""

    port: int
    redis: int
    folder: Path

    @property
    def url(self) -> str:
        """The address of Redis."""
        return f"redis://127.0.0.1:{self.redis}"

    def env(self) -> Mapping[str, str]:
        """The environment variables of the servers in peers/."""
        return {"PORT": str(self.port), "REDIS_URL": self.url}


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One system.

    A floor has no Redis, so it is not a peer: nothing here is expected to be below it. `only` names the shapes in which
    a system takes part; the empty one means all. `lacks` names the abilities of Relay that the system does not have or
    does not use here, of `ABILITIES`.
    """

    key: str
    title: str
    version: Callable[[], str]
    install: Callable[[], None]
    command: Callable[[Place], list[str]]
    dialect: Dialect
    redis: bool = True
    floor: bool = False
    only: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


ABILITIES = ("ids", "order", "log", "presence", "fencing")
"""Abilities that cost something for each message.

`ids`: every message has an id in its room, without holes. `order`: all members of a room hear the same order. `log`:
a client that comes back hears the messages that it missed. `presence`: every worker knows a room's members. `fencing`:
the messages of a worker that was given up are refused.
"""
NO_LOG = ("log",)
ORDER_ONLY = ("ids", "log", "presence", "fencing")


# Versions, as installed.


def pip(*names: str) -> Callable[[], str]:
    """Versions of Python packages in the bench's own environment."""
    return lambda: ", ".join(f"{name} {version(name)}" for name in names)


def npm(*names: str) -> Callable[[], str]:
    """Versions of Node packages, from their lock file."""

    def read() -> str:
        packages = json.loads((PEERS / "package-lock.json").read_text())["packages"]
        return ", ".join(f"{name} {packages[f'node_modules/{name}']['version']}" for name in names)

    return read


def relay_version(program: Path = RELAY) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return f"signal-relay {said.split(maxsplit=2)[-1].strip()}" if said.strip() else "this checkout"


def centrifuge_version() -> str:
    found = re.search(r"centrifugal/(centrifuge v\S+)", (PEERS / "centrifuge" / "go.mod").read_text())
    return found[1] if found else "centrifuge"


def compiler_version() -> str:
    return (
        "cc " + subprocess.run(["cc", "-dumpfullversion"], capture_output=True, text=True, check=False).stdout.strip()
    )


# How each starts.


def relay(*extra: str, bus: bool = True, log: int = 0, program: Path = RELAY) -> Callable[[Place], list[str]]:
    """This project, over Redis or in memory, with a history of this size; the other systems have none.

    It is the compiled build, as users install it, unless another `program` is named.
    """

    def command(place: Place) -> list[str]:
        raised = [word for name in RAISED for word in (f"--{name}", "1000000")]
        raised += [word for name in RAISED_BYTES for word in (f"--{name}", "1000000000")]
        redis = ["--redis-url", place.url] if bus else []
        kept = ["--history-size", str(log)]
        return [
            str(program),
            "serve",
            "--port",
            str(place.port),
            "--log-level",
            "warning",
            *redis,
            *raised,
            *kept,
            *extra,
        ]

    return command


def uvicorn(module: str) -> Callable[[Place], list[str]]:
    """A Python peer under uvicorn, with uvloop and httptools, which are installed."""
    options = ["--app-dir", str(PEERS), "--log-level", "error", "--no-access-log", "--backlog", "4096"]
    return lambda place: [sys.executable, "-m", "uvicorn", f"{module}:app", "--port", str(place.port), *options]


def node(script: str, *arguments: str) -> Callable[[Place], list[str]]:
    """A Node peer."""
    return lambda place: ["node", str(PEERS / script), *arguments]


def nchan(place: Place) -> list[str]:
    values = {
        "module": install.NCHAN_MODULE,
        "root": place.folder,
        "port": place.port,
        "redis": place.redis,
    }
    text = (PEERS / "nchan.conf").read_text()
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    (place.folder / "nginx.conf").write_text(text)
    binary = install.NCHAN / "usr/sbin/nginx"
    return [str(binary), "-p", str(place.folder), "-e", str(place.folder / "error.log"), "-c", "nginx.conf"]


def centrifugo(place: Place) -> list[str]:
    settings = {
        "http_server": {"address": "127.0.0.1", "port": str(place.port)},
        "client": {"insecure": True},
        "channel": {"without_namespace": {"allow_subscribe_for_client": True, "allow_publish_for_client": True}},
        "engine": {"type": "redis", "redis": {"address": place.url}},
        "log": {"level": "error"},
    }
    (place.folder / "config.json").write_text(json.dumps(settings))
    return [str(BUILD / "centrifugo"), "--config", str(place.folder / "config.json")]


def have_relay() -> None:
    if not (RELAY.exists() and PURE_RELAY.exists()):
        raise install.Missing("this project is not installed: make compiled")


def have_python_peers() -> None:
    """Nothing to do: they are in the virtual environment in which this runs."""


def have_uwebsockets() -> None:
    if (
        shutil.which("ldconfig")
        and "libuv.so" not in subprocess.run(["ldconfig", "-p"], capture_output=True, text=True).stdout
    ):
        raise install.Missing("socketify needs libuv1: apt-get install libuv1")


FLOODS = ("50x2", "20x10", "1x200")


def clients_of(key: str, clients: str, dialect: Dialect, only: tuple[str, ...]) -> tuple[System, System]:
    """This project with clients of another protocol, over Redis and in memory."""
    over_redis = System(
        key=key,
        title=f"Relay, Redis bus, {clients}",
        version=relay_version,
        install=have_relay,
        command=relay(),
        dialect=dialect,
        only=only,
    )
    title, command = f"Relay, memory bus, {clients}", relay(bus=False)
    return over_redis, replace(over_redis, key=f"{key}-memory", title=title, command=command, redis=False)


def socketio(key: str, client: str, adapter: str, server: str = "ws") -> System:
    """Socket.IO with one of its Redis adapters, Redis clients and WebSocket servers."""
    over, package = ("uWebSockets.js", "@trufflesuite/uws-js-unofficial") if server == "uws" else ("ws", "ws")
    library = "redis" if client == "node-redis" else client
    return System(
        key=key,
        title=f"Socket.IO over {over}, {adapter} adapter over {client}",
        version=npm("socket.io", "@socket.io/redis-adapter", library, package),
        install=install.install_npm,
        command=node("socketio.js", client, adapter, server),
        dialect=speak.SOCKETIO,
        lacks=ABILITIES,
    )


def pure(system: System) -> System:
    """A row of this project, of the checkout instead of the compiled build; the latter need not be there."""
    return replace(system, command=lambda place: [str(PURE_RELAY), *system.command(place)[1:]])


SYSTEMS = (
    System(
        key="relay",
        title="Relay, Redis bus",
        version=relay_version,
        install=have_relay,
        command=relay(),
        dialect=speak.RELAY,
        lacks=NO_LOG,
    ),
    System(
        key="relay-pure",
        title="Relay, Redis bus, pure Python",
        version=lambda: relay_version(PURE_RELAY),
        install=have_relay,
        command=relay(program=PURE_RELAY),
        dialect=speak.RELAY,
        only=("50x2", "20x10", "1x200", "idle"),
        lacks=NO_LOG,
    ),
    System(
        key="relay-log",
        title="Relay, Redis bus, with its log",
        version=relay_version,
        install=have_relay,
        command=relay(log=1000),
        dialect=speak.RELAY,
        only=("50x2", "20x10", "1x200"),
    ),
    System(
        key="relay-echo",
        title="Relay, Redis bus, with echo",
        version=relay_version,
        install=have_relay,
        command=relay(),
        dialect=speak.RELAY_ECHO,
        only=("50x2", "20x10", "1x200"),
        lacks=NO_LOG,
    ),
    System(
        key="relay-socketio",
        title="Relay, Redis bus, Socket.IO clients",
        version=relay_version,
        install=have_relay,
        command=relay(),
        dialect=speak.SOCKETIO,
        only=("50x2", "20x10", "1x200", "idle"),
        lacks=NO_LOG,
    ),
    *clients_of("relay-y-webrtc", "y-webrtc pages", speak.Y_WEBRTC, ("50x2", "20x10", "1x200")),
    *clients_of("relay-peerjs", "PeerJS clients", speak.PEERJS, ("50x2", "idle")),
    *clients_of("relay-signalr", "SignalR clients", speak.SIGNALR, ("50x2", "20x10", "1x200", "idle")),
    *clients_of("relay-signalr-invoke", "SignalR clients that await results", speak.SIGNALR_INVOKE, FLOODS),
    *clients_of("relay-ack", "acknowledged messages", speak.RELAY_ACK, FLOODS),
    *clients_of("relay-rtcmulticonnection", "RTCMultiConnection pages", speak.RTCMULTICONNECTION, ("50x2", "calls")),
    System(
        key="relay-http",
        title="Relay, Redis bus, plain HTTP",
        version=relay_version,
        install=have_relay,
        command=relay(),
        dialect=speak.HTTP,
        only=("50x2", "20x10", "1x200", "idle"),
        lacks=NO_LOG,
    ),
    System(
        key="relay-memory",
        title="Relay, memory bus",
        version=relay_version,
        install=have_relay,
        command=relay(bus=False),
        dialect=speak.RELAY,
        redis=False,
        lacks=NO_LOG,
    ),
    System(
        key="relay-two",
        title="Relay, Redis bus, two workers",
        version=relay_version,
        install=have_relay,
        command=relay("--workers", "2"),
        dialect=speak.RELAY,
        only=("50x2", "20x10", "1x200"),
        lacks=NO_LOG,
    ),
    System(
        key="starlette",
        title="Starlette + redis-py",
        version=pip("starlette", "redis", "uvicorn"),
        install=have_python_peers,
        command=uvicorn("starlette_redis"),
        dialect=speak.plain("/rooms/bench{room}"),
        lacks=ORDER_ONLY,
    ),
    System(
        key="python-socketio",
        title="python-socketio + Redis manager",
        version=pip("python-socketio", "redis", "uvicorn"),
        install=have_python_peers,
        command=uvicorn("python_socketio"),
        dialect=speak.SOCKETIO,
        lacks=ABILITIES,
    ),
    System(
        key="channels",
        title="Django Channels + channels_redis",
        version=pip("channels", "channels_redis", "django", "uvicorn"),
        install=have_python_peers,
        command=uvicorn("django_channels"),
        dialect=speak.plain("/rooms/bench{room}"),
        lacks=ABILITIES,
    ),
    socketio("socketio", "node-redis", "classic"),
    socketio("socketio-sharded", "node-redis", "sharded"),
    socketio("socketio-ioredis", "ioredis", "classic"),
    socketio("socketio-ioredis-sharded", "ioredis", "sharded"),
    socketio("socketio-uws", "ioredis", "classic", "uws"),
    socketio("socketio-uws-sharded", "ioredis", "sharded", "uws"),
    System(
        key="ws",
        title="ws + ioredis",
        version=npm("ws", "ioredis"),
        install=install.install_npm,
        command=node("ws_ioredis.js"),
        dialect=speak.plain("/bench{room}"),
        lacks=ORDER_ONLY,
    ),
    System(
        key="nchan",
        title="Nchan + Redis",
        version=install.nchan_version,
        install=install.install_nchan,
        command=nchan,
        dialect=speak.NCHAN,
        lacks=ORDER_ONLY,
    ),
    System(
        key="centrifugo",
        title="Centrifugo, Redis engine",
        version=lambda: f"centrifugo {install.CENTRIFUGO}",
        install=install.install_centrifugo,
        command=centrifugo,
        dialect=speak.CENTRIFUGE,
        lacks=ORDER_ONLY,
    ),
    System(
        key="centrifuge",
        title="centrifuge library, Redis broker",
        version=centrifuge_version,
        install=install.build_centrifuge,
        command=lambda place: [str(BUILD / "centrifuge")],
        dialect=speak.CENTRIFUGE,
        lacks=ORDER_ONLY,
    ),
    System(
        key="y-webrtc",
        title="y-webrtc's own server, no Redis",
        version=npm("y-webrtc", "ws"),
        install=install.install_npm,
        command=node("node_modules/y-webrtc/bin/server.js"),
        dialect=speak.Y_WEBRTC_ECHO,
        redis=False,
        floor=True,
        only=("50x2", "20x10", "1x200"),
        lacks=ORDER_ONLY,
    ),
    System(
        key="peer",
        title="PeerServer, no Redis",
        version=npm("peer", "ws"),
        install=install.install_npm,
        command=node("peerserver.js"),
        dialect=speak.PEERJS,
        redis=False,
        floor=True,
        only=("50x2", "idle"),
        lacks=ORDER_ONLY,
    ),
    System(
        key="rtcmulticonnection",
        title="RTCMultiConnection's own server, no Redis",
        version=npm("rtcmulticonnection-server", "socket.io"),
        install=install.install_npm,
        command=node("rtcmulticonnection.js"),
        dialect=speak.RTCMULTICONNECTION,
        redis=False,
        floor=True,
        only=("50x2", "calls"),
        lacks=ORDER_ONLY,
    ),
    System(
        key="uwebsockets",
        title="uWebSockets, no Redis",
        version=pip("socketify"),
        install=have_uwebsockets,
        command=lambda place: [sys.executable, str(PEERS / "uwebsockets.py")],
        dialect=speak.plain("/rooms/bench{room}", echo=True),
        redis=False,
        floor=True,
        lacks=ORDER_ONLY,
    ),
    System(
        key="write-loop",
        title="bare write loop in C",
        version=compiler_version,
        install=install.build_write_loop,
        command=lambda place: [str(BUILD / "write_loop"), str(place.port)],
        dialect=speak.plain("/rooms/{room}"),
        redis=False,
        floor=True,
        lacks=ORDER_ONLY,
    ),
)
QUICK = ("relay", "socketio-ioredis", "ws", "uwebsockets")
