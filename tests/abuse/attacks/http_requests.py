"""HTTP requests at full speed: to the API, to the pages, to a gateway without a session, and to no path at all."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of

_PATHS = (
    "/rooms/victim", "/openapi.json", "/health", "/metrics", "/", "/relay.js", "/nothing",
    "/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAAAA", "/socket.io/?EIO=9",
    "/socket.io/1/jsonp-polling/x",
)  # fmt: skip
_PIPELINED = 16
"""Requests that one connection sends before it reads: as many as may wait."""


def _requests(path: str) -> bytes:
    host = "Host: relay.example\r\n"
    asked = "Origin: https://evil.example\r\nAccess-Control-Request-Method: GET\r\n"
    get = f"GET {path} HTTP/1.1\r\n{host}Accept: text/html\r\n\r\n"
    return (get * (_PIPELINED - 1) + f"OPTIONS {path} HTTP/1.1\r\n{host}{asked}\r\n").encode()


async def _ask(target: Target, path: str) -> None:
    requests = _requests(path)
    while True:
        reader, writer = await target.connect()
        reading = asyncio.create_task(target.read_all(reader))
        try:
            while not reading.done():
                await target.write(writer, requests)
                await asyncio.sleep(0)
        except ConnectionError:
            pass
        finally:
            reading.cancel()
            writer.transport.abort()


async def run(target: Target) -> None:
    await all_of(*(_ask(target, path) for path in _PATHS * 2))


ATTACK = Attack(name="http-requests", says="HTTP requests to all kinds of paths, without waiting for answers.", run=run)
