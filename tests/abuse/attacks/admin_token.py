"""Guesses of the admin token, in headers of requests and in subprotocols of WebSockets."""

import contextlib
import itertools

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of


async def _guess(target: Target, number: int) -> None:
    """Send one request after the other over one connection."""
    while True:
        reader, writer = await target.connect()
        try:
            for guess in itertools.count():
                head = (
                    f"GET /rooms HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n"
                    f"Authorization: Bearer guess-{number}-{guess:08}\r\n\r\n"
                )
                await target.write(writer, head.encode())
                answer = await reader.readuntil(b"\r\n\r\n")
                length = answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
        except (ConnectionError, EOFError):
            pass
        finally:
            writer.transport.abort()


async def _guess_by_subprotocol(target: Target, number: int) -> None:
    for guess in itertools.count():
        headers = f"Sec-WebSocket-Protocol: relay.v1, token.guess-{number}-{guess:08}\r\n"
        with contextlib.suppress(ConnectionError, EOFError):
            _, writer = await target.websocket("/rooms/victim?observe=all", headers=headers)
            writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(
        *(_guess(target, number) for number in range(10)),
        *(_guess_by_subprotocol(target, number) for number in range(10)),
    )


ATTACK = Attack(name="admin-token", says="Guesses of the admin token over HTTP and as an observer.", run=run)
