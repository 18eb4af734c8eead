import pytest

from relay.config import SettingsError, load
from relay.gateways import EXTENSIONS
from relay.gateways.websync.settings import WebSyncSettings


def test_the_defaults_are_those_of_the_seed() -> None:
    own = load({}, {}, extensions=EXTENSIONS).settings.of(WebSyncSettings)
    assert (own.websync_channel, own.websync_timeout) == ("/chat", 25.0)


@pytest.mark.parametrize("name", ["chat", "/", "/meta/x", "/service", "/fm/subscribers/chat", f"/{'é' * 128}"])
def test_the_shared_channel_is_an_ordinary_one(name: str) -> None:
    with pytest.raises(SettingsError):
        load({"websync_channel": name}, {}, extensions=EXTENSIONS)
