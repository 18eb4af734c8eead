"""The body of a request: a JSON object with a list of events."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw

from relay.model.webhook_events import WebhookEvent

CONTENT_TYPE: Final = "application/json"


def encode_body(events: Iterable[WebhookEvent], *, dropped: int = 0, notice: str = "", now: int) -> bytes:
    """Return the body for these events; ahead of them it tells how many were `dropped`, under the id of the `notice`.

    `now` is the Unix time (ms).
    """
    told: list[dict[str, Any]] = []
    if dropped:
        told.append({"id": f"/{notice}/events_dropped", "type": "events_dropped", "time": now / 1000, "count": dropped})
    return msgspec.json.encode({"events": [*told, *map(_fields, events)]})


def _fields(event: WebhookEvent) -> dict[str, Any]:
    """Return the fields of an event; those that say nothing are left out."""
    fields: dict[str, Any] = {
        "id": event.id,
        "type": event.type,
        "time": event.time / 1000,
        "room": event.room,
        "position": event.position,
    }
    if event.type in {"joined", "left"}:
        fields["peer"] = event.peer
    if event.info:
        fields["info"] = Raw(event.info)
    if event.subject:
        fields["subject"] = event.subject
    if event.reason:
        fields["reason"] = event.reason
    if event.restored:
        fields["restored"] = True
    return fields
