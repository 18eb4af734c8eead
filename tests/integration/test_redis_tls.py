"""Workers over TLS to a real Redis, to sentinels and their master, and to a cluster; and addresses that are mapped."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import httpx2 as httpx
import pytest

from relay.backend.redis.cluster.slots import slot_of_tag
from tests import redis_user
from tests.certificates import Certificates, require_tls
from tests.clusters import Cluster, Node
from tests.conftest import MakeClient, MakeRelay
from tests.fleet import Proxy, RedisServer, Relay, eventually
from tests.integration.test_cluster import room_at, talk
from tests.sentinels import SentinelSet, connections, follow

pytestmark = [pytest.mark.gateways, pytest.mark.timeout(240)]

SETTINGS = {"publish_timeout": 3, "reconnect_grace": 60}


@pytest.fixture(scope="module")
def certificates() -> Iterator[Certificates]:
    require_tls()
    certificates = Certificates()
    yield certificates
    certificates.close()


@pytest.fixture(scope="module")
def stranger() -> Iterator[Certificates]:
    """An authority that has not issued the certificates of the servers."""
    stranger = Certificates()
    yield stranger
    stranger.close()


async def say(enter: MakeClient, relays: list[Relay], room: str = "room") -> None:
    """Have two new clients of a room on two workers talk."""
    ann, ben = [await enter(relay, f"/rooms/{room}") for relay in relays]
    await talk(ann, ben, "hello")


async def told(relay: Relay, words: str) -> None:
    """Return when `/health` is red and has these words."""

    async def is_told() -> bool:
        # On a busy machine, an answer may take longer than the client waits for it.
        with suppress(httpx.TransportError):
            answer = await relay.get("/health", headers=relay.authorised)
            return answer.status_code == 503 and words in answer.text
        return False

    await eventually(lambda: relay.healthy(503), 45)
    await eventually(is_told, 60)


async def refused(start: MakeRelay, url: str, authority: Certificates, stranger: Certificates) -> None:
    """Start a worker that trusts another authority: it says so."""
    other = url.replace(str(authority.authority), str(stranger.authority))
    assert other != url
    relay = await start(ready=False, redis_url=other)
    await told(relay, "its TLS certificate is not accepted (")
    assert redis_user.PASSWORD not in relay.logged


async def test_one_redis(
    start: MakeRelay, enter: MakeClient, certificates: Certificates, stranger: Certificates
) -> None:
    # It asks for the certificate of each client.
    server = RedisServer(options={**certificates.server_options(), "tls-auth-clients": "yes"}).start()
    own = f"ssl_certfile={certificates.certificate}&ssl_keyfile={certificates.key}"
    url = f"{server.url.replace('redis:', 'rediss:')}?ssl_ca_certs={certificates.authority}"
    try:
        await say(enter, [await start(redis_url=f"{url}&{own}") for _ in range(2)])
        await refused(start, f"{url}&{own}", certificates, stranger)
        missing = await start(ready=False, redis_url=url.replace("ca.pem", "none.pem"))
        await told(missing, "a file that redis-url names does not exist")
    finally:
        server.close()


async def test_sentinels_and_their_master(
    start: MakeRelay, enter: MakeClient, certificates: Certificates, stranger: Certificates
) -> None:
    sentinels = SentinelSet(certificates=certificates)
    try:
        await sentinels.start()
        relays = [await start(redis_url=sentinels.url, **SETTINGS) for _ in range(2)]
        await say(enter, relays)
        await refused(start, sentinels.url, certificates, stranger)
        before = [await connections(relay) for relay in relays]
        await sentinels.ask_for_failover()
        await sentinels.failed_over()
        for relay, number in zip(relays, before, strict=True):
            await follow(relay, number)
        await say(enter, relays, "other")
    finally:
        sentinels.close()


async def test_a_cluster(
    start: MakeRelay, enter: MakeClient, certificates: Certificates, stranger: Certificates
) -> None:
    cluster = Cluster(certificates=certificates)
    try:
        await asyncio.to_thread(cluster.start)
        relays = [await start(redis_url=cluster.url, shards_needed="all", **SETTINGS) for _ in range(2)]
        for shard in range(3):
            await say(enter, relays, room_at(shard))
        await refused(start, cluster.url, certificates, stranger)
    finally:
        cluster.close()


async def test_a_master_that_workers_reach_at_another_address_than_sentinels(
    start: MakeRelay, enter: MakeClient
) -> None:
    sentinels = SentinelSet()
    try:
        await sentinels.start()
        async with Proxy(sentinels.master.port) as proxy:
            mapped = f"127.0.0.1:{sentinels.master.port}=127.0.0.1:{proxy.port}"
            relays = [await start(redis_url=sentinels.url, redis_addresses=mapped, **SETTINGS) for _ in range(2)]
            await say(enter, relays)
            proxy.refusing = True
            proxy.cut()
            await eventually(lambda: relays[0].healthy(503), 30)
            proxy.refusing = False
            await eventually(relays[0].healthy, 30)
    finally:
        sentinels.close()


async def test_a_cluster_whose_nodes_announce_names_that_workers_do_not_know(
    start: MakeRelay, enter: MakeClient
) -> None:
    cluster = Cluster()
    try:
        await asyncio.to_thread(cluster.start)
        mapped = [announced(node, f"redis-{number}.invalid") for number, node in enumerate(cluster.masters)]
        for node in cluster.masters:
            await eventually(lambda node=node: str(node.ask("SHARDS")).count(".invalid") >= 3, 30)
        relays = [
            await start(redis_url=cluster.url, redis_addresses=",".join(mapped), shards_needed="all", **SETTINGS)
            for _ in range(2)
        ]
        room = room_at(0)
        await say(enter, relays, room)
        # The first node redirects workers by the name.
        await asyncio.to_thread(cluster.move_slot, slot_of_tag(room), cluster.masters[1])
        await say(enter, relays, room)
    finally:
        cluster.close()


def announced(node: Node, name: str) -> str:
    """Have a node announce itself by a name; return the mapping of this name."""
    with node.client as client:
        client.config_set("cluster-announce-hostname", name)
        client.config_set("cluster-preferred-endpoint-type", "hostname")
    return f"{name}:{node.port}=127.0.0.1:{node.port}"
