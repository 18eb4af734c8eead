"""Ends the membership of a place whose connection may be on any worker."""

from typing import Final

from relay.gateways.base.http_place import HttpPlace
from relay.model.codec import NOTHING, Batch, Frame
from relay.model.errors import CloseReason, Refused, RelayError
from relay.model.events import Event
from relay.rooms.claim import Claim
from relay.rooms.connection import Transfer
from relay.rooms.member import Member
from relay.rooms.worker import Worker


class _NoEncoder:
    """The encoder of such a client: nothing is sent to it."""

    key: Final = "leaving"

    def encode(self, event: Event) -> Frame:
        """Write nothing."""
        return NOTHING


_ENCODER: Final = _NoEncoder()


class _NoConnection:
    """The connection of a client that comes only to leave."""

    reason: CloseReason | None = None
    lost = False

    def write(self, frame: Frame) -> None:
        """Drop a frame."""

    def write_batch(self, batch: Batch) -> None:
        """Drop frames."""

    def close(self, reason: CloseReason) -> None:
        """Note that the membership has ended in another way."""
        self.reason = reason

    def pause_reading(self, *, paused: bool) -> None:
        """Do nothing: nothing is read."""

    def transfer(self) -> Transfer | None:
        """Return None."""
        return None


async def leave(worker: Worker, place: HttpPlace, address: str, *, arrived: float) -> None:
    """Take the membership over, which ends the client's stream or poll, and end it; does nothing if there is none.

    `arrived` is when the goodbye arrived, on the worker's clock. Raises `Refused`: `peer_taken` if the key is not that
    of the member, `superseded` if the client has come back since.
    """
    member = Member(_NoConnection(), _ENCODER, place.room, place.peer)
    claim = Claim(offered=place.resume, resume_only=True, address=address, arrived=arrived, own_key=True)
    try:
        await worker.join(member, claim)
    except RelayError as error:
        if error.code != "not_joined":
            raise Refused(error.code, error.text, **error.detail) from None
    else:
        await worker.leave(member, hold=False)
