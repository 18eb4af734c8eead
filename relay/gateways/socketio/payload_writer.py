"""The responses to the requests of Engine.IO sessions that poll."""

from collections.abc import Sequence
from typing import Final

from relay.gateways.base.http import HTML, OCTETS, TEXT, HttpBody
from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.socketio.packets import Framing
from relay.model.codec import Frame

_ACCEPTED: Final = HttpBody(b"ok", HTML)
"""The response to a post. Some browsers offer a response of most other media types as a download."""


class PayloadWriter:
    """Writes the responses to the requests of all sessions with one framing; `accepted` is that to a post."""

    def __init__(self, framing: Framing, accepted: HttpBody = _ACCEPTED) -> None:
        self.framing = framing
        self._accepted = accepted

    def answer(self, answer: PollAnswer) -> HttpBody:
        """Write a payload, which is never empty: its last packet closes the session, or its only one is a noop."""
        frames = answer.frames
        if answer.closed is not None:
            frames = [*frames, self.framing.control.close]
        payload = self.framing.write_payload(frames or [self.framing.control.noop])
        return HttpBody(payload.body, OCTETS if payload.binary else TEXT)

    def posted(self, replies: Sequence[Frame]) -> HttpBody:
        """Accept a post; its packets are answered in payloads."""
        return self._accepted
