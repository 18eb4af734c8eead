from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.xmpp.reading import read
from relay.gateways.xmpp.writing import escape_attribute, escape_text, tag


def test_writes_elements_without_prefixes() -> None:
    assert tag("a", {"xmlns": "u", "b": 'x"<', "c": ""}) == '<a xmlns="u" b="x&quot;&lt;"/>'
    assert tag("a", {}, "<b/>") == "<a><b/></a>"


def test_characters_that_xml_cannot_have_are_replaced() -> None:
    assert escape_text("a\0\x1b\ufffe\ud800b") == "a\ufffd\ufffd\ufffd\ufffdb"


@given(st.text())
def test_every_text_arrives(text: str) -> None:
    written = f'<x a="{escape_attribute(text)}">{escape_text(text)}</x>'.encode()
    element = read(written).root
    assert escape_text(element.text) == escape_text(text)
    assert escape_attribute(element.get("a")) == escape_attribute(text)
