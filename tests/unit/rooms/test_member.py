"""Which messages are for a member."""

import pytest

from relay.model.envelope import MessageId
from relay.model.events import Message, Pong
from tests.unit.rooms.world import World


def message(sender: str = "s", to: tuple[str, ...] = (), channel: str = "") -> Message:
    return Message("room", MessageId(1, 1), sender, to, channel, b"{}")


@pytest.mark.parametrize(
    ("one", "echo", "channels", "expected"),
    [
        (message(), False, None, True),
        (message("me"), False, None, False),
        (message("me"), True, None, True),
        (message(to=("me", "you")), False, None, True),
        (message(to=("you",)), False, None, False),
        (message(channel="x"), False, {"x"}, True),
        (message(channel="y"), False, {"x"}, False),
        (message(), False, set(), False),
    ],
)
def test_a_message_is_filtered_by_sender_addressees_and_channel(
    world: World, one: Message, echo: bool, channels: set[str] | None, expected: bool
) -> None:
    member = world.member("me", echo=echo)
    member.channels = channels
    assert member.receives(one) is expected


def test_an_event_is_written_with_the_members_own_codec(world: World) -> None:
    member = world.member("me")
    member.send(Pong("room", MessageId(1, 2), "k"))
    assert member.connection.sent == [{"type": "pong", "id": "1-2", "key": "k"}]
