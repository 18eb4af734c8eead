"""The settings of the Redis through which workers meet; `Settings` has them as well."""

from typing import Annotated, Literal

from relay.config.declaring import seconds, setting
from relay.config.redis_url import REDIS_URL_FORM, check_redis_url, parse_mapped_address
from relay.config.webhook_settings import WebhookSettings


class RedisAccessSettings(WebhookSettings, frozen=True, kw_only=True):
    """Where Redis is, how long a worker waits for it, and how long Redis keeps a worker's data."""

    redis_url: Annotated[
        str,
        setting(
            "URL of the Redis server through which workers exchange messages; empty for a single process without Redis",
            secret=True,
            allowed=REDIS_URL_FORM,
            check=check_redis_url,
        ),
    ] = ""
    redis_password: Annotated[str, setting("Password for Redis, if its URL has none", secret=True)] = ""
    redis_prefix: Annotated[
        str,
        setting(
            "First part of the name of every Redis key and channel",
            pattern=r"^[A-Za-z0-9._:-]{1,32}$",
            allowed="1 to 32 letters, digits and . _ : -",
        ),
    ] = "relay"
    redis_addresses: Annotated[
        tuple[str, ...],
        setting(
            "Where Redis is for workers that cannot use the addresses that sentinels name, or that the nodes of a "
            "Redis Cluster announce (NAT, another network), comma-separated",
            allowed="a list of ANNOUNCED_HOST:PORT=HOST:PORT, such as 10.0.0.7:6379=redis.example:7001",
            check=parse_mapped_address,
        ),
    ] = ()
    shards_needed: Annotated[
        Literal["any", "all"],
        setting(
            "Of a Redis Cluster, the shards without which a worker is not ready: with any, it is ready while one "
            "of them works, and /health names the others; with all, one lost shard takes every worker out"
        ),
    ] = "any"
    publish_timeout: Annotated[
        float,
        seconds("Time within which Redis must take a message", consequence="error unavailable or outcome_unknown"),
    ] = 5.0
    durability: Annotated[
        str,
        setting(
            "Where a message must be before its sender gets the acknowledgement: redis, or replicas=N for all replicas "
            "of Redis that are in sync as well, at least N, for which publish-timeout counts once more",
            pattern=r"^(redis|replicas=[1-9])$",
            allowed="redis, or replicas=1 to replicas=9",
            consequence="error outcome_unknown",
        ),
    ] = "redis"
    probe_timeout: Annotated[
        float,
        seconds(
            "A worker is not ready when none of its own probes has come back through Redis for this time",
            ge=0.3,
            consequence="/health answers 503",
        ),
    ] = 3.0
    worker_lease: Annotated[
        float,
        seconds(
            "A worker that has not renewed its lease in Redis for this time counts as dead",
            ge=0.5,
            consequence="another worker takes over its members",
        ),
    ] = 10.0
    room_state_ttl: Annotated[
        float,
        seconds(
            "Redis deletes the state of a room (members, message counter) when no worker has renewed it for this time, "
            "as all workers are dead. A room whose last member has left ends after history-ttl, if that is shorter",
            ge=2,
            le=31_536_000,
            consequence="the room begins a new epoch",
        ),
    ] = 3600.0

    @property
    def replicas(self) -> int:
        """How many replicas of Redis must have a message before it is acknowledged."""
        return int(self.durability.partition("=")[2] or 0)
