"""Requests over BOSH: sessions that are begun and left, and sessions whose client asks without a pause."""

import asyncio
import re

from tests.abuse.attack import Attack
from tests.abuse.target import Target, all_of

_CONNECTIONS = 20
_AHEAD = 8
"""Requests that one connection sends before it reads their answers."""
_BEGIN = 'to="localhost" wait="50" hold="1" ver="1.6"'


def _request(target: Target, attributes: str) -> bytes:
    body = f'<body xmlns="http://jabber.org/protocol/httpbind" {attributes}/>'.encode()
    head = f"POST /http-bind HTTP/1.1\r\nHost: {target.host}\r\nContent-Type: text/xml\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return await reader.readexactly(int(length[1])) if length else b""


async def _begin_sessions(target: Target) -> None:
    reader, writer = await target.connect()
    while True:
        await target.write(writer, _request(target, f'rid="1" {_BEGIN}'))
        await _answer(reader)


async def _ask(target: Target) -> None:
    """Ask in one session: in order, with copies, and far ahead of the window."""
    reader, writer = await target.connect()
    while True:
        await target.write(writer, _request(target, f'rid="1" {_BEGIN}'))
        found = re.search(rb"sid=['\"]([^'\"]+)", await _answer(reader))
        if found is None:
            await asyncio.sleep(0.1)
            continue
        sid = found[1].decode()
        for rid in range(2, 2_000, _AHEAD // 2):
            asked = [_request(target, f'rid="{one}" sid="{sid}"') for one in range(rid, rid + _AHEAD // 2)]
            await target.write(writer, b"".join(asked) + asked[-1] * (_AHEAD // 2))
            answers = [await _answer(reader) for _ in range(_AHEAD)]
            if any(b"terminate" in one for one in answers):
                break


async def run(target: Target) -> None:
    ways = (_begin_sessions, _ask)
    await all_of(*(ways[number % 2](target) for number in range(_CONNECTIONS)))


ATTACK = Attack(
    name="bosh-requests",
    says="Requests over BOSH without a pause: sessions that are begun and left, and copies of requests.",
    run=run,
)
