from relay.gateways.xmpp.errors import XMPP_ERRORS, BadStanza, XmppRefused, stanza_error, stream_error
from relay.gateways.xmpp.reading import read
from relay.model.errors import CLOSE_REASONS, ERRORS


def test_every_code_is_a_stanza_error() -> None:
    for name, (_, text) in {**ERRORS, **XMPP_ERRORS}.items():
        error = read(stanza_error(name, text).encode()).root
        assert error.get("type") in {"auth", "cancel", "continue", "modify", "wait"}
        condition, explained, code = error.children
        assert condition.namespace == explained.namespace == "urn:ietf:params:xml:ns:xmpp-stanzas"
        assert (explained.text, code.text, code.namespace) == (text, name, "relay:error")


def test_every_close_is_a_stream_error() -> None:
    for reason in CLOSE_REASONS:
        text = stream_error(reason)
        assert text.startswith('<stream:error xmlns:stream="http://etherx.jabber.org/streams">')
        assert read(text.encode()).root.children[2].text == reason.name
    assert "<restricted-xml" in stream_error(reason, condition="restricted-xml", code="bad_xml", text="<")


def test_the_codes_of_the_gateway_have_texts() -> None:
    assert XmppRefused("bad_jid").text == XMPP_ERRORS["bad_jid"][1]
    assert (BadStanza("bad_xml", condition="x").status, XmppRefused("not_served").status) == (400, 501)
