"""All places of one room: each connection enters it by as many names as it may, and ends without a goodbye."""

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of, frame

_SPELLINGS = [
    f"/rooms/{name}{end}" for name in ("crowd", "%63rowd", "c%72owd", "cr%6Fwd", "cr%6fwd") for end in ("", "/")
]
_ENTER = b"".join([frame(f"40{name},") for name in _SPELLINGS])


async def _crowd(target: Target) -> None:
    while True:
        reader, writer = await target.websocket("/socket.io/?EIO=4&transport=websocket")
        try:
            await target.write(writer, _ENTER)
            for _ in _SPELLINGS:
                await target.read_frame(reader)
        finally:
            # A reset: the relay holds the members for the grace time.
            writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_crowd(target) for _ in range(20)))


ATTACK = Attack(name="room-places", says="All places of a room, by many names of it and by resets.", run=run)
