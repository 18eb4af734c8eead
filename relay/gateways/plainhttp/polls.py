"""Long polling: the answers to polls."""

from typing import Any, Final

import msgspec
from msgspec import Raw

from relay.gateways.base.cursor_polls import cursor_after
from relay.gateways.base.http import JSON, HttpBody
from relay.gateways.base.http_sessions import NoPosts
from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.plainhttp.codec import PollFrame, close_fields
from relay.model.errors import ERRORS

IDLE: Final = 15.0
"""Seconds without a poll after which the client counts as lost; its place is held from then on."""


class PollDialect(NoPosts):
    """Writes the answers to polls: `messages`, `next`, and the other events."""

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write the answer; a client that could not join gets the error, with its status."""
        frames = [frame for frame in answer.frames if isinstance(frame, PollFrame)]
        if answer.closed is not None:
            refusal = next((frame.fields for frame in frames if _refuses(frame)), None)
            if refusal is not None:
                return _refused(refusal)
        content: dict[str, Any] = {
            "messages": [Raw(frame.data) for frame in frames if frame.fields is None],
            "next": cursor_after(answer),
        }
        told = [frame for frame in frames if frame.fields is not None]
        for frame in told:
            if frame.fields is not None and frame.fields["type"] == "welcome":
                content["peer"], content["resume"] = frame.fields["peer"], frame.fields["resume"]
        if told:
            content["events"] = [Raw(frame.data) for frame in told]
        if answer.closed is not None:
            content["closed"] = close_fields(answer.closed)
        return HttpBody(msgspec.json.encode(content), JSON)


def _refuses(frame: PollFrame) -> bool:
    fields = frame.fields
    return fields is not None and fields["type"] == "error" and fields.get("about") == "join"


def _refused(fields: Any) -> HttpBody:
    error = {name: value for name, value in fields.items() if name not in ("type", "about")}
    return HttpBody(msgspec.json.encode({"error": error}), JSON, ERRORS[error["code"]][0])
