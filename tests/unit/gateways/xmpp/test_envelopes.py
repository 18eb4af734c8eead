import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.xmpp.codec import XmppCodec
from relay.gateways.xmpp.envelopes import iq_of, message_of, renamed, said
from relay.gateways.xmpp.reading import read
from relay.gateways.xmpp.writing import escape_text
from relay.model.envelope import MessageId, read_envelope, seal, splice
from relay.model.errors import BadFrame
from relay.model.events import Message

CODEC = XmppCodec("localhost")


def sent(xml: str, to: str = "") -> dict[str, Any]:
    publish = message_of(read(xml.encode()), "room", to)
    assert read_envelope(publish.envelope).to == publish.to
    return dict(json.loads(publish.envelope))


def shown(envelope: bytes, to: tuple[str, ...] = (), sender: str = "ann") -> str:
    """The stanza of an envelope, as its receiver gets it."""
    identifier = MessageId(1, 2)
    event = Message("room", identifier, sender, to, "", seal(splice(envelope, sender), identifier))
    text = CODEC.message(event).frame.data.decode()
    read(text.encode())
    return text


def passed(xml: str, to: str = "") -> str:
    publish = message_of(read(xml.encode()), "room", to)
    return shown(publish.envelope, publish.to)


def test_text_is_the_message_of_an_envelope() -> None:
    envelope = sent('<message id="7"><body>hello ☃</body></message>')
    assert envelope == {"message": "hello ☃", "xmpp": {"id": "7", "wrapped": True}}
    stanza = passed('<message id="7"><body>hello ☃</body></message>')
    assert "<body>hello ☃</body>" in stanza
    assert 'from="room@conference.localhost/ann" type="groupchat" id="7"' in stanza
    assert '<stanza-id xmlns="urn:xmpp:sid:0" id="1-2" by="room@conference.localhost"/>' in stanza
    assert "urn:xmpp:json:0" not in stanza


def test_a_json_object_is_the_envelope() -> None:
    body = '{"sender":"s","channel":"c","message":{"a":1}}'
    assert sent(f"<message><body>{body}</body></message>") == json.loads(body) | {"xmpp": {}}
    stanza = passed(f"<message><body>{body}</body></message>")
    assert f"<body>{escape_text(body)}</body>" in stanza
    assert f'<json xmlns="urn:xmpp:json:0">{escape_text(body)}</json>' in stanza


def test_a_json_container_is_the_envelope() -> None:
    xml = '<message><body>words</body><json xmlns="urn:xmpp:json:0">{"a":1}</json></message>'
    assert sent(xml) == {"a": 1, "xmpp": {"body": "words"}}
    assert '<body>words</body><json xmlns="urn:xmpp:json:0">{"a":1}</json>' in passed(xml)
    with pytest.raises(BadFrame, match="bad_json"):
        sent('<message><json xmlns="urn:xmpp:json:0">no JSON</json></message>')


@pytest.mark.parametrize(
    "body", ['{"type":"offer","sdp":"v=0"}', '{"from":1}', '{"to":"a b"}', "{}}", "[1]", "5", "", " "]
)
def test_a_body_that_is_no_envelope_arrives_as_it_is(body: str) -> None:
    assert f"<body>{escape_text(body)}</body>" in passed(f"<message><body>{body}</body></message>") or not body


def test_an_object_that_is_no_envelope_is_an_object_for_others() -> None:
    assert sent('<message><body>{"type":"offer"}</body></message>')["message"] == {"type": "offer"}


def test_other_elements_pass_byte_for_byte() -> None:
    elements = "<active xmlns='http://jabber.org/protocol/chatstates'/><thread >t</thread >"
    assert elements in passed(f"<message><body>b</body>{elements}</message>")
    assert elements in passed(f"<message>{elements}</message>")


def test_a_private_message_is_direct() -> None:
    envelope = sent('<message type="chat"><body>{"a":1}</body></message>', "ben")
    assert envelope == {"to": "ben", "a": 1, "xmpp": {"kind": "chat"}}
    stanza = passed('<message type="chat" id="1"><body>{"a":1}</body></message>', "ben")
    assert 'type="chat" id="1"' in stanza
    assert "<body>{&quot;a&quot;:1}</body>".replace("&quot;", '"') in stanza
    assert '<x xmlns="http://jabber.org/protocol/muc#user"/>' in stanza
    assert 'type="normal"' in passed("<message><body>b</body></message>", "ben")
    assert sent('<message type="chat"><body>{"to":"eve"}</body></message>', "ben")["to"] == "ben"


def test_a_subject() -> None:
    envelope = sent("<message><subject>new</subject></message>")
    assert envelope == {"subject": "new", "xmpp": {"kind": "subject"}}
    assert "<subject>new</subject>" in passed("<message><subject>new</subject></message>")
    assert "<subject/>" in passed("<message><subject/></message>")
    assert "<body>" not in passed("<message><subject/></message>")


def test_an_iq_passes_byte_for_byte() -> None:
    jingle = "<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate'><content  name='a'/></jingle>"
    publish = iq_of(read(f'<iq type="set" id="j1">{jingle}</iq>'.encode()), "room", "ben")
    assert publish.channel == "xmpp"
    stanza = shown(publish.envelope, publish.to)
    assert stanza == f'<iq xmlns="jabber:client" from="room@conference.localhost/ann" type="set" id="j1">{jingle}</iq>'


def test_a_change_of_nick() -> None:
    publish = renamed("room", "new nick")
    assert said(publish.envelope).rest.body == "new nick"
    stanza = shown(publish.envelope)
    assert 'type="unavailable"' in stanza
    assert 'nick="new nick"' in stanza
    assert '<status code="303"/>' in stanza


@pytest.mark.parametrize(
    "envelope",
    [
        b"{}",
        b'{"message":"native"}',
        b'{"xmpp":5}',
        b'{"xmpp":{"kind":7}}',
        b'{"xmpp":{"kind":"iq","type":"result","id":"1"},"a":1}',
        b'{"xmpp":{"kind":"nick","body":"\\u0000"}}',
        b'{"xmpp":{"kind":"subject"},"subject":5}',
        b'{"xmpp":{"wrapped":true}}',
        b'{"xmpp":{"elements":"</message><message>"}}',
        b'{"xmpp":{"id":"\\"><evil/>","type":"error"},"to":"x","message":"\\ufffe]]>"}',
        b'{"message":1,"xmpp":{"kind":"chat"},"x":",\\"xmpp\\":"}',
    ],
)
def test_a_message_of_others_is_one_well_formed_stanza(envelope: bytes) -> None:
    for to in ((), ("ben",)):
        stanza = shown(envelope, to)
        assert read(stanza.encode()).root.name in {"message", "iq", "presence"}
        assert "<evil/>" not in stanza


def test_an_envelope_of_another_protocol_is_body_and_container() -> None:
    stanza = shown(b'{"message":"hello"}')
    assert '<body>{"message":"hello"}</body><json xmlns="urn:xmpp:json:0">{"message":"hello"}</json>' in stanza


@given(st.text(max_size=40))
def test_every_body_arrives(body: str) -> None:
    document = read(f"<message><body>{escape_text(body)}</body></message>".encode())
    publish = message_of(document, "room")
    told = read(shown(publish.envelope).encode()).root.child("body", "jabber:client")
    written = document.root.child("body", "jabber:client")
    assert told is not None
    assert written is not None
    assert told.text.strip() == written.text.strip()
