import pytest

from relay.gateways.xmpp.jids import Jid, peer_of
from relay.gateways.xmpp.reading import Element, read
from relay.gateways.xmpp.requests import answer_of_room, answer_of_server, control_of, is_for_service, payload
from relay.model.commands import ChangeRules, Kick
from relay.model.errors import Refused
from relay.model.rules import RuleChange

ADMIN = "http://jabber.org/protocol/muc#admin"
OWNER = "http://jabber.org/protocol/muc#owner"
ITEMS = "http://jabber.org/protocol/disco#items"
INFO = "http://jabber.org/protocol/disco#info"


def asked(xml: str) -> Element:
    return payload(read(f'<iq type="set" id="1">{xml}</iq>'.encode()).root)


def form(**fields: str) -> Element:
    inside = "".join(
        f'<field var="muc#roomconfig_{name}"><value>{value}</value></field>' for name, value in fields.items()
    )
    return asked(f'<query xmlns="{OWNER}"><x xmlns="jabber:x:data" type="submit">{inside}</x></query>')


def test_the_service_has_rooms() -> None:
    service, server = Jid("", "conference.localhost", ""), Jid("", "localhost", "")
    assert 'var="http://jabber.org/protocol/muc"' in answer_of_server(asked(f'<query xmlns="{INFO}"/>'), "get", service)
    assert '<item jid="conference.localhost"/>' in answer_of_server(asked(f'<query xmlns="{ITEMS}"/>'), "get", server)
    assert (
        answer_of_server(asked('<query xmlns="jabber:iq:roster"/>'), "get", None) == '<query xmlns="jabber:iq:roster"/>'
    )
    assert answer_of_server(asked('<session xmlns="urn:ietf:params:xml:ns:xmpp-session"/>'), "set", None) == ""
    assert is_for_service(None, "localhost")
    assert not is_for_service(Jid("a", "conference.localhost", ""), "localhost")


def test_a_room_lists_its_occupants() -> None:
    answer = answer_of_room(asked(f'<query xmlns="{ITEMS}"/>'), "get", "r@c", ["ann", "b%20c", "%22%3C"])
    assert answer == (
        f'<query xmlns="{ITEMS}"><item jid="r@c/ann"/><item jid="r@c/b c"/><item jid="r@c/&quot;&lt;"/></query>'
    )
    with pytest.raises(Refused, match="not_served"):
        answer_of_room(asked('<query xmlns="jabber:iq:version"/>'), "get", "r@c", [])


def test_a_kick_names_a_nick() -> None:
    kick = asked(f'<query xmlns="{ADMIN}"><item nick="b c" role="none"><reason>{"x" * 300}</reason></item></query>')
    assert control_of(kick, "r", peer_of) == Kick("b%20c", "x" * 200, room="r")
    with pytest.raises(Refused, match="not_served"):
        control_of(asked(f'<query xmlns="{ADMIN}"><item nick="b" role="visitor"/></query>'), "r", peer_of)


def test_a_form_changes_rules() -> None:
    assert control_of(form(), "r", peer_of) is None
    assert control_of(form(roomsecret="s", maxusers="5"), "r", peer_of) == ChangeRules(
        RuleChange(password="s", max_members=5), room="r"
    )
    assert control_of(form(roomsecret="s", passwordprotectedroom="0"), "r", peer_of) == ChangeRules(
        RuleChange(password=""), room="r"
    )
    with pytest.raises(Refused, match="bad_stanza"):
        control_of(form(roomsecret="s" * 200), "r", peer_of)
    with pytest.raises(Refused, match="not_served"):
        control_of(asked(f'<query xmlns="{OWNER}"><destroy/></query>'), "r", peer_of)
