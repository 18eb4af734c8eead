from typing import Any
from urllib.parse import urlencode

import pytest

from relay.config import Settings
from relay.gateways.signalrclassic.hubs import ClassicHubs
from relay.gateways.signalrclassic.request import ClassicRequest, read_form
from relay.model.envelope import MessageId
from relay.model.errors import Refused
from relay.rooms.worker import Worker


async def request(room: str | None = None, **query: str) -> ClassicRequest:
    async with Worker(Settings()) as worker:
        scope: dict[str, Any] = {
            "type": "http",
            "query_string": urlencode(query).encode(),
            "headers": [],
            "path_params": {} if room is None else {"room": room},
            "state": {"worker": worker},
        }
        return ClassicRequest(scope, "default")


@pytest.mark.parametrize(
    ("asked", "version"),
    [("1.5", (1, 5)), ("2.0", (2, 0)), ("2.1", (2, 0)), ("9.9", (2, 0)), ("1.0", (1, 2)), ("", (1, 2)), ("x", (1, 2))],
)
async def test_the_version_is_the_clients_own_up_to_2(asked: str, version: tuple[int, int]) -> None:
    assert (await request(clientProtocol=asked)).version == version


async def test_the_room_is_in_the_path_or_in_the_query() -> None:
    assert (await request()).room == "default"
    named = await request("a b")
    assert named.room == "a%20b"
    with pytest.raises(Refused, match="bad_room"):
        _ = (await request("")).room


async def test_the_page_names_hubs_for_which_it_has_functions() -> None:
    known = ClassicHubs(["gecko.say:heard"])
    for text in ("", "[]", "null"):
        assert (await request(connectionData=text)).hubs(known) == ()
    both = '[{"name":"GECKO"},{"name":"webrtchub3"}]'
    assert [hub.name for hub in (await request(connectionData=both)).hubs(known)] == ["webRtcHub3", "gecko"]
    for text, code in {
        "{}": "bad_query",
        "[1]": "bad_query",
        "[{}]": "no_such_hub",
        '[{"name":"x"}]': "no_such_hub",
        f"[{','.join(['{}'] * 65)}]": "bad_query",
        '[{"x":' + "[" * 5000 + "]" * 5000 + "}]": "bad_query",
    }.items():
        with pytest.raises(Refused, match=code):
            (await request(connectionData=text)).hubs(known)


async def test_the_cursor_is_in_the_form_of_a_poll_or_in_the_address() -> None:
    one = await request(messageId="1-2")
    assert one.since() == one.since({"messageId": ""}) == MessageId(1, 2)
    assert one.since({"messageId": "3-4"}) == MessageId(3, 4)
    assert (await request()).since() is None
    with pytest.raises(Refused, match="bad_query"):
        (await request(messageId="d-17,A")).since()


def test_forms_are_utf_8_and_bounded() -> None:
    assert read_form(b"messageId=1-2&text=%C3%A9+%2B&empty=") == {
        "messageId": "1-2",
        "text": "é +",
        "empty": "",
    }
    assert read_form(b"") == {}
    for body in (b"\xff", b"a=%ff", b"&".join([b"a=1"] * 17)):
        with pytest.raises(Refused, match="bad_body"):
            read_form(body)
