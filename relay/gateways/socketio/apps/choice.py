"""The choice of a client's application, by its query and by the namespace that it enters."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from relay.config import Settings
from relay.gateways.socketio.apps.application import Application, StatefulApplication
from relay.gateways.socketio.apps.channel import ChannelApplication, is_channel
from relay.gateways.socketio.apps.rmc3.application import Rmc3Application
from relay.gateways.socketio.apps.signalmaster.client import SignalMasterApplication
from relay.gateways.socketio.settings import SocketIOSettings
from relay.model.names import percent_decoded

AnyApplication = Application | StatefulApplication

ChooseApplication = Callable[[str], AnyApplication]
"""Returns the application of a client in a namespace."""


class Applications:
    """The applications for the clients of one protocol version: `relay` is that of all which no other one serves."""

    def __init__(self, relay: Application, others: Sequence[StatefulApplication] = ()) -> None:
        self._relay = relay
        self._of_namespaces = {name: one for one in others for name in one.namespaces}
        self._recognised = [(one, _always(one)) for one in others]
        self._by_namespace: ChooseApplication = self._of_namespace
        self._of_channel = lru_cache(maxsize=1024)(lambda channel: ChannelApplication(channel, relay))

    def choose(self, query: Mapping[str, str]) -> ChooseApplication:
        """Return the choice for a client that has connected with this query.

        Clients keep it as long as they are connected, so clients alike get the same object.
        """
        for one, choice in self._recognised:
            if one.recognises(query):
                return choice
        return self._by_namespace

    def is_recognised(self, choice: ChooseApplication) -> bool:
        """Return whether a choice was made by the query of its client."""
        return choice is not self._by_namespace

    def _of_namespace(self, namespace: str) -> AnyApplication:
        other = self._of_namespaces.get(namespace)
        if other is not None or not is_channel(namespace):
            return other or self._relay
        return self._of_channel(percent_decoded(namespace[1:]))


def stateful_applications(settings: Settings) -> Sequence[StatefulApplication]:
    """Make the applications beside the relay's own."""
    default = settings.of(SocketIOSettings).socketio_application
    return (Rmc3Application(settings), SignalMasterApplication(is_default=default == SignalMasterApplication.key))


def _always(application: StatefulApplication) -> ChooseApplication:
    return lambda namespace: application
