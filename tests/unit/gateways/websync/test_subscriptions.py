import json

import msgspec
import pytest
from msgspec import Raw

from relay.gateways.websync.messages import Record
from relay.gateways.websync.subscriptions import ClientState
from relay.model.errors import Refused

CHAT = b'{"websync":{"channels":["/chat"],"records":{"k":"v"}}}'


def info(channels: ClientState) -> dict[str, object]:
    found: dict[str, object] = json.loads(channels.info())["websync"]
    return found


def test_a_channel_is_heard_while_one_of_its_tags_is_left() -> None:
    channels = ClientState()
    assert not channels.hears("/a")
    channels.subscribe(["/a", "/fm/subscribers/a"], "", 10)
    channels.subscribe(["/a"], "tag", 10)
    channels.unsubscribe(["/a", "/nothing"], "")
    assert channels.hears("/a")
    assert info(channels) == {"channels": ["/a"], "records": {}}
    channels.unsubscribe(["/a"], "tag")
    assert not channels.hears("/a")
    assert channels.hears("/fm/subscribers/a", told=True)


def test_a_draft_changes_nothing() -> None:
    channels = ClientState()
    draft = channels.draft()
    draft.subscribe(["/a"], "", 1)
    draft.bind([Record("k", Raw(b"1"))])
    assert (draft.hears("/a"), channels.hears("/a")) == (True, False)
    assert (draft.shown_records(), channels.shown_records()) == (b'{"k":1}', b"{}")


def test_subscriptions_are_bounded() -> None:
    channels = ClientState()
    channels.subscribe(["/a"], "", 2)
    channels.subscribe(["/a"], "x", 2)
    with pytest.raises(Refused, match="too_many_channels"):
        channels.subscribe(["/b"], "", 2)
    assert not channels.hears("/b")


def test_private_records_are_not_shown() -> None:
    channels = ClientState()
    channels.bind([Record("a", Raw(b'"1"')), Record("b", Raw(b"2"), private=True), Record("c")])
    assert json.loads(channels.shown_records()) == {"a": "1", "c": None}
    channels.bind([Record("c", Raw(b"3"), private=True), Record("d", Raw(b"4"))])
    assert json.loads(channels.shown_records()) == {"a": "1", "d": 4}
    channels.bind([Record("c"), Record("d", private=True)])
    channels.unbind(["a", "nothing"])
    assert json.loads(channels.shown_records()) == {"c": None}


def test_an_info_that_is_too_large_is_refused() -> None:
    channels = ClientState()
    channels.bind([Record("k", Raw(msgspec.json.encode("x" * 1024)))])
    with pytest.raises(Refused, match="bad_info"):
        channels.info()


def test_a_client_that_comes_back_hears_its_earlier_channels_until_it_is_settled() -> None:
    channels = ClientState()
    channels.restore(CHAT, resumed=True)
    assert channels.hears("/chat")
    assert not channels.hears("/fm/subscribers/chat", told=True)
    assert info(channels) == {"channels": ["/chat"], "records": {"k": "v"}}
    assert not channels.settles
    channels.subscribe(["/other"], "", 10)
    assert (channels.hears("/chat"), channels.hears("/other")) == (True, True)
    assert info(channels)["channels"] == ["/other", "/chat"]
    assert channels.settles
    settled = channels.settled()
    assert (settled.hears("/chat"), settled.hears("/other"), settled.settles) == (False, True, False)
    assert info(settled)["channels"] == ["/other"]
    channels.subscribe(["/chat"], "", 10)
    assert not channels.settles


def test_earlier_channels_do_not_keep_a_client_from_subscribing() -> None:
    channels, before, after = ClientState(), *([f"/{one}{n}".ljust(120, "x") for n in range(5)] for one in "ab")
    channels.restore(json.dumps({"websync": {"channels": before}}).encode(), resumed=True)
    channels.subscribe(after, "", 10)
    assert info(channels)["channels"] == after


def test_one_whose_info_is_not_known_hears_every_message() -> None:
    channels = ClientState()
    channels.restore(b"", resumed=True)
    assert channels.hears("/any")
    assert not channels.hears("/fm/subscribers/any", told=True)
    fresh = ClientState()
    fresh.restore(b"", resumed=False)
    assert not fresh.hears("/any")


def test_a_channel_that_it_unsubscribes_from_is_not_heard_again() -> None:
    channels = ClientState()
    channels.restore(CHAT, resumed=True)
    channels.unsubscribe(["/chat"], "")
    assert not channels.hears("/chat")
