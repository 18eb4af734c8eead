"""Answers the IQs that a client sends to the relay itself: to its domain, to the conference service, and to a room."""

from collections.abc import Callable, Sequence
from typing import Final

from relay.gateways.xmpp.errors import BadStanza, XmppRefused
from relay.gateways.xmpp.jids import CONFERENCE, Jid, nick_of
from relay.gateways.xmpp.namespaces import (
    BIND,
    DATA,
    DISCO_INFO,
    DISCO_ITEMS,
    MUC,
    MUC_ADMIN,
    MUC_OWNER,
    PING,
    ROSTER,
    SESSION,
)
from relay.gateways.xmpp.reading import Element
from relay.gateways.xmpp.writing import tag
from relay.model.commands import ChangeRules, Kick, RoomControl
from relay.model.rules import MAX_REASON, RuleChange

MOST_ITEMS: Final = 100
"""Items of one list."""

_OF_ROOMS: Final = (MUC, "muc_open", "muc_unmoderated", "muc_semianonymous", "muc_temporary", "muc_public")


def payload(stanza: Element) -> Element:
    """Return the one child of an IQ; raises `BadStanza` (`bad_stanza`)."""
    if stanza.get("type") not in {"get", "set"} or len(stanza.children) != 1 or not stanza.get("id"):
        text = "an IQ has an id, the type get or set, and one element"
        raise BadStanza("bad_stanza", text, about="iq", key=f"{stanza.get('id')}\n{stanza.get('to')}")
    return stanza.children[0]


def is_for_service(to: Jid | None, domain: str) -> bool:
    """Return whether an address is that of the relay, and not that of a room; without any, it is the client's own."""
    return to is None or to.domain == domain or not to.local


def answer_of_server(asked: Element, kind: str, to: Jid | None) -> str:
    """Return the answer of the server, or of its conference service, as XML; raises `XmppRefused` (`not_served`)."""
    of_rooms = to is not None and to.domain.startswith(CONFERENCE)
    match asked.namespace, kind:
        case (namespace, "get") if namespace == PING:
            return ""
        case (namespace, "get") if namespace == DISCO_INFO:
            return _info(("conference", "text", "Rooms") if of_rooms else ("server", "im", "Relay"), of_rooms)
        case (namespace, "get") if namespace == DISCO_ITEMS:
            service = "" if of_rooms or to is None else tag("item", {"jid": f"{CONFERENCE}{to.domain}"})
            return tag("query", {"xmlns": DISCO_ITEMS}, service)
        case (namespace, "get") if namespace == ROSTER:
            return tag("query", {"xmlns": ROSTER})
        case (namespace, "set") if namespace == SESSION:
            return ""
        case (namespace, "set") if namespace == BIND:
            raise BadStanza("bad_stanza", "a stream has one resource")
    raise XmppRefused("not_served")


def answer_of_room(asked: Element, kind: str, address: str, occupants: Sequence[str]) -> str | None:
    """Return the answer of a room with these occupants (escaped peer ids), as XML; None if `control_of` answers.

    Raises `XmppRefused` (`not_served`).
    """
    match asked.namespace, kind:
        case (namespace, "get") if namespace == PING:
            return ""
        case (namespace, "get") if namespace == DISCO_INFO:
            return _info(("conference", "text", address.partition("@")[0]), of_rooms=True)
        case (namespace, "get") if namespace == DISCO_ITEMS:
            items = [tag("item", {"jid": f"{address}/{nick_of(peer)}"}) for peer in occupants]
            return tag("query", {"xmlns": DISCO_ITEMS}, "".join(items))
        case (namespace, "get") if namespace == MUC_OWNER:
            return tag("query", {"xmlns": MUC_OWNER}, tag("x", {"xmlns": DATA, "type": "form"}))
        case (namespace, "set") if namespace in {MUC_OWNER, MUC_ADMIN}:
            return None
    raise XmppRefused("not_served")


def control_of(asked: Element, room: str, peer_of: Callable[[str], str]) -> RoomControl | None:
    """Return the command that a moderator or owner gives a room; None if a form changes nothing.

    Raises `BadStanza` (`bad_stanza`), and `Refused` for a name that is not allowed.
    """
    if asked.namespace == MUC_ADMIN:
        item = asked.child("item", MUC_ADMIN)
        if item is None or item.get("role") != "none" or not item.get("nick"):
            raise XmppRefused("not_served", "an occupant can be kicked: an item with its nick, and the role none")
        reason = item.child("reason", MUC_ADMIN)
        return Kick(peer_of(item.get("nick")), reason.text[:MAX_REASON] if reason is not None else "", room=room)
    form = asked.child("x", DATA)
    if form is None:
        raise XmppRefused("not_served", "a room ends with its last occupant")
    fields = {field.get("var"): field.child("value", DATA) for field in form.children if field.name == "field"}
    change = _change({name: value.text if value is not None else "" for name, value in fields.items()})
    return None if change is None else ChangeRules(change, room=room)


def _change(fields: dict[str, str]) -> RuleChange | None:
    secret, most = fields.get("muc#roomconfig_roomsecret"), fields.get("muc#roomconfig_maxusers", "")
    protects = fields.get("muc#roomconfig_passwordprotectedroom")
    password = "" if protects in {"0", "false"} else secret
    if password is None and not most:
        return None
    try:
        return RuleChange(password=_checked(password), max_members=int(most) if most.isdecimal() else None)
    except ValueError:
        raise BadStanza("bad_stanza", "a field of the form has a value that is not allowed", about="iq") from None


def _checked(password: str | None) -> str | None:
    if password is not None and len(password) > 128:
        raise ValueError
    return password


def _info(identity: tuple[str, str, str], of_rooms: bool) -> str:
    category, kind, name = identity
    features = (DISCO_INFO, DISCO_ITEMS, PING, *(_OF_ROOMS if of_rooms else (ROSTER,)))
    content = tag("identity", {"category": category, "type": kind, "name": name})
    content += "".join([tag("feature", {"var": feature}) for feature in features])
    return tag("query", {"xmlns": DISCO_INFO}, content)
