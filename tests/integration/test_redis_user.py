"""The rules that deploy/redis/secrets.sh writes, in a real Redis: the commands of the relay's user."""

from collections.abc import Iterator

import pytest
import redis

from tests.fleet import RedisServer
from tests.unit.test_deployment import make_secrets


@pytest.fixture(scope="module")
def relay_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A client with the name and password of the relay in a Redis with the users of the script."""
    made = make_secrets(tmp_path_factory.mktemp("redis"))
    server = RedisServer().start()
    with server.client as client:
        # The lines of the file, as `aclfile` takes them; the server of the tests has no file.
        for line in made["redis.acl"].splitlines():
            _, name, *rules = line.split(" ")
            if name != "default":
                client.execute_command("ACL", "SETUSER", name, "reset", *rules)
    with redis.Redis(port=server.port, username="relay", password=made["redis_password"]) as client:
        yield client
    server.close()


def test_it_may_use_its_keys_and_channels(relay_user: redis.Redis) -> None:
    assert relay_user.set("relay:x", 1)
    assert relay_user.publish("relay:x", "1") == 0
    assert relay_user.ping()
    assert relay_user.info("server")["run_id"]


@pytest.mark.parametrize(
    "command",
    [
        "SET other 1",
        "PUBLISH other 1",
        "SUBSCRIBE other",
        "PSUBSCRIBE *",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "EVAL return{} 0",
        "FCALL x 0",
        "SCRIPT FLUSH",
        "SCRIPT KILL",
        "FUNCTION LIST",
        "CLIENT LIST",
        "CLIENT KILL TYPE normal",
        "CLIENT NO-EVICT on",
        "CONFIG GET maxmemory",
        "ACL LIST",
        "FLUSHALL",
        "FLUSHDB",
        "MONITOR",
        "SHUTDOWN NOSAVE",
        "REPLICAOF NO ONE",
        "SAVE",
        "SWAPDB 0 1",
        "MOVE relay:x 1",
        "DUMP relay:x",
        "MIGRATE h 1 relay:x 0 1",
        "RENAME relay:x relay:y",
        "SETRANGE relay:x 500000000 x",
        "SETBIT relay:x 4000000000 1",
        "SORT relay:x",
        "BLPOP relay:x 0",
    ],
)
def test_it_may_do_nothing_else(relay_user: redis.Redis, command: str) -> None:
    # Older servers do not know all of these commands.
    with pytest.raises(redis.exceptions.ResponseError, match=r"permission|unknown command"):
        relay_user.execute_command(*command.split(" "))
