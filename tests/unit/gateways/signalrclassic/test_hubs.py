import pytest

from relay.gateways.signalrclassic.errors import ClassicRefused
from relay.gateways.signalrclassic.hubs import ClassicHubs

HUBS = ClassicHubs(["geckoHub.sendToAll:broadcastMessage", "geckoHub.whisper:heard", "webRtcHub3.wave:waved"])


def test_hubs_and_methods_have_any_case_and_the_built_in_one_comes_first() -> None:
    assert [hub.name for hub in HUBS] == ["webRtcHub3", "geckoHub"]
    gecko = HUBS.find("GECKOhub")
    assert gecko is not None
    assert gecko.method("SENDTOALL") == ("sendToAll", "broadcastMessage", False)
    assert gecko.method("other") is None
    assert (gecko.calls("heard"), gecko.calls("Heard"), gecko.hears_room) == (True, False, False)
    assert HUBS.find("other") is None


def test_the_method_of_a_message_stays_beside_others_of_its_hub() -> None:
    hub = HUBS.find("webrtchub3")
    assert hub is not None
    assert hub.hears_room
    assert [method.takes_messages for method in hub.methods.values()] == [True, False]


def test_the_hubs_of_a_page_are_in_one_order_and_must_exist() -> None:
    assert [hub.name for hub in HUBS.named(["geckohub", "webrtchub3", "GECKOHUB"])] == ["webRtcHub3", "geckoHub"]
    assert HUBS.named([]) == ()
    with pytest.raises(ClassicRefused, match="'nope' Hub could not be resolved"):
        HUBS.named(["webrtchub3", "nope"])


def test_an_entry_of_another_form_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"HUB\.METHOD:CLIENT_METHOD"):
        ClassicHubs(["hub"])
