"""The obvious relay: Starlette, one redis-py PubSub a room, every member sent to in a gather."""

import asyncio
import json
import os
import uuid

from redis.asyncio import BlockingConnectionPool, Redis
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

# A PubSub holds a connection, and by default a pool has only a hundred; publishers wait for their turn instead.
URL = os.environ["REDIS_URL"]
subscriber = Redis.from_url(URL, max_connections=20_000)
publisher = Redis.from_pool(BlockingConnectionPool.from_url(URL, max_connections=50, timeout=None))
rooms: dict[str, "Room"] = {}


class Room:
    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, WebSocket] = {}
        self.pubsub = subscriber.pubsub()
        self.reader: asyncio.Task[None] | None = None

    async def join(self, member: str, websocket: WebSocket) -> None:
        self.members[member] = websocket
        if self.reader is None:
            self.reader = asyncio.create_task(self.read())

    async def leave(self, member: str) -> None:
        self.members.pop(member, None)
        if not self.members and self.reader is not None:
            rooms.pop(self.name, None)
            self.reader.cancel()
            await self.pubsub.aclose()

    async def read(self) -> None:
        await self.pubsub.subscribe(self.name)
        async for event in self.pubsub.listen():
            if event["type"] != "message":
                continue
            message = json.loads(event["data"])
            others = [websocket for member, websocket in self.members.items() if member != message["from"]]
            await asyncio.gather(
                *(websocket.send_text(message["text"]) for websocket in others), return_exceptions=True
            )


async def serve(websocket: WebSocket) -> None:
    await websocket.accept()
    name, member = websocket.path_params["room"], uuid.uuid4().hex
    room = rooms.setdefault(name, Room(name))
    await room.join(member, websocket)
    try:
        while True:
            text = await websocket.receive_text()
            await publisher.publish(name, json.dumps({"from": member, "text": text}))
    except WebSocketDisconnect:
        pass
    finally:
        await room.leave(member)


app = Starlette(routes=[WebSocketRoute("/rooms/{room}", serve)])
