"""The state of one client beside its session: its protocol, once it has chosen one, and how its connection ends."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.join_request import JoinRequest
from relay.gateways.signalr.codec import HubCodecs, error_text
from relay.gateways.signalr.places import NO_PROOF, Proof
from relay.gateways.signalr.protocols import HubProtocol, refused
from relay.model.codec import Frame
from relay.model.errors import CloseReason, RelayError

Codecs = Mapping[str, HubCodecs]
"""The codecs of each protocol, by its name."""


_ENTERED: Final = JoinRequest("")


class HubClient:
    """One client of the hub.

    It enters its room with the `request`, for which `proof` proves its place, once its handshake has come. Of both,
    only its `place` is kept then, None for a client that cannot come back. `greeted`: the handshake was answered.
    `refused`: it was refused. `left`: the client has said goodbye. `tracked`: it can come back, so that it counts how
    much it has got. `fault` is the client's fault, "" for none.
    """

    __slots__ = (
        "_timer",
        "codecs",
        "fault",
        "greeted",
        "left",
        "place",
        "proof",
        "protocol",
        "refused",
        "request",
        "tracked",
    )

    def __init__(self, codecs: Codecs, proof: Proof, request: JoinRequest) -> None:
        self.codecs = codecs
        self.proof = proof
        self.request = request
        self.place: HttpPlace | None = None
        self.protocol: HubProtocol | None = None
        self.greeted = self.refused = self.left = False
        self.tracked = True
        self.fault = ""
        self._timer: asyncio.TimerHandle | None = None

    def entered(self, request: JoinRequest) -> None:
        """Note that the client has entered its room with a request that has the key of its place."""
        self.request, self.proof = _ENTERED, NO_PROOF
        self.place = HttpPlace(request.room, request.peer, request.resume) if request.can_resume else None

    @property
    def is_text(self) -> bool:
        """Whether frames for the client are text."""
        return self.protocol is None or self.protocol.is_text

    def await_handshake(self, seconds: float, late: Callable[[], None]) -> None:
        """Call `late` unless the handshake comes in time."""
        self._timer = asyncio.get_running_loop().call_later(seconds, late)

    def stop_waiting(self) -> None:
        """Note that the handshake has come, or that the client has gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def refusal(self, error: RelayError) -> Frame:
        """Return the answer to a handshake that is refused."""
        self.refused = True
        return Frame(refused(error_text(error.code, error.text)), is_text=self.is_text)

    def last_words(self, reason: CloseReason) -> Frame | None:
        """Return the message ahead of the end of a connection that the relay closes; None if there is none."""
        if self.refused or self.left:
            return None
        error = self.fault or ("" if reason.reconnect else error_text(reason.name, reason.text))
        if self.greeted and self.protocol is not None:
            return Frame(self.protocol.close(error, reconnect=reason.reconnect), is_text=self.is_text)
        # Until the handshake is answered, nothing else may be sent.
        self.refused = True
        return Frame(refused(error or error_text(reason.name, reason.text)), is_text=self.is_text)
