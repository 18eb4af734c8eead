"""The driver of a native client that observes a room without being a member of it."""

from typing import Any
from urllib.parse import quote

from tests.fleet import Client, Relay
from tests.gateways.driver import NotAdmitted, Opened
from tests.gateways.drivers.native import NativeDriver


class ObserverDriver(NativeDriver):
    """A client that watches messages and presence; it has no peer id, and sends nothing."""

    async def open(self, relay: Relay, room: str) -> Opened:
        url = f"{relay.ws}/rooms/{quote(room, safe='')}?observe=all"
        self._client = await Client.open(url, token=self.token)
        if self._client.welcome["type"] == "error":
            raise NotAdmitted(self._client.welcome["code"])
        return Opened("", resumed=False)

    async def send(self, data: Any, *, to: str = "") -> None:
        raise AssertionError("an observer sends nothing")
