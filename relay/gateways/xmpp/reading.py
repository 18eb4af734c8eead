"""Reads one XML element, with the parser of Python's standard library, within bounds.

XMPP knows no document types, entities, comments and processing instructions (RFC 6120, section 11.1). All of them are
refused, so that no entity is ever expanded and nothing outside the frame is ever read.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final, NoReturn
from xml.parsers import expat

from relay.gateways.xmpp.namespaces import CLIENT, HTTP_BIND, OF_THE_SERVER
from relay.gateways.xmpp.writing import write_element

MAX_DEPTH: Final = 32
"""Levels of elements; a stanza of Jingle has eight."""

MAX_ATTRIBUTES: Final = 64
"""Attributes of one element, with the namespaces that it declares."""

MAX_ELEMENTS: Final = 2000
"""Elements of one frame."""

MAX_ALL_ATTRIBUTES: Final = 8000
"""Attributes and namespaces of all elements of one frame."""

MAX_TAG: Final = 16_384
"""Bytes of one tag: the parser reads all attributes of a tag before it tells of any."""

_SEPARATOR: Final = "\n"
_FORBIDDEN: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY|ELEMENT|ATTLIST|NOTATION)|<\?|<!--", re.IGNORECASE)
_TO_END_OF_TAG: Final = re.compile(rb"""[^>"']*+(?:"[^"]*+"[^>"']*+|'[^']*+'[^>"']*+)*+>""")
_AS_CLIENT: Final = frozenset({"", CLIENT, HTTP_BIND})


class BadXml(Exception):
    """A text is no XML that XMPP allows; `condition` is that of the stream error (RFC 6120, section 4.9.3)."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(text)
        self.condition = condition


class Element:
    """An element: its local name, its namespace, its attributes, its child elements and all text directly in it.

    Attributes in a namespace have the key `NAMESPACE NAME`. Without a namespace, or in that of a transport, an element
    is in `jabber:client`. `start` and `end` are where it stands in the text that was read.
    """

    __slots__ = ("attributes", "children", "end", "name", "namespace", "start", "text")

    def __init__(self, name: str, namespace: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.namespace = namespace
        self.attributes = attributes
        self.children: list[Element] = []
        self.text = ""
        self.start = self.end = 0

    def get(self, name: str) -> str:
        """Return an attribute, "" if it has none."""
        return self.attributes.get(name, "")

    def child(self, name: str, namespace: str) -> "Element | None":
        """Return the first child element of this name; None if there is none."""
        return next((one for one in self.children if one.name == name and one.namespace == namespace), None)

    def all(self) -> Iterator["Element"]:
        """Yield the child elements, and theirs."""
        for child in self.children:
            yield child
            yield from child.all()


class Document:
    """An element that was read, with the bytes of its children."""

    __slots__ = ("_data", "_prefixed", "root")

    def __init__(self, root: Element, data: bytes, *, prefixed: bool) -> None:
        self.root = root
        self._data = data
        self._prefixed = prefixed

    def source(self, element: Element) -> str:
        """Return a child element of the root as it was written, or written anew if the frame has prefixes.

        Clients match names as they are written, and a prefix may be declared outside the child.
        """
        if self._prefixed:
            return write_element(element, CLIENT)
        return self._data[element.start : element.end].decode()


def read(data: bytes) -> Document:
    """Read one element and nothing else; raises `BadXml`. `data` is UTF-8, whose size the caller has bounded."""
    if data.count(b"<") > 2 * MAX_ELEMENTS:
        raise BadXml("policy-violation", f"a frame has at most {MAX_ELEMENTS} elements")
    if _FORBIDDEN.search(data):
        _forbid()
    if len(data) > MAX_TAG:
        _check_tags(data)
    reader = _Reader(data)
    try:
        return reader.read()
    except expat.ExpatError as error:
        raise BadXml("not-well-formed", expat.ErrorString(error.code) or "not well-formed") from None
    except UnicodeError:
        raise BadXml("not-well-formed", "the frame is not UTF-8") from None


def _check_tags(data: bytes) -> None:
    """Raise `BadXml` for a tag that is too long."""
    # A tag has no < behind its first byte, and > only within quotes.
    for part in _without_cdata(data).split(b"<")[1:]:
        if len(part) > MAX_TAG and _TO_END_OF_TAG.match(part, 0, MAX_TAG) is None:
            raise BadXml("policy-violation", f"a tag has at most {MAX_TAG} bytes")


def _without_cdata(data: bytes) -> bytes:
    """Take the CDATA sections out, in which all characters are text."""
    kept, at = [], 0
    while (begin := data.find(b"<![CDATA[", at)) >= 0 and (end := data.find(b"]]>", begin)) >= 0:
        kept.append(data[at:begin])
        at = end
    return b"".join([*kept, data[at:]])


class _Reader:
    """Builds the elements of one frame from the events of the parser."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        # The elements that are open, with the parts of their texts.
        self._open: list[tuple[Element, list[str]]] = []
        self._root: Element | None = None
        self._count = self._attributes = 0
        # Namespaces that the element declares which comes next.
        self._namespaces = 0
        self._prefixed = False
        self._parser = parser = expat.ParserCreate("utf-8", _SEPARATOR)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartNamespaceDeclHandler = self._declared
        # Refused a second time, by the parser itself: the search ahead of it only looks for texts.
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ProcessingInstructionHandler = _forbid
        parser.CommentHandler = parser.XmlDeclHandler = parser.UnparsedEntityDeclHandler = _forbid
        parser.ExternalEntityRefHandler = parser.SkippedEntityHandler = _forbid

    def read(self) -> Document:
        """Parse everything."""
        self._data.decode()
        self._parser.Parse(self._data, True)
        if self._root is None:
            raise BadXml("not-well-formed", "no element")
        return Document(self._root, self._data, prefixed=self._prefixed)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        own, self._namespaces = len(attributes) + self._namespaces, 0
        self._attributes += own
        if (
            len(self._open) >= MAX_DEPTH
            or self._count > MAX_ELEMENTS
            or own > MAX_ATTRIBUTES
            or self._attributes > MAX_ALL_ATTRIBUTES
        ):
            _refuse()
        namespace, local = _split(name)
        read = {key if _SEPARATOR not in key else " ".join(_split(key)): value for key, value in attributes.items()}
        element = Element(local, CLIENT if namespace in _AS_CLIENT else namespace, read)
        element.start = self._parser.CurrentByteIndex
        if self._open:
            self._open[-1][0].children.append(element)
        else:
            self._root = element
        self._open.append((element, []))

    def _end(self, _: str) -> None:
        (element, parts), at = self._open.pop(), self._parser.CurrentByteIndex
        element.text = "".join(parts)
        is_empty = not element.children and not element.text and self._data[at - 2 : at] == b"/>"
        # Behind an empty tag, the parser is at its end already; otherwise at the beginning of the end tag.
        element.end = at if is_empty else self._data.index(b">", at) + 1

    def _characters(self, text: str) -> None:
        if self._open:
            self._open[-1][1].append(text)

    def _declared(self, prefix: str | None, _: str | None) -> None:
        self._prefixed |= prefix is not None
        self._namespaces += 1
        if self._namespaces > MAX_ATTRIBUTES:
            _refuse()


def read_elements(text: str) -> list[str]:
    """Return the elements of a text that came by way of a room, each as it may be written; [] if it is no XML.

    Elements that only the relay writes are left out.
    """
    with suppress(BadXml, UnicodeError):
        document = read(b'<x xmlns="jabber:client">%b</x>' % text.encode())
        if not document.root.text.strip():
            return [document.source(one) for one in document.root.children if one.namespace not in OF_THE_SERVER]
    return []


def _split(name: str) -> tuple[str, str]:
    namespace, _, local = name.rpartition(_SEPARATOR)
    return namespace, local


def _refuse() -> NoReturn:
    text = f"at most {MAX_DEPTH} levels, {MAX_ELEMENTS} elements, and {MAX_ATTRIBUTES} attributes of each"
    raise BadXml("policy-violation", f"{text}, {MAX_ALL_ATTRIBUTES} in all")


def _forbid(*_: object) -> NoReturn:
    raise BadXml("restricted-xml", "document types, entities, comments and processing instructions are not allowed")
