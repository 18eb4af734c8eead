"""Writes the stanzas that come from a room (XEP-0045); no I/O.

None has a `to`: a stanza without one is for the client that gets it, so that all occupants share the same bytes.
"""

from collections.abc import Iterable
from typing import Final

from relay.gateways.xmpp.envelopes import CHAT, IQ, Rest, Said
from relay.gateways.xmpp.errors import stanza_error
from relay.gateways.xmpp.jids import CONFERENCE, local_of_room, nick_of
from relay.gateways.xmpp.namespaces import CLIENT, DELAY, JSON, MUC_USER, STANZA_ID
from relay.gateways.xmpp.reading import read_elements
from relay.gateways.xmpp.writing import escape_text, tag
from relay.model.codec import Frame

OWN: Final = 110
CREATED: Final = 201
RENAMED: Final = 303
KICKED: Final = 307

_TYPES: Final = {
    IQ: frozenset({"get", "set", "result", "error"}),
    CHAT: frozenset({"chat", "normal", "headline"}),
}
"""The kinds of direct stanzas → the types that they may have."""


def room_jid(room: str, domain: str) -> str:
    """Return the address of a room."""
    return f"{local_of_room(room)}@{CONFERENCE}{domain}"


def occupant_jid(room: str, peer: str, domain: str) -> str:
    """Return the address of an occupant."""
    return f"{room_jid(room, domain)}/{nick_of(peer)}"


def presence(
    sender: str,
    *,
    statuses: Iterable[int] = (),
    leaves: bool = False,
    owns: bool = False,
    nick: str = "",
    reason: str = "",
    destroys: bool = False,
    stanza_id: str = "",
) -> Frame:
    """Write the presence of the occupant `sender`, or with `leaves` that it is gone.

    `nick` is the one that it has from now on (status 303), `reason` that of a kick. With `destroys`,
    the room is closed.
    """
    role = "none" if leaves else "moderator" if owns else "participant"
    item = tag(
        "item",
        {"affiliation": "owner" if owns else "none", "role": role, "nick": nick},
        tag("reason", {}, escape_text(reason)) if reason and not destroys else "",
    )
    if destroys:
        item += tag("destroy", {}, tag("reason", {}, escape_text(reason)))
    codes = "".join([tag("status", {"code": str(code)}) for code in statuses])
    about = tag("x", {"xmlns": MUC_USER}, item + codes)
    kind = "unavailable" if leaves else ""
    return stanza("presence", {"from": sender, "type": kind, "id": stanza_id}, about)


def message(said: Said, sender: str, room: str, message_id: str, *, to_all: bool, sent: str = "") -> Frame:
    """Write a message of the occupant `sender` in `room`; `sent` is when, for one of the history.

    A message of the room's history, and one to all, has the type `groupchat`.
    """
    rest, content = said.rest, ""
    if said.subject is not None:
        content += tag("subject", {}, escape_text(said.subject)) or "<subject/>"
    if said.body is not None:
        content += tag("body", {}, escape_text(said.body))
    if said.container:
        content += tag("json", {"xmlns": JSON}, escape_text(said.container))
    content += _elements(rest)
    kind = "groupchat" if to_all else _type(rest, CHAT, CHAT)
    content += tag("x", {"xmlns": MUC_USER}) if not to_all else ""
    content += tag("stanza-id", {"xmlns": STANZA_ID, "id": message_id, "by": room})
    content += tag("delay", {"xmlns": DELAY, "from": room, "stamp": sent}) if sent else ""
    return stanza("message", {"from": sender, "type": kind, "id": rest.id}, content)


def iq(rest: Rest, sender: str) -> Frame | None:
    """Write an IQ of the occupant `sender`; None if the rest has no type of an IQ, or no id."""
    kind = _type(rest, IQ, "")
    return stanza("iq", {"from": sender, "type": kind, "id": rest.id}, _elements(rest)) if kind and rest.id else None


def subject(room: str, text: str = "") -> Frame:
    """Write the subject of a room, which ends a join; clients wait for it also if there is none."""
    return stanza("message", {"from": room, "type": "groupchat"}, tag("subject", {}, escape_text(text)))


def result(stanza_id: str, sender: str, content: str = "") -> Frame:
    """Write the answer to an IQ; `sender` is the address that was asked."""
    return stanza("iq", {"from": sender, "type": "result", "id": stanza_id}, content)


def failure(name: str, stanza_id: str, sender: str, code: str, text: str, content: str = "") -> Frame:
    """Write the error about a stanza of this name, which was sent to `sender`."""
    return stanza(name, {"from": sender, "type": "error", "id": stanza_id}, content + stanza_error(code, text))


def stanza(name: str, attributes: dict[str, str], content: str = "") -> Frame:
    """Write a stanza."""
    return Frame(tag(name, {"xmlns": CLIENT} | attributes, content).encode())


def _elements(rest: Rest) -> str:
    return "".join(read_elements(rest.elements)) if rest.elements else ""


def _type(rest: Rest, kind: str, otherwise: str) -> str:
    return rest.type if rest.kind == kind and rest.type in _TYPES[kind] else otherwise
