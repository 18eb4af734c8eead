"""A master, a replica, and three sentinels that watch them, as processes."""

import asyncio
import subprocess
import tempfile
from pathlib import Path
from typing import Final, Self

import redis

from tests.fleet import RedisServer, eventually, require
from tests.ports import free_port, release_port

SERVICE: Final = "primary"
_DOWN_AFTER: Final = 2500
"""Milliseconds without an answer after which a sentinel takes Redis for dead; a busy machine delays answers."""


class Sentinel:
    """A `redis-server --sentinel` process."""

    def __init__(self, master: RedisServer, quorum: int) -> None:
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="relay-sentinel-")
        config = Path(self._directory.name) / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._directory.name}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {master.port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER}\n"
            # Also the time after which the next attempt follows a failover that no majority agreed on.
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        command = [require("redis-server"), str(config), "--sentinel"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def says(self, field: str) -> str:
        """A field of this sentinel's answer about the master; "" while it does not answer."""
        try:
            with redis.Redis(port=self.port, decode_responses=True) as client:
                answer = client.execute_command("SENTINEL", "MASTER", SERVICE)
        except redis.RedisError:
            return ""
        return str(answer[field])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        release_port(self.port)
        self._directory.cleanup()


class SentinelSet:
    """`master` and `replica`, and the sentinels; `url` is for the relay."""

    def __init__(self) -> None:
        self.master = RedisServer()
        self.replica = RedisServer()
        self._sentinels: list[Sentinel] = []

    @property
    def url(self) -> str:
        """The URL of the relay's user, by way of the sentinels."""
        login = self.master.url.partition("://")[2].rpartition("@")[0]
        return f"redis+sentinel://{login}@{','.join(f'127.0.0.1:{one.port}' for one in self._sentinels)}/{SERVICE}"

    async def start(self) -> Self:
        for server in (self.master, self.replica):
            await asyncio.to_thread(server.start)
        await asyncio.to_thread(self.replica.follow, self.master)
        self._sentinels = [Sentinel(self.master, quorum=2) for _ in range(3)]
        # A failover needs a replica and a majority: each sentinel knows both.
        for field, number in (("num-slaves", "1"), ("num-other-sentinels", "2")):
            for one in self._sentinels:
                await eventually(lambda one=one, field=field, number=number: one.says(field) == number, 30)
        return self

    async def ask_for_failover(self) -> None:
        """Have a sentinel begin a failover while the master lives, as for maintenance."""
        with redis.Redis(port=self._sentinels[0].port) as client:
            await asyncio.to_thread(client.execute_command, "SENTINEL", "FAILOVER", SERVICE)

    async def failed_over(self) -> None:
        """Return when all sentinels name the replica as the master, and it takes writes."""
        for one in self._sentinels:
            await eventually(lambda one=one: one.says("port") == str(self.replica.port), 60)
        with self.replica.client as client:
            await eventually(lambda: client.info("replication")["role"] == "master", 30)

    def close(self) -> None:
        for one in self._sentinels:
            one.close()
        self.master.close()
        self.replica.close()
