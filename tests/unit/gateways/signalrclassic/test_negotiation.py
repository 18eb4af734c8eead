import pytest

from relay.config import Settings
from relay.gateways.signalrclassic.negotiation import negotiated


@pytest.mark.parametrize(("grace", "patience"), [(0, 30), (15, 30), (60, 120)])
def test_the_answer_has_all_fields_of_the_original(grace: float, patience: float) -> None:
    settings = Settings(reconnect_grace=grace)
    answer = negotiated(settings, path="/x", version=(1, 5), peer="id", connection_token="token")
    assert answer == {
        "Url": "/x",
        "ConnectionToken": "token",
        "ConnectionId": "id",
        "KeepAliveTimeout": 20.0,
        "DisconnectTimeout": patience,
        "ConnectionTimeout": 110.0,
        "TryWebSockets": True,
        "ProtocolVersion": "1.5",
        "TransportConnectTimeout": 5.0,
        "LongPollDelay": 0.0,
    }
