import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.xmpp.jids import Jid, local_of, local_of_room, room_of, text_of
from relay.model.errors import Refused
from relay.model.names import escape_room


@pytest.mark.parametrize(
    ("text", "jid"),
    [
        ("localhost", ("", "localhost", "")),
        ("Room@Conference.Localhost/Ann B", ("room", "conference.localhost", "Ann B")),
        ("a@b/c@d/e", ("a", "b", "c@d/e")),
        ("a@127.0.0.1", ("a", "127.0.0.1", "")),
        ("a@[::1]", ("a", "[::1]", "")),
    ],
)
def test_reads_addresses(text: str, jid: tuple[str, str, str]) -> None:
    assert Jid.parse(text) == jid


@pytest.mark.parametrize(
    "text", ["", "@b", "a@", "a b", "a@b c", "a@b\nc", "a@<b>", "a" * 1100 + "@b", "b/" + "r" * 1100]
)
def test_refuses_texts_that_are_no_jid(text: str) -> None:
    with pytest.raises(Refused, match="bad_jid"):
        Jid.parse(text)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("lobby", "lobby"),
        ("a b/c@d:e", "a\\20b\\2fc\\40d\\3ae"),
        ("Room", "\\52oom"),
        ("a\\b", "a\\5cb"),
        ("é", "é"),
        ("É", "\\c3\\89"),
        ("d'artagnan", "d\\27artagnan"),
    ],
)
def test_names_are_written_as_local_parts(text: str, local: str) -> None:
    assert local_of(text) == local
    assert text_of(local) == text


@given(st.text(max_size=40))
def test_every_room_has_a_local_part_of_its_own(text: str) -> None:
    try:
        room = escape_room(text)
    except Refused:
        return
    local = local_of_room(room)
    assert room_of(local) == room
    assert Jid.parse(f"{local}@conference.localhost").local == local


@pytest.mark.parametrize("local", ["\\ff", "\\00", "."])
def test_local_parts_that_are_no_room(local: str) -> None:
    with pytest.raises(Refused, match="bad_room"):
        room_of(local)
