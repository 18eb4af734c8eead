"""Wrong passwords of SIP users, counted for each address and user."""

from relay.config import Settings
from relay.identity.brake import GuessBrake
from relay.limits import Clock
from relay.model.errors import Refused


class WrongPasswords:
    """Refuses an address that has sent too many wrong passwords for one user (setting `token-attempts`)."""

    __slots__ = ("_brake",)

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._brake = GuessBrake(
            settings.token_attempts,
            clock,
            tokens="a wrong password of a SIP user",
            advice="somebody guesses passwords, or a client has one for another room",
        )

    def check(self, address: str, room: str, peer: str) -> None:
        """Raise `Refused` (`too_many_attempts`) for an address that has guessed too often."""
        if self._brake.holds(_place(address, room, peer)):
            raise Refused("too_many_attempts", "too many wrong passwords for this user; wait a minute")

    def note(self, address: str, room: str, peer: str, given: str) -> None:
        """Count a wrong answer to a challenge."""
        self._brake.note(_place(address, room, peer), given.encode("utf-8", "replace"))


def _place(address: str, room: str, peer: str) -> str:
    # Names are escaped: they have no space.
    return f"{address} {room} {peer}"
