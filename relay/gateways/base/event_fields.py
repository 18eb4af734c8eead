"""Events as objects of JSON with a `type`: the form that they have in the native protocol and in plain HTTP."""

from typing import Any

from msgspec import Raw

from relay.model import events
from relay.model.rules import shown_rules


def event_fields(event: events.ServerEvent, *, tagged: bool = False) -> dict[str, Any]:
    """Return the fields of an event other than a message; a `tagged` one names its room."""
    fields = _fields(event)
    if tagged and event.room:
        fields["room"] = event.room
    key = getattr(event, "key", "")
    if key:
        fields["key"] = key
    return fields


def _fields(event: events.ServerEvent) -> dict[str, Any]:
    match event:
        # First, because there is an ack for every message with a key.
        case events.Ack():
            return {"type": "ack", "id": str(event.id)}
        case events.Pong():
            return {"type": "pong"} | ({} if event.id is None else {"id": str(event.id)})
        case events.Welcome() | events.Observing():
            return {"type": "welcome"} | _welcome(event)
        case events.IceRenewed():
            return {"type": "ice", "iceServers": event.ice.servers, "ttl": event.ice.ttl}
        case events.Recovered():
            return {"type": "recovered", "id": str(event.id), "replayed": event.replayed}
        case events.PresenceChange() | events.PresenceList() | events.Detected():
            return {"type": "presence"} | _presence(event)
        case events.LeftRoom():
            return {"type": "left"}
        case events.Subscriptions():
            return {"type": "subscribed", "channels": event.channels}
        case events.InfoChanged():
            return {"type": "info", "info": _info(event.info)}
        case events.TokenExpiring() | events.Refreshed():
            return _token(event)
        case events.Failure():
            about = {"about": event.about} if event.about else {}
            return {"type": "error", "code": event.code, "text": event.text} | about | event.detail
        case _:
            return _control(event)


def _welcome(event: events.Welcome | events.Observing) -> dict[str, Any]:
    if isinstance(event, events.Observing):
        head = {"observer": True, "room": event.room, "id": str(event.roster.id)}
        return head | (_members(event.roster) if event.names else {"count": event.roster.count})
    fields: dict[str, Any] = {
        "peer": event.peer,
        "room": event.room,
        "id": str(event.id),
        "resumed": event.resumed,
        "first": event.first,
        "resume": event.resume,
    }
    if event.recovered is not None:
        fields["recovered"] = event.recovered
    if event.reason:
        fields["reason"] = event.reason
    if event.ice is not None:
        fields["iceServers"] = event.ice.servers
    return fields | (_members(event.roster) if event.roster else {})


def _token(event: events.TokenExpiring | events.Refreshed) -> dict[str, Any]:
    if isinstance(event, events.TokenExpiring):
        return {"type": "token_expiring", "in": round(event.seconds, 2)}
    return {"type": "refreshed"} | ({} if event.expires is None else {"expires": event.expires})


def _presence(event: events.PresenceChange | events.PresenceList | events.Detected) -> dict[str, Any]:
    match event:
        case events.PresenceChange():
            # Without infos in the room, the frame has the fields that clients of earlier versions know.
            changed = {"changed": event.changed} if event.changed else {}
            info = {"info": {peer: _info(text) for peer, text in event.info.items()}} if event.info else {}
            return {"joined": event.joined, "left": event.left} | changed | info | {"id": str(event.id)}
        case events.PresenceList():
            present = {"present": event.roster.count > 0}
            return present | _members(event.roster) | {"id": str(event.roster.id)}
        case events.Detected():
            return {"present": event.present}


def _members(roster: events.Roster) -> dict[str, Any]:
    return {"members": [_member(one) for one in roster.members], "count": roster.count}


def _member(present: events.Present) -> dict[str, Any]:
    member: dict[str, Any] = {"peer": present.peer}
    if present.held:
        member["held"] = True
    if present.info:
        member["info"] = Raw(present.info)
    return member


def _info(text: bytes) -> Raw | None:
    return Raw(text) if text else None


def _control(event: events.RoomNotice | events.CurrentRules | events.Done) -> dict[str, Any]:
    match event:
        case events.RulesChanged():
            by = {"by": event.by} if event.by else {}
            return {"type": "rules", "rules": shown_rules(event.rules), **by, "id": str(event.id)}
        case events.CurrentRules():
            return {"type": "rules", "rules": shown_rules(event.rules)}
        case events.Kicked():
            return {"type": "kicked", "peer": event.peer, **_reason(event.reason), "id": str(event.id)}
        case events.RoomClosed():
            return {"type": "closed", **_reason(event.reason), "id": str(event.id)}
        case events.Moved():
            return {"type": "move", "to": event.to, "id": str(event.id)}
        case events.Done():
            return {"type": "done", "about": event.about, "count": event.count}


def _reason(text: str) -> dict[str, str]:
    return {"reason": text} if text else {}
