"""Writes XML: elements with a default namespace, and never with a prefix, which some clients do not understand."""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Protocol
from xml.sax.saxutils import escape as _escape

_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot have (XML 1.0, section 2.2)."""

_IN_TEXT: Final = {"\r": "&#13;"}
_IN_ATTRIBUTE: Final = {'"': "&quot;", "'": "&apos;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
_XML: Final = "http://www.w3.org/XML/1998/namespace "


class Written(Protocol):
    """An element that can be written."""

    name: str
    namespace: str
    attributes: dict[str, str]
    text: str

    @property
    def children(self) -> "Sequence[Written]":
        """The elements in it."""
        ...


def escape_text(text: str) -> str:
    """Return text as the content of an element; U+FFFD stands for characters that XML cannot have."""
    return _escape(_ILLEGAL.sub("\ufffd", text), _IN_TEXT)


def escape_attribute(text: str) -> str:
    """Return text as the value of an attribute, without its quotes."""
    return _escape(_ILLEGAL.sub("\ufffd", text), _IN_ATTRIBUTE)


def tag(name: str, attributes: Mapping[str, str], content: str = "") -> str:
    """Write an element with the attributes that are not empty; `content` is XML."""
    written = "".join([f' {key}="{escape_attribute(value)}"' for key, value in attributes.items() if value])
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def write_element(element: Written, around: str) -> str:
    """Write an element anew, with its namespace where that is not the one `around` it.

    The attributes in a namespace have a prefix that the element declares; XML has no other way to write these.
    """
    attributes = {} if element.namespace == around else {"xmlns": element.namespace}
    for number, (key, value) in enumerate(element.attributes.items()):
        namespace, _, name = key.rpartition(" ")
        if key.startswith(_XML):
            attributes[f"xml:{name}"] = value
        elif namespace:
            attributes |= {f"xmlns:a{number}": namespace, f"a{number}:{name}": value}
        else:
            attributes[name] = value
    written = "".join([f' {key}="{escape_attribute(value)}"' for key, value in attributes.items()])
    content = escape_text(element.text) + "".join([write_element(one, element.namespace) for one in element.children])
    return f"<{element.name}{written}>{content}</{element.name}>" if content else f"<{element.name}{written}/>"
