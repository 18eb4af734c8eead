"""The native protocol, as other parts of the relay see it."""

from typing import Final

from relay.gateways.base.gateway import Gateway

NAME: Final = "native"

GATEWAY: Final = Gateway(name=NAME, title="The native protocol", protocols=(NAME,), websockets=("/", "/rooms/{room}"))
