import pytest

from relay.config.declaring import settings_of
from relay.gateways.signalr.settings import SignalRSettings
from relay.model.errors import NotAllowed

METHODS = {one.name: one for one in settings_of(SignalRSettings)}["signalr_methods"]


def test_methods() -> None:
    assert METHODS.read("Send, SendMessage=ReceiveMessage") == ("Send", "SendMessage=ReceiveMessage")


@pytest.mark.parametrize("text", ["a b", "=x", "1a", "Presence", "sendto=x", "Send=joined", "Send=Error", "a=b=c"])
def test_methods_that_are_not_allowed(text: str) -> None:
    with pytest.raises(NotAllowed):
        METHODS.read(text)
