"""Events in the order in which a client of a MUC wants them."""

from collections.abc import Sequence

from relay.gateways.xmpp.codec import XmppCodec
from relay.gateways.xmpp.occupancies import MOST_ASKED, MOST_BYTES_BEFORE, Occupancies, join_of
from relay.gateways.xmpp.reading import Element, read
from relay.gateways.xmpp.stream_management import Source
from relay.model import events
from relay.model.codec import Frame
from relay.model.commands import Join, Publish
from relay.model.envelope import MessageId, seal, splice

CODEC = XmppCodec("localhost")
JOIN = b'<presence id="p1"><x xmlns="http://jabber.org/protocol/muc"><password>s</password></x></presence>'


def said(number: int, sender: str = "ben", envelope: bytes = b'{"message":1}', to: tuple[str, ...] = ()) -> Frame:
    identifier = MessageId(1, number)
    return CODEC.encode(events.Message("r", identifier, sender, to, "", seal(splice(envelope, sender), identifier)))


class Fake:
    """The session of a client, which is in the room at once, and gets these events before its join is over."""

    def __init__(self, *early: Frame) -> None:
        self.early = early
        self.sent: list[tuple[Frame, Source | None]] = []
        self.overflowed = False
        self.occupancies = Occupancies(self, CODEC)

    def send(self, frame: Frame, source: Source | None = None) -> None:
        self.sent.append((frame, source))

    async def enter_room(self, join: Join) -> None:
        welcome = events.Welcome("r", join.peer, MessageId(1, 1), "key", roster=events.Roster(0))
        for frame in (CODEC.encode(welcome), *self.early):
            self.take(frame)

    @property
    def counts(self) -> bool:
        return False

    def entered(self, room: str, position: MessageId) -> None:
        assert (room, position) == ("r", (1, 1))

    async def rename(self, room: str, peer: str, farewell: Publish) -> None:
        raise NotImplementedError

    async def leave_room(self, room: str) -> None:
        return

    async def history(self, room: str) -> Sequence[events.Message]:
        return ()

    def overflow(self) -> None:
        self.overflowed = True

    def take(self, frame: Frame) -> None:
        self.occupancies.deliver(frame)  # type: ignore[arg-type]  # the codec makes no other frames

    async def enter(self) -> "Fake":
        stanza = read(JOIN).root
        await self.occupancies.enter("r", "ann", stanza, join_of("r", "ann", stanza))
        return self

    @property
    def elements(self) -> list[Element]:
        return [read(frame.data).root for frame, _ in self.sent]


async def test_events_of_the_join_wait_for_its_end() -> None:
    fake = await Fake(said(2), said(3)).enter()
    assert [one.children[0].name for one in fake.elements] == ["x", "subject", "body", "body"]
    assert [source for _, source in fake.sent] == [
        None,
        None,
        Source("r", MessageId(1, 2)),
        Source("r", MessageId(1, 3)),
    ]


async def test_a_message_that_comes_by_two_memberships_is_written_once() -> None:
    fake = await Fake().enter()
    for frame in (said(2), said(2), said(3)):
        fake.take(frame)
    assert [source.id.seq for _, source in fake.sent if source] == [2, 3]


async def test_a_client_for_which_too_much_waits_is_closed() -> None:
    assert (await Fake(*[said(2 + number) for number in range(1100)]).enter()).overflowed
    large = b'{"message":"%b"}' % (b"x" * (MOST_BYTES_BEFORE // 4))
    assert not (await Fake(said(2, envelope=large)).enter()).overflowed
    assert (await Fake(*[said(2 + number, envelope=large) for number in range(4)]).enter()).overflowed


async def test_answers_that_were_not_asked_for_are_dropped() -> None:
    fake = await Fake().enter()
    answer = b'{"to":"ann","xmpp":{"kind":"iq","type":"result","id":"%d"}}'
    for number in range(MOST_ASKED + 1):
        fake.occupancies.ask("r", "ben", str(number))
    for number, identifier in enumerate((0, 1, 1, 2)):
        fake.take(said(2 + number, envelope=answer % identifier, to=("ann",)))
    fake.take(said(9, "eve", answer % 3, ("ann",)))
    assert [one.get("id") for one in fake.elements if one.name == "iq"] == ["1", "2"]


async def test_after_a_loss_the_members_are_told() -> None:
    fake = await Fake().enter()
    roster = events.Roster(2, [events.Present("ann"), events.Present("ben")])
    fake.take(CODEC.encode(events.PresenceList("r", roster)))
    assert fake.elements[-1].get("from") == "r@conference.localhost/ben"


def test_the_password_of_a_join() -> None:
    join = join_of("r", "ann", read(JOIN).root)
    assert (join.password, join.echo, join.presence) == ("s", True, True)
