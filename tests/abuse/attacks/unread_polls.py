"""Socket.IO sessions that poll and do not read the answers."""

import asyncio

from tests.abuse.attack import Attack
from tests.abuse.target import Stream, Target, all_of

_SESSIONS = 300
_CONNECTIONS = 18
_MESSAGE = b'42["message",{"message":"' + b"x" * 15_000 + b'"}]'
_MESSAGES = 60


async def ask(target: Target, stream: Stream, method: str, query: str, body: bytes = b"") -> bytes:
    """Make one request to the Socket.IO endpoint, and return the body of its response."""
    reader, writer = stream
    head = (
        f"{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    await target.write(writer, head.encode() + body)
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in answer.split(b"\r\n", 1)[0]:
        raise ConnectionRefusedError(answer.split(b"\r\n", 1)[0].decode(errors="replace"))
    [length] = [
        int(line.split(b":")[1]) for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length")
    ]
    return await reader.readexactly(length)


async def begin(target: Target, stream: Stream, room: str) -> str:
    """Begin a session, and enter a room; returns the session's id."""
    opened = await ask(target, stream, "GET", "")
    sid = opened.split(b'"sid":"')[1].split(b'"')[0].decode()
    await ask(target, stream, "POST", f"&sid={sid}", f"40/rooms/{room},".encode())
    await ask(target, stream, "GET", f"&sid={sid}")
    return sid


async def _poll_unread(target: Target, sessions: list[str]) -> None:
    """Poll for each session over a connection that is not read."""
    while sessions:
        session = sessions.pop()
        _, writer = await target.connect()
        head = f"GET /socket.io/?EIO=4&transport=polling&sid={session} HTTP/1.1\r\nHost: {target.host}\r\n\r\n"
        await target.write(writer, head.encode())
        await asyncio.sleep(2)
        writer.transport.abort()


async def run(target: Target) -> None:
    stream = await target.connect()
    sessions = [await begin(target, stream, "polled") for _ in range(_SESSIONS)]
    sender = await begin(target, stream, "polled")
    for _ in range(_MESSAGES):
        await ask(target, stream, "POST", f"&sid={sender}", _MESSAGE.replace(b"42", b"42/rooms/polled,", 1))
    await all_of(*(_poll_unread(target, sessions) for _ in range(_CONNECTIONS)))


ATTACK = Attack(
    name="unread-polls",
    says="300 polling sessions in a room with 0.9 MB of messages, whose answers are not read.",
    run=run,
)
