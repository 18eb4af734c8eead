"""The scripts and users of deploy/cluster, with real servers: nodes that become a cluster, and heal."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import yaml

from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Client, eventually, require
from tests.ports import free_port, release_port
from tests.unit.test_deployment import DEPLOY, make_secrets

pytestmark = [pytest.mark.gateways, pytest.mark.timeout(240)]

NODES = tuple(f"127.0.0.{number}" for number in range(1, 8))
MASTERS = NODES[:3]


class ScriptedCluster:
    """The processes of deploy/cluster/compose.yml, each at an address of its own instead of in a container."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.secrets = make_secrets(folder)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        acl = folder / "volume" / "redis.acl"
        text = (DEPLOY / "redis" / "redis.conf").read_text()
        text = text.replace("/run/relay/redis.acl", str(acl)).replace("dir /data", f"dir {folder}")
        (folder / "redis.conf").write_text(text)

    def start(self, address: str) -> None:
        """Start a node."""
        require("redis-server")
        data = self._folder / address
        data.mkdir(exist_ok=True)
        self._processes[address] = subprocess.Popen(
            ["sh", f"{DEPLOY}/cluster/node.sh", "--bind", address, "--dir", str(data), "--port", str(self._port)],
            env=self._environ | {"DATA": str(data), "NODE": address, "ADDRESS": address},
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def _environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "SECRETS": str(self._folder / "volume"),
            "BASE": str(self._folder / "redis.conf"),
        }

    def join(self) -> str:
        """Run the script of the service `cluster`."""
        more = {"NODES": " ".join(NODES), "MASTERS": str(len(MASTERS)), "PORT": str(self._port)}
        command = ["sh", str(DEPLOY / "cluster" / "join.sh")]
        done = subprocess.run(command, env=self._environ | more, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def forget(self, address: str) -> None:
        """Let a node lose its process and its folder."""
        self.kill(address)
        shutil.rmtree(self._folder / address)

    def kill(self, address: str) -> None:
        self._processes[address].kill()
        self._processes[address].wait()

    def roles(self) -> dict[str, str]:
        """The nodes that live, by address, as the last one lists them."""
        with redis.Redis(
            host=NODES[-1], port=self._port, username="operator", password=self.secrets["operator_password"],
            decode_responses=True,
        ) as client:  # fmt: skip
            lines = client.execute_command("CLUSTER NODES").items()
        return {
            place.partition(":")[0]: "slave" if "slave" in found["flags"] else "master"
            for place, found in lines
            if "fail" not in found["flags"] and "noaddr" not in found["flags"]
        }

    @property
    def url(self) -> str:
        """The URL of compose.yml with the addresses of this test."""
        text = (DEPLOY / "cluster" / "compose.yml").read_text().replace("!override", "")
        written = yaml.safe_load(text)["services"]["worker"]["environment"]["RELAY_REDIS_URL"]
        scheme, at, names = written.partition("@")
        assert len(names.split(",")) == len(NODES)
        return scheme + at + ",".join(f"{address}:{self._port}" for address in NODES)

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        release_port(self._port)


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[ScriptedCluster]:
    scripted = ScriptedCluster(tmp_path)
    try:
        for address in NODES:
            scripted.start(address)
        yield scripted
    finally:
        scripted.close()


async def is_acknowledged(client: Client, key: str) -> bool:
    answer = await client.ask({"type": "publish", "key": key, "envelope": {"message": key}})
    return answer.get("type") == "ack"


async def test_nodes_become_a_cluster_that_heals(
    start: MakeRelay, enter: MakeClient, scripted: ScriptedCluster
) -> None:
    assert "the slots are given to 3 masters" in await asyncio.to_thread(scripted.join)
    complete = dict.fromkeys(MASTERS, "master") | dict.fromkeys(NODES[3:], "slave")
    assert scripted.roles() == complete
    # A second run changes nothing.
    assert (await asyncio.to_thread(scripted.join)).strip() == "cluster: complete"
    relay = await start(
        redis_url=scripted.url,
        redis_password=scripted.secrets["redis_password"],
        durability="replicas=1",
        publish_timeout=3,
        reconnect_grace=60,
        shards_needed="all",
    )
    clients = [await enter(relay, f"/rooms/room{number}?peer=ann") for number in range(6)]

    async def all_acknowledged(key: str) -> bool:
        return all([await is_acknowledged(client, key) for client in clients])

    assert await eventually(lambda: all_acknowledged("before"), 60)
    # The replica of a lost master takes its part, and the spare one follows that: writes need a replica.
    scripted.kill(MASTERS[0])
    assert await eventually(lambda: all_acknowledged("after"), 90)
    # A node that has lost its folder becomes a replica with the next run.
    scripted.forget(MASTERS[0])
    scripted.start(MASTERS[0])
    assert f"cluster: {MASTERS[0]} is a replica" in await asyncio.to_thread(scripted.join)
    assert scripted.roles()[MASTERS[0]] == "slave"
