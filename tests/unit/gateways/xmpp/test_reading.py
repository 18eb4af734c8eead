"""Reading XML: stanzas that are read, and a corpus of attacks, each of which is refused before it costs anything."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateways.xmpp.reading import (
    MAX_ALL_ATTRIBUTES,
    MAX_ATTRIBUTES,
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_TAG,
    BadXml,
    Document,
    Element,
    read,
    read_elements,
)
from relay.gateways.xmpp.writing import write_element


def condition(data: bytes) -> str:
    with pytest.raises(BadXml) as refused:
        read(data)
    return refused.value.condition


def sources(document: Document) -> list[str]:
    return [document.source(child) for child in document.root.children]


def test_reads_names_namespaces_attributes_and_text() -> None:
    root = read("<message xmlns='jabber:client' to='é' xml:lang='de'>a<x xmlns='u'>☃</x>b</message>".encode()).root
    assert (root.name, root.namespace, root.get("to"), root.text) == ("message", "jabber:client", "é", "ab")
    assert root.attributes["http://www.w3.org/XML/1998/namespace lang"] == "de"
    child = root.child("x", "u")
    assert child is not None
    assert child.text == "☃"
    assert root.child("x", "jabber:client") is None
    assert [one.name for one in root.all()] == ["x"]


@pytest.mark.parametrize("namespace", ["", ' xmlns="jabber:client"', ' xmlns="http://jabber.org/protocol/httpbind"'])
def test_elements_of_a_transport_are_those_of_clients(namespace: str) -> None:
    assert read(b"<iq%b><a/></iq>" % namespace.encode()).root.child("a", "jabber:client") is not None


@pytest.mark.parametrize(
    "child",
    [
        "<a/>",
        "<a></a>",
        "<a b='/'></a>",
        "<a>/&gt;</a>",
        "<a>text/></a>",
        '<a ><b c="1"/>text<b/></a >',
        "<a b='x > y'/>",
        "<a><![CDATA[</a>]]></a>",
        "<j xmlns='urn:xmpp:jingle:1' sid='é'><c>☃&amp;</c></j>",
    ],
)
def test_children_are_taken_byte_for_byte(child: str) -> None:
    for before, after in (("", ""), ("text", "<z/>"), ("<z/>", "text"), ("<z></z>", "</x>"[:0])):
        document = read(f"<x>{before}{child}{after}</x>".encode())
        assert child in sources(document)
        assert all(source in {child, "<z/>", "<z></z>"} for source in sources(document))


def test_children_with_prefixes_are_written_anew() -> None:
    document = read(b'<iq xmlns:j="urn:j"><j:a b="1" j:c="2" xml:lang="de">t<j:d/><e/></j:a></iq>')
    (source,) = sources(document)
    assert source == (
        '<a xmlns="urn:j" b="1" xmlns:a1="urn:j" a1:c="2" xml:lang="de">t<d/><e xmlns="jabber:client"/></a>'
    )
    again = read(f"<iq>{source}</iq>".encode()).root.children[0]
    assert (again.name, again.namespace, again.attributes["urn:j c"]) == ("a", "urn:j", "2")


BOMB = b"".join(b'<!ENTITY a%d "%b">' % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 10))

FULL = b"<y %b/>" % b" ".join(b'a%d=""' % n for n in range(MAX_ATTRIBUTES))

ATTACKS = {
    "billion laughs": (b'<!DOCTYPE x [<!ENTITY a0 "ha">%b]><x>&a9;</x>' % BOMB, "restricted-xml"),
    "quadratic blowup": (b'<!DOCTYPE x [<!ENTITY a "%b">]><x>%b</x>' % (b"A" * 9000, b"&a;" * 900), "restricted-xml"),
    "external entity": (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', "restricted-xml"),
    "external entity over http": (b'<!DOCTYPE x [<!ENTITY a SYSTEM "http://127.0.0.1/">]><x>&a;</x>', "restricted-xml"),
    "parameter entity": (b'<!DOCTYPE x [<!ENTITY % a SYSTEM "http://127.0.0.1/">%a;]><x/>', "restricted-xml"),
    "external DTD": (b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><x/>', "restricted-xml"),
    "public DTD": (b'<!DOCTYPE x PUBLIC "-//W3C//DTD XHTML 1.0//EN" "http://127.0.0.1/"><x/>', "restricted-xml"),
    "internal subset": (b'<!DOCTYPE x [<!ATTLIST x a CDATA "b">]><x/>', "restricted-xml"),
    "lower case": (b"<!doctype x><x/>", "restricted-xml"),
    "XML declaration": (b'<?xml version="1.0"?><x/>', "restricted-xml"),
    "other encoding declared": (b'<?xml version="1.0" encoding="utf-7"?><x>+ADw-script+AD4-</x>', "restricted-xml"),
    "processing instruction": (b"<x><?php evil() ?></x>", "restricted-xml"),
    "stylesheet": (b'<?xml-stylesheet href="http://127.0.0.1/"?><x/>', "restricted-xml"),
    "comment": (b"<x><!-- hidden --></x>", "restricted-xml"),
    "undefined entity": (b"<x>&evil;</x>", "not-well-formed"),
    "HTML entity": (b"<x>&nbsp;</x>", "not-well-formed"),
    "two elements": (b"<x/><y/>", "not-well-formed"),
    "text behind": (b"<x/>text", "not-well-formed"),
    "half an element": (b"<x>", "not-well-formed"),
    "crossed": (b"<x><y></x></y>", "not-well-formed"),
    "attribute twice": (b'<x a="1" a="2"/>', "not-well-formed"),
    "attribute twice by prefixes": (b'<x xmlns:p="u" xmlns:q="u" p:a="1" q:a="2"/>', "not-well-formed"),
    "unbound prefix": (b"<p:x/>", "not-well-formed"),
    "xml prefix rebound": (b'<x xmlns:xml="urn:evil"/>', "not-well-formed"),
    "NUL": (b"<x>\0</x>", "not-well-formed"),
    "control character": (b"<x>&#1;</x>", "not-well-formed"),
    "half a surrogate pair": (b"<x>&#xD800;</x>", "not-well-formed"),
    "not UTF-8": (b"<x>\xff</x>", "not-well-formed"),
    "overlong": (b"<x>\xc0\xbc</x>", "not-well-formed"),
    "UTF-16": ("<x/>".encode("utf-16"), "not-well-formed"),
    "UTF-32": ("<x/>".encode("utf-32"), "not-well-formed"),
    "nothing": (b"", "not-well-formed"),
    "no XML": (b'{"type":"offer"}', "not-well-formed"),
    "deep": (b"<x>" * (MAX_DEPTH + 1) + b"</x>" * (MAX_DEPTH + 1), "policy-violation"),
    "very deep": (b"<x>" * 100_000, "policy-violation"),
    "many elements": (b"<x>%b</x>" % (b"<y/>" * MAX_ELEMENTS), "policy-violation"),
    "many attributes": (
        b"<x %b/>" % b" ".join(b'a%d="1"' % n for n in range(MAX_ATTRIBUTES + 1)), "policy-violation"
    ),
    "many namespaces": (
        b"<x %b/>" % b" ".join(b'xmlns:a%d="u"' % n for n in range(MAX_ATTRIBUTES + 1)), "policy-violation"
    ),
    "attributes and namespaces": (
        b"<x %b/>" % b" ".join(b'xmlns:a%d="u" b%d="1"' % (n, n) for n in range(MAX_ATTRIBUTES)), "policy-violation"
    ),
    "many attributes in all": (b"<x>%b</x>" % (FULL * (MAX_ALL_ATTRIBUTES // MAX_ATTRIBUTES + 1)), "policy-violation"),
    "long tag": (b'<x a="%b"/>' % (b">" * MAX_TAG), "policy-violation"),
    "long tag that looks short": (b"""<x a=">" b='">' c="%b"/>""" % (b"y" * MAX_TAG), "policy-violation"),
    "long tag without an end": (b"<x %b" % (b"a='" * MAX_TAG), "policy-violation"),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(name: str) -> None:
    data, expected = ATTACKS[name]
    assert condition(data) == expected


def test_a_stanza_within_the_bounds_is_read() -> None:
    read(b"<x>" * MAX_DEPTH + b"</x>" * MAX_DEPTH)
    read(b"<x %b/>" % b" ".join(b'a%d="1"' % number for number in range(MAX_ATTRIBUTES)))
    read(b"<x>%b</x>" % (b"<y/>" * (MAX_ELEMENTS - 1)))
    read(b"<x>%b</x>" % (FULL * (MAX_ALL_ATTRIBUTES // MAX_ATTRIBUTES)))


def test_a_long_text_is_no_long_tag() -> None:
    text = b"'\"> = " * MAX_TAG
    document = read(b"""<x a='"' b=">"> %b<y c=">'"/><![CDATA[<z %b]]>%b</x >""" % (text, text, text))
    assert document.root.text.encode() == b" %b<z %b%b" % (text, text, text)
    assert sources(document) == ["""<y c=">'"/>"""]


@pytest.mark.parametrize("part", [b"<a/>" + b"y" * 700, b"<![CDATA[" + b"y" * 700, b"<a b='" + b"y" * 700 + b"'/>"])
def test_the_time_is_linear(part: bytes) -> None:
    def cost(count: int) -> float:
        began = time.process_time()
        with suppress(BadXml):
            read(b"<x>%b</x>" % (part * count))
        return time.process_time() - began

    cost(10)
    few = min(cost(100) for _ in range(5))
    assert min(cost(1900) for _ in range(3)) < 19 * few * 3


@given(st.binary(max_size=60) | st.text(alphabet="<>&;/'\"= ax!-[]?#", max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        document = read(data)
    except BadXml as error:
        assert error.condition in {"not-well-formed", "restricted-xml", "policy-violation"}
    else:
        again = read(write_element(document.root, "").encode()).root
        assert _shape(again) == _shape(document.root)


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        ("", []),
        ("<a/><b xmlns='u'>x</b>", ["<a/>", "<b xmlns='u'>x</b>"]),
        ("</message><evil/>", []),
        ("<a>", []),
        ("text", []),
        ("<!DOCTYPE x><a/>", []),
        ('<a/><x xmlns="http://jabber.org/protocol/muc#user"><status code="110"/></x>', ["<a/>"]),
        ('<delay xmlns="urn:xmpp:delay" stamp="2000"/>', []),
        ('<stanza-id xmlns="urn:xmpp:sid:0" id="1" by="room"/>', []),
        ("\ud800", []),
    ],
)
def test_elements_from_a_room_are_checked(text: str, elements: list[str]) -> None:
    assert read_elements(text) == elements


def _shape(element: Element) -> object:
    return element.name, element.namespace, element.attributes, element.text, [*map(_shape, element.children)]
