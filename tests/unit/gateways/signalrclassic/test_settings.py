import pytest

from relay.config import SettingsError, load
from relay.gateways import EXTENSIONS
from relay.gateways.signalrclassic.settings import MAX_METHODS, ClassicSettings


def test_methods_are_a_list() -> None:
    text = "geckoHub.sendToAll:broadcastMessage, chat.say:heard"
    settings = load({"signalr_classic_hubs": text}, {}, extensions=EXTENSIONS).settings
    assert settings.of(ClassicSettings).signalr_classic_hubs == tuple(text.split(", "))


@pytest.mark.parametrize(
    "text", ["chat", "chat.say", "chat.say:", "1.say:heard", "chat.say:he-ard", "a.b:c'", ",".join(["a.b:c"] * 65)]
)
def test_other_texts_are_errors(text: str) -> None:
    assert MAX_METHODS == 64
    with pytest.raises(SettingsError, match="signalr-classic-hubs"):
        load({"signalr_classic_hubs": text}, {}, extensions=EXTENSIONS)
