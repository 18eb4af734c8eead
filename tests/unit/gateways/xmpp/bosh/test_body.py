import pytest

from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.xmpp.bosh.body import MAX_RID, BodyWriter, greeting, read_request, terminated
from relay.gateways.xmpp.errors import XmppRefused, stream_error
from relay.gateways.xmpp.reading import read
from relay.model.codec import Frame
from relay.model.errors import GOING_AWAY
from tests.unit.gateways.xmpp.bosh.site import NAMES

MESSAGE = '<message  to="r"><body>a &lt; é</body><x xmlns="n"><y/></x></message>'


def test_a_request() -> None:
    data = f'<body rid="7" sid="s" key="k" newkey="n" pause="9" {NAMES}>{MESSAGE}<presence/></body>'.encode()
    request = read_request(data)
    assert (request.rid, request.sid, request.key, request.new_key, request.pause) == (7, "s", "k", "n", 9)
    assert (request.ends, request.restarts, request.wait, request.hold) == (False, False, 60, 1)
    assert len(request.payloads) == 2
    assert request.digest == read_request(data).digest != read_request(data.replace(b"7", b"8")).digest


def test_an_element_is_passed_on_as_it_was_written_unless_the_request_has_prefixes() -> None:
    plain = f'<body rid="1" xmlns="http://jabber.org/protocol/httpbind">{MESSAGE}</body>'
    assert read_request(plain.encode()).payloads == [MESSAGE.encode()]
    prefixed = plain.replace("<message", '<message xmlns:p="urn:p" p:a="1"').replace("<y/>", "<p:y/>")
    (payload,) = read_request(prefixed.encode()).payloads
    root = read(payload).root
    assert (root.name, root.namespace, root.attributes["urn:p a"]) == ("message", "jabber:client", "1")
    assert [(one.name, one.namespace) for one in root.children[1].children] == [("y", "urn:p")]


def test_the_kinds_of_requests() -> None:
    assert read_request(f'<body rid="1" type="terminate" {NAMES}/>'.encode()).ends
    for text in ("true", "1"):
        assert read_request(f'<body rid="1" xmpp:restart="{text}" {NAMES}/>'.encode()).restarts
    assert read_request(b'<?xml version="1.0" encoding="utf-8"?>\n<body rid="1"/>').pause is None
    assert read_request(f'<body rid="{MAX_RID}"/>'.encode()).rid == MAX_RID


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "bad_xml"),
        (b"<body rid='1'>", "bad_xml"),
        (b"<body rid='1'/><body rid='2'/>", "bad_xml"),
        (b"<!DOCTYPE a><body rid='1'/>", "bad_xml"),
        (b"<body rid='1'><!-- x --></body>", "bad_xml"),
        (b"<?xml version='1.0'?><?xml version='1.0'?><body rid='1'/>", "bad_xml"),
        (b"<body rid='1'>\xff</body>", "bad_xml"),
        (b"<body rid='1'>" + b"<a>" * 40 + b"</a>" * 40 + b"</body>", "bad_xml"),
        (b"<body/>", "bad_bosh"),
        (b"<body rid='0'/>", "bad_bosh"),
        (b"<body rid='-1'/>", "bad_bosh"),
        (b"<body rid='9007199254740992'/>", "bad_bosh"),
        (b"<body rid='\xd9\xa1'/>", "bad_bosh"),
        (b"<body rid='1' wait='soon'/>", "bad_bosh"),
        (b"<body rid='1'>text</body>", "bad_bosh"),
        (b"<html rid='1'/>", "bad_bosh"),
    ],
)
def test_a_body_that_is_none_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(XmppRefused) as error:
        read_request(data)
    assert error.value.code == code


def test_responses() -> None:
    attributes = greeting("s", 'a"b', wait=5, hold=1, inactivity=30, pause=120, requests=2)
    writer = BodyWriter(7, attributes)
    first = read(writer.answer(PollAnswer([Frame(b"<a/>"), Frame(b"<b/>")], token="7")).data).root
    assert (first.get("sid"), first.get("requests"), first.get("from")) == ("s", "2", 'a"b')
    assert first.get("urn:xmpp:xbosh restartlogic") == "true"
    assert [one.name for one in first.children] == ["a", "b"]
    other = read(writer.answer(PollAnswer((), token="8")).data).root
    assert (other.attributes, other.children) == ({}, [])


@pytest.mark.parametrize("failed", [False, True])
def test_the_end_of_a_session(failed: bool) -> None:
    frames = [Frame(stream_error(GOING_AWAY).encode())] if failed else []
    root = read(BodyWriter(1, {}).answer(PollAnswer(frames, GOING_AWAY)).data).root
    assert (root.get("type"), root.get("condition")) == ("terminate", "remote-stream-error" if failed else "")
    assert [one.children[0].name for one in root.children] == ["system-shutdown"] * failed


def test_an_error_is_escaped() -> None:
    root = read(terminated("bad-request", "bad_xml", "<&>", 400).data).root
    assert [(one.name, one.text) for one in root.children] == [("text", "<&>"), ("code", "bad_xml")]
