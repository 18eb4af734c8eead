"""python-socketio with its Redis manager."""

import os
from urllib.parse import parse_qs

import socketio

server = socketio.AsyncServer(
    async_mode="asgi",
    client_manager=socketio.AsyncRedisManager(os.environ["REDIS_URL"]),
    cors_allowed_origins="*",
)
rooms: dict[str, str] = {}


@server.event
async def connect(sid: str, environ: dict[str, str], auth: object) -> None:
    rooms[sid] = parse_qs(environ["QUERY_STRING"])["room"][0]
    await server.enter_room(sid, rooms[sid])


@server.event
async def message(sid: str, data: object) -> None:
    await server.emit("message", data, room=rooms[sid], skip_sid=sid)


@server.event
async def disconnect(sid: str, reason: str) -> None:
    rooms.pop(sid, None)


app = socketio.ASGIApp(server)
