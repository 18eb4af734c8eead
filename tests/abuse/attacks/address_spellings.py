"""Handshakes whose client claims another spelling of an address each time."""

from itertools import cycle

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of

_SPELLINGS = (
    "203.0.113.9", "203.000.113.009", "0xcb.0.0x71.9", "3405803785", "::ffff:203.0.113.9", "[::ffff:cb00:7109]:80",
    "64:ff9b::cb00:7109", "2002:cb00:7109:1::1", "2002:cb00:7109:2::1", "unknown", "x" * 200,
)  # fmt: skip


async def _come_and_go(target: Target) -> None:
    for number, spelling in enumerate(cycle(_SPELLINGS)):
        headers = f"X-Forwarded-For: {spelling}, {spelling}\r\n"
        _, writer = await target.websocket(f"/rooms/spelled-{number % 50}", headers=headers)
        writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_come_and_go(target) for _ in range(20)))


ATTACK = Attack(
    name="address-spellings", says="Handshakes at full speed, each from another spelling of one address.", run=run
)
