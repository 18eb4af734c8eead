"""The choice of a client's application, by its query and by the namespace that it enters."""

from collections.abc import Callable, Mapping

from relay.gateways.socketio.apps.application import Application

ChooseApplication = Callable[[str], Application]
"""Returns the application of a client in a namespace."""


class Applications:
    """The applications for the clients of one protocol version."""

    def __init__(self, relay: Application) -> None:
        self._choose_relay: ChooseApplication = lambda namespace: relay

    def choose(self, query: Mapping[str, str]) -> ChooseApplication:
        """Return the choice for a client that has connected with this query.

        Clients keep it as long as they are connected, so clients alike should get the same object.
        """
        return self._choose_relay
