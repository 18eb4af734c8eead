from relay.gateways.xmpp import stanzas
from relay.gateways.xmpp.envelopes import Rest, Said
from relay.gateways.xmpp.reading import read


def test_a_presence() -> None:
    frame = stanzas.presence("r@c/a", statuses=[110, 201], owns=True, stanza_id="1")
    assert frame.data == (
        b'<presence xmlns="jabber:client" from="r@c/a" id="1"><x xmlns="http://jabber.org/protocol/muc#user">'
        b'<item affiliation="owner" role="moderator"/><status code="110"/><status code="201"/></x></presence>'
    )
    gone = read(stanzas.presence("r@c/a", leaves=True, reason="<too loud>", statuses=[307]).data).root
    assert [one.text for one in gone.all() if one.name == "reason"] == ["<too loud>"]


def test_an_iq_needs_a_type_and_an_id() -> None:
    assert stanzas.iq(Rest("iq", "get", "1"), "r@c/a") is not None
    for rest in (Rest("iq", "get"), Rest("iq", "evil", "1"), Rest("chat", "get", "1")):
        assert stanzas.iq(rest, "r@c/a") is None


def test_a_private_message_has_no_type_of_the_relay() -> None:
    for kind in ("error", "groupchat", "evil"):
        frame = stanzas.message(Said(Rest("chat", kind), "b"), "r@c/a", "r@c", "1-2", to_all=False)
        assert read(frame.data).root.get("type") == "chat"


def test_addresses() -> None:
    assert stanzas.occupant_jid("a%20b", "c%2Fd", "localhost") == "a\\20b@conference.localhost/c/d"
