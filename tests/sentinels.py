"""A master, its replicas, and three sentinels that watch them, as processes."""

import asyncio
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

import redis

from tests import redis_user
from tests.certificates import Certificates
from tests.fleet import RedisServer, Relay, eventually, require
from tests.ports import free_port, release_port

SERVICE: Final = "primary"
PASSWORD: Final = "for-sentinels"
"""The password of the relay's user at the sentinels; that at Redis is another one."""

_DOWN_AFTER: Final = 2500
"""Milliseconds without an answer after which a sentinel takes Redis for dead; a busy machine delays answers."""

SAFE: Final = {"min-replicas-to-write": 1, "min-replicas-max-lag": 10, "repl-diskless-sync-delay": 0}
"""Options with which a master of the past refuses writes, as `deploy/sentinel` sets them."""


class Sentinel:
    """A `redis-server --sentinel` process; one that was killed has its state when it starts again."""

    def __init__(self, master: RedisServer, quorum: int, options: Mapping[str, object]) -> None:
        self.port = free_port()
        self.link_port = int(str(options.get("tls-port", self.port)))
        """The port for workers: that with TLS, if the options have one."""
        self._directory = tempfile.TemporaryDirectory(prefix="relay-sentinel-")
        self._config = Path(self._directory.name) / "sentinel.conf"
        self._config.write_text(
            # With this user, workers may ask for the master, and do nothing else, as in `deploy/sentinel`.
            f"user {redis_user.NAME} on >{PASSWORD} resetchannels -@all "
            + " ".join(f"+{command}" for command in redis_user.OF_SENTINELS)
            + f"\nport {self.port}\nbind 127.0.0.1\ndir {self._directory.name}\n"
            + "".join(f"{name} {value}\n" for name, value in options.items())
            + f"sentinel monitor {SERVICE} 127.0.0.1 {master.link_port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER}\n"
            # Also the time after which the next attempt follows a failover that no majority agreed on.
            f"sentinel failover-timeout {SERVICE} 3000\n"
            f"sentinel parallel-syncs {SERVICE} 2\n"
        )
        self.start()

    def start(self) -> None:
        """Start the process."""
        command = [require("redis-server"), str(self._config), "--sentinel"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait()

    def says(self, field: str) -> str:
        """A field of this sentinel's answer about the master; "" while it does not answer."""
        try:
            with redis.Redis(port=self.port, decode_responses=True) as client:
                answer = client.execute_command("SENTINEL", "MASTER", SERVICE)
        except redis.RedisError:
            return ""
        return str(answer[field])

    def close(self) -> None:
        self.kill()
        for port in {self.port, self.link_port}:
            release_port(port)
        self._directory.cleanup()


class SentinelSet:
    """Servers, one of which is the master, and the sentinels; `url` is for the relay.

    `master` and `replica` are the first master and its first replica, also after a failover. The servers are
    `safe` unless a test needs a master that takes writes without replicas. With `certificates`, all of them use TLS.
    """

    def __init__(self, replicas: int = 1, *, safe: bool = False, certificates: Certificates | None = None) -> None:
        self._certificates = certificates
        self.servers = [
            RedisServer(options={**(SAFE if safe else {}), **self._tls_options()}) for _ in range(1 + replicas)
        ]
        self.master, self.replica = self.servers[:2]
        self.sentinels: list[Sentinel] = []

    @property
    def url(self) -> str:
        """The URL of the relay's user, by way of the sentinels."""
        return self.url_by([one.link_port for one in self.sentinels])

    def url_by(self, ports: list[int]) -> str:
        """The URL of the relay's user, by way of sentinels at these ports."""
        login = self.master.url.partition("://")[2].rpartition("@")[0]
        servers = ",".join(f"127.0.0.1:{port}" for port in ports)
        own = f"sentinel_username={redis_user.NAME}&sentinel_password={PASSWORD}"
        if self._certificates is None:
            return f"redis+sentinel://{login}@{servers}/{SERVICE}?{own}"
        return f"rediss+sentinel://{login}@{servers}/{SERVICE}?{own}&ssl_ca_certs={self._certificates.authority}"

    def _tls_options(self) -> Mapping[str, object]:
        return self._certificates.server_options() if self._certificates is not None else {}

    async def start(self) -> Self:
        for server in self.servers:
            await asyncio.to_thread(server.start)
        for server in self.servers[1:]:
            await asyncio.to_thread(server.follow, self.master)
        self.sentinels = [Sentinel(self.master, quorum=2, options=self._tls_options()) for _ in range(3)]
        # A failover needs a replica and a majority: each sentinel knows both.
        for field, number in (("num-slaves", str(len(self.servers) - 1)), ("num-other-sentinels", "2")):
            for one in self.sentinels:
                await eventually(lambda one=one, field=field, number=number: one.says(field) == number, 30)
        return self

    async def ask_for_failover(self) -> None:
        """Have a sentinel begin a failover while the master lives, as for maintenance."""

        def ask() -> bool:
            try:
                with redis.Redis(port=self.sentinels[0].port) as client:
                    client.execute_command("SENTINEL", "FAILOVER", SERVICE)
            except redis.ResponseError:
                # It knows too little of the replicas yet, or an earlier failover is not over.
                return False
            return True

        await eventually(lambda: asyncio.to_thread(ask), 30)

    async def promoted(self, old: RedisServer) -> RedisServer:
        """Return the server that takes the part of `old`, as soon as one is told to."""
        others = [server for server in self.servers if server is not old]

        def leading() -> RedisServer | None:
            return next((server for server in others if role(server) == "master"), None)

        return await eventually(lambda: asyncio.to_thread(leading), 120)  # type: ignore[no-any-return]

    async def failed_over(self, old: RedisServer | None = None) -> RedisServer:
        """Return the new master when all sentinels that run name it, and it takes writes."""
        old = old or self.master

        def agreed() -> RedisServer | None:
            # Looked for each time: on a busy machine, the new master may be replaced in its turn.
            named = {one.says("port") for one in self.sentinels} - {""}
            new = next((server for server in self.servers if named == {str(server.link_port)}), None)
            return new if new is not None and new is not old and takes_writes(new) else None

        return await eventually(lambda: asyncio.to_thread(agreed), 120)  # type: ignore[no-any-return]

    def close(self) -> None:
        for one in self.sentinels:
            one.close()
        for server in self.servers:
            server.close()


def takes_writes(server: RedisServer) -> bool:
    """Whether a master writes: a new one that needs replicas has to wait for them."""
    try:
        with redis.Redis(port=server.port, socket_timeout=0.5) as client:
            return bool(client.set("written-by-a-test", 1, px=1000))
    except redis.RedisError:
        return False


def role(server: RedisServer) -> str:
    """Whether a server is a "master" or a "slave"; "" while it does not answer."""
    try:
        with redis.Redis(port=server.port, socket_timeout=0.5) as client:
            return str(client.info("replication")["role"])
    except redis.RedisError:
        return ""


async def connections(relay: Relay) -> float:
    """Return how often a worker has connected to Redis again."""
    return await relay.metric("relay_redis_reconnects_total")


async def follow(relay: Relay, before: float) -> None:
    """Return when a worker is ready at the new master; `before` is the number of its `connections` at the old one.

    Before it leaves the old master, it is ready as well: a client that comes then finds it between the two, and the old
    master may take messages that are lost with it.
    """

    async def has_left() -> bool:
        # Its connection for commands and that for events.
        return await connections(relay) >= before + 2

    await eventually(has_left, 60)
    await eventually(relay.healthy, 60)
