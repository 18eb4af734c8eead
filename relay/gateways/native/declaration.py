"""The native protocol, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway

GATEWAY: Final = Gateway(name="native", title="The native protocol", websockets=("/", "/rooms/{room}"))
