"""The changes that a page has missed: the members that it knows, beside a list that comes after a loss."""

from relay.gateways.socketio.apps.signalmaster.known_members import MOST, KnownMembers
from relay.gateways.socketio.apps.signalmaster.resources import Resources
from relay.model.envelope import MessageId
from relay.model.events import PresenceChange, Present, Roster

ID = MessageId(5, 6)
VIDEO, SCREEN = Resources(), Resources(screen=True)


def roster(*members: Present, count: int | None = None) -> Roster:
    return Roster(len(members) if count is None else count, members)


def present(peer: str, resources: Resources = VIDEO) -> Present:
    return Present(peer, info=resources.as_info())


def entered(**members: Resources) -> KnownMembers:
    known = KnownMembers()
    known.begin(members)
    return known


def test_members_that_are_not_in_the_list_have_left() -> None:
    known = entered(ann=VIDEO, ben=VIDEO)
    assert known.compare(roster(present("ann"), Present("native"))) == [("remove", {"id": "ben"})]
    assert known.compare(roster(present("ann"))) == []


def test_a_screen_that_was_shared_is_shared_no_more() -> None:
    known = entered(ann=SCREEN, ben=SCREEN, cid=VIDEO)
    listed = roster(present("ann"), present("ben", SCREEN), present("cid"))
    assert known.compare(listed) == [("remove", {"id": "ann", "type": "screen"})]


def test_changes_of_which_the_page_was_told_are_no_news() -> None:
    known = entered(ann=VIDEO)
    assert known.change(PresenceChange("r", ID, ("ben",), ("ann",), (), {"ben": VIDEO.as_info()})) == []
    assert known.change(PresenceChange("r", ID, changed=("ben",), info={"ben": SCREEN.as_info()})) == []
    hidden = [("remove", {"id": "ben", "type": "screen"})]
    assert known.change(PresenceChange("r", ID, changed=("ben",), info={"ben": VIDEO.as_info()})) == hidden
    assert known.compare(roster(present("ben"))) == []
    assert known.compare(roster()) == [("remove", {"id": "ben"})]


def test_other_changes_of_infos_say_nothing_of_screens() -> None:
    known = entered(ann=SCREEN)
    infos = {"ann": b'{"name":"x"}', "ben": VIDEO.as_info(), "native": b""}
    assert known.change(PresenceChange("r", ID, changed=tuple(infos), info=infos)) == []
    assert known.change(PresenceChange("r", ID, left=("ann",))) == []


def test_a_list_that_is_not_complete_says_nothing() -> None:
    known = entered(ann=VIDEO, ben=VIDEO)
    assert known.compare(roster(present("ann"), count=2)) == ()
    assert known.compare(roster(present("ann"))) == [("remove", {"id": "ben"})]


def test_a_member_that_left_before_the_page_had_its_list_is_not_called() -> None:
    known = KnownMembers()
    known.change(PresenceChange("r", ID, left=("ann",)))
    known.change(PresenceChange("r", ID, changed=("ben",), info={"ben": SCREEN.as_info()}))
    assert known.begin({"ann": VIDEO, "ben": VIDEO}) == {"ben": VIDEO}
    assert known.compare(roster(present("ben"))) == [("remove", {"id": "ben", "type": "screen"})]


def test_the_members_of_a_large_room_are_not_all_remembered() -> None:
    known = KnownMembers()
    many = {f"peer-{number}": VIDEO for number in range(MOST + 10)}
    assert known.begin(many) == many
    assert len(known.compare(roster())) == MOST
