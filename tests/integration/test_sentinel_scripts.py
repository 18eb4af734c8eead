"""The scripts and users of deploy/sentinel, with real servers: a set that fails over, and a worker that follows it."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
import yaml

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, eventually, require
from tests.ports import free_port, release_port
from tests.unit.test_deployment import DEPLOY, make_secrets

pytestmark = [pytest.mark.gateways, pytest.mark.timeout(240)]

NODES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
SENTINELS = ("127.0.0.11", "127.0.0.12", "127.0.0.13")


class ScriptedSet:
    """The processes of deploy/sentinel/compose.yml, each at an address of its own instead of in a container."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port, self._sentinel_port = free_port(), free_port()
        self.secrets = make_secrets(folder)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        require("redis-server")
        acl = self._folder / "volume" / "redis.acl"
        base = self._folder / "redis.conf"
        text = (DEPLOY / "redis" / "redis.conf").read_text()
        base.write_text(text.replace("/run/relay/redis.acl", str(acl)).replace("dir /data", f"dir {self._folder}"))
        for address in NODES:
            self._run("node.sh", address, "--port", str(self._port), BASE=base, PORT=self._port)
        for address in SENTINELS:
            self._run("sentinel.sh", address, "--port", str(self._sentinel_port), MASTER_PORT=self._port)

    def _run(self, script: str, address: str, *options: str, **environ: object) -> None:
        data = self._folder / address
        data.mkdir(exist_ok=True)
        places = {"DATA": data, "SECRETS": self._folder / "volume", "NODE": address, "MASTER": NODES[0]}
        self._processes[address] = subprocess.Popen(
            ["sh", str(DEPLOY / "sentinel" / script), "--bind", address, "--dir", str(data), *options],
            env={"PATH": "/usr/bin:/bin"} | {name: str(value) for name, value in (places | environ).items()},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def url(self, written: str) -> str:
        """The URL of compose.yml with the addresses of this test."""
        for number, address in enumerate(SENTINELS, 1):
            written = written.replace(f"sentinel-{number}", f"{address}:{self._sentinel_port}")
        return written

    def master(self, user: str = "relay") -> str:
        """The address that the first sentinel names; "" while it does not answer."""
        with (
            suppress(redis.RedisError),
            redis.Redis(
                host=SENTINELS[0], port=self._sentinel_port, username=user, password="", decode_responses=True
            ) as client,
        ):
            answer = client.execute_command("SENTINEL", "MASTER", "relay")
            return str(answer["ip"]) if int(answer["num-slaves"]) >= 2 else ""
        return ""

    def flags(self) -> str:
        """The flags that the first sentinel gives the master; "master" alone if it reaches it."""
        with redis.Redis(
            host=SENTINELS[0], port=self._sentinel_port, username="relay", password="", decode_responses=True
        ) as client:
            return str(client.execute_command("SENTINEL", "MASTER", "relay")["flags"])

    def replicas_in_step(self) -> int:
        """How many replicas the master has."""
        with (
            suppress(redis.RedisError),
            redis.Redis(
                host=self.master(), port=self._port, username="operator", password=self.secrets["operator_password"]
            ) as client,
        ):
            found = client.info("replication")
            return sum(found[name]["state"] == "online" for name in ("slave0", "slave1") if name in found)
        return 0

    def kill(self, address: str) -> None:
        self._processes[address].kill()

    def renew(self) -> None:
        """Make new secrets, and start all processes again."""
        self._kill_all()
        self.secrets = make_secrets(self._folder, "new")
        self.start()

    def _kill_all(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()

    def close(self) -> None:
        self._kill_all()
        for port in (self._port, self._sentinel_port):
            release_port(port)


@pytest.fixture
async def scripted(tmp_path: Path) -> AsyncIterator[ScriptedSet]:
    scripted = ScriptedSet(tmp_path)
    try:
        scripted.start()
        yield scripted
    finally:
        scripted.close()


async def is_acknowledged(client: Client, key: str) -> bool:
    answer = await client.ask({"type": "publish", "key": key, "envelope": {"message": key}})
    return answer.get("type") == "ack"


async def test_a_worker_of_the_variant_follows_its_master(
    start: MakeRelay, enter: MakeClient, scripted: ScriptedSet
) -> None:
    await eventually(lambda: asyncio.to_thread(lambda: scripted.master() == NODES[0]), 60)
    text = (DEPLOY / "sentinel" / "compose.yml").read_text().replace("!override", "")
    settings = yaml.safe_load(text)["services"]["worker"]["environment"]
    relay = await start(
        redis_url=scripted.url(settings["RELAY_REDIS_URL"]),
        redis_password=scripted.secrets["redis_password"],
        durability=settings["RELAY_DURABILITY"],
        publish_timeout=3,
        reconnect_grace=60,
    )
    ann = await enter(relay, "/rooms/room?peer=ann")
    assert await eventually(lambda: is_acknowledged(ann, "before"), 30)
    scripted.kill(NODES[0])
    assert await eventually(lambda: is_acknowledged(ann, "after"), 90)
    await eventually(lambda: asyncio.to_thread(lambda: scripted.master() in NODES[1:]), 30)

    async def named() -> bool:
        checks = (await relay.get("/health", headers=relay.authorised)).json()["checks"]
        return f"master {scripted.master()}:" in checks["replicas"]["text"]

    await eventually(named, 30)


async def test_new_passwords_are_used_after_a_restart_and_parts_stay(scripted: ScriptedSet) -> None:
    """After a failover, each Redis has a file with all settings of before."""
    await eventually(lambda: asyncio.to_thread(lambda: scripted.master() == NODES[0]), 60)
    await eventually(lambda: asyncio.to_thread(lambda: scripted.replicas_in_step() == 2), 60)
    scripted.kill(NODES[0])
    await eventually(lambda: asyncio.to_thread(lambda: scripted.master() in NODES[1:]), 60)
    new = scripted.master()
    await eventually(lambda: asyncio.to_thread(lambda: scripted.replicas_in_step() == 1), 60)
    await asyncio.to_thread(scripted.renew)
    # The sentinels log in to each Redis, and the replicas to their master.
    await eventually(lambda: asyncio.to_thread(lambda: scripted.master() == new), 90)
    await eventually(lambda: asyncio.to_thread(lambda: scripted.replicas_in_step() == 2), 60)
    await eventually(lambda: asyncio.to_thread(lambda: scripted.flags() == "master"), 60)


async def test_workers_may_ask_a_sentinel_for_the_master_and_do_nothing_else(scripted: ScriptedSet) -> None:
    await eventually(lambda: asyncio.to_thread(lambda: scripted.master() == NODES[0]), 60)
    with redis.Redis(
        host=SENTINELS[0], port=scripted._sentinel_port, username="relay", password="", decode_responses=True
    ) as client:
        for command in ("SENTINEL FAILOVER relay", "SENTINEL REMOVE relay", "SENTINEL MASTERS", "SHUTDOWN", "ACL LIST"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
    with redis.Redis(host=SENTINELS[0], port=scripted._sentinel_port) as stranger, pytest.raises(redis.RedisError):
        stranger.execute_command("SENTINEL", "MASTER", "relay")
