"""Django Channels with channels_redis: the smallest project there is."""

import os

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

# The defaults lose messages (a capacity of 100) and connections (a pool of 100; a timeout as long as a blocking read).
settings.configure(
    SECRET_KEY="benchmark",
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {
                "hosts": [{"address": os.environ["REDIS_URL"], "max_connections": 20_000, "socket_timeout": None}],
                "capacity": 100_000,
            },
        }
    },
)
django.setup()


class Relay(AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.room = self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        event = {"type": "relay.message", "from": self.channel_name, "text": text_data}
        await self.channel_layer.group_send(self.room, event)

    async def relay_message(self, event: dict[str, str]) -> None:
        if event["from"] != self.channel_name:
            await self.send(text_data=event["text"])


app = ProtocolTypeRouter({"websocket": URLRouter([path("rooms/<str:room>", Relay.as_asgi())])})
