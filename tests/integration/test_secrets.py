"""No secret is in anything that the relay writes or answers."""

import asyncio

import pytest

from tests.conftest import MakeRelay
from tests.fleet import RedisServer, eventually

SECRETS = {
    "admin_token": "Secret2-admin-token",
    "fleet_secret": "Secret3-" + 32 * "f",
    "ice_servers": '[{"urls": "turn:turn.example", "username": "u", "credential": "Secret4"}]',
    "auth": "optional",
    "auth_secret": "Secret6-of-the-tokens-0123456789abcdef",
    "turn_servers": "turn:turn.example",
    "turn_secret": "Secret5-of-the-turn-server",
}


def user(server: RedisServer, password: str) -> None:
    with server.client as client:
        client.execute_command("ACL", "SETUSER", "x", "reset", "on", f">{password}", "~*", "&*", "+@all")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("password", ["Secret1#/?@%:rest", "Secret1 rest", "Secret1é"])
async def test_outputs_have_no_secret(start: MakeRelay, own_redis: RedisServer, password: str, workers: int) -> None:
    user(own_redis, password)
    encoded = "".join(f"%{byte:02X}" for byte in password.encode())
    url = f"redis://x:{encoded}@127.0.0.1:{own_redis.port}"
    settings = SECRETS | {"redis_url": url, "log_level": "debug", "workers": workers}
    relay = await start(**settings)
    # Redis goes away, refuses the password, and has the relay's commands fail; then the relay stops.
    user(own_redis, "another")
    with own_redis.client as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await eventually(lambda: "WRONGPASS" in relay.logged)
    await asyncio.sleep(0.2)
    bodies = [(await relay.get(path)).text for path in ("/health", "/metrics", "/openapi.json", "/rooms", "/turn", "/")]
    own_redis.kill()
    await relay.terminate()
    texts = relay.logged + "".join(bodies)
    for part in ("Secret", encoded[:6]):
        assert part not in texts
