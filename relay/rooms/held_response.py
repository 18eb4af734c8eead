"""A response that the server hands over: it waits for a client that polls or streams, without an ASGI call."""

from collections.abc import Callable, MutableMapping
from typing import Any, Final, Protocol

from relay.rooms.connection import Transfer

HOLD_EXTENSION: Final = "relay.hold"
"""The key of a function that hands the response over, in an HTTP scope's `extensions`; see `HeldResponse`.

It takes nothing, and returns None where only ASGI can send the response, as when another request follows already. Only
the relay's own server has it.
"""


class HeldResponse(Protocol):
    """A response that the server hands over before it has begun: it may be sent after the ASGI call has returned.

    An ASGI call keeps the request in memory, and a task on its way through each middleware. A client that listens would
    do so for hours. Once the response is handed over, nothing is sent or received by the call.
    """

    @property
    def dropped(self) -> bool:
        """Whether the connection has ended before the response was complete."""
        ...

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send the head or a part of the body, as the `send` of ASGI does; waits while the client reads too slowly."""
        ...

    def transfer(self) -> Transfer | None:
        """Return how much was written to the connection, and received; None if that is not known.

        Once it has been asked, the answer is known at the end of the connection, too.
        """
        ...

    def when_dropped(self, callback: Callable[[], object] | None) -> None:
        """Call back once the connection ends, or at once if it has; a later call replaces this one."""
        ...

    def abort(self) -> None:
        """End the connection at once, unless the response is complete."""
        ...
