"""The contacts of a page."""

from relay.gateways.socketio.apps.rmc3.contacts import MOST, Contacts


def test_a_contact_begins_once_and_ends_once() -> None:
    contacts = Contacts()
    assert contacts.begin("ann")
    assert not contacts.begin("ann")
    assert "ann" in contacts
    assert contacts.end("ann")
    assert not contacts.end("ann")


def test_a_contact_keeps_its_place_under_another_id() -> None:
    contacts = Contacts()
    contacts.begin("ann")
    contacts.rename("ann", "anna")
    contacts.rename("ben", "benno")
    assert ("ann" in contacts, "anna" in contacts, "benno" in contacts) == (False, True, False)
    contacts.clear()
    assert "anna" not in contacts


def test_contacts_are_bounded() -> None:
    contacts = Contacts()
    for number in range(MOST + 1):
        contacts.begin(str(number))
    assert "0" not in contacts
    assert str(MOST) in contacts
