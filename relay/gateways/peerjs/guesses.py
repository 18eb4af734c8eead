"""Wrong tokens of PeerJS clients, counted for each address and id."""

from relay.config import Settings
from relay.identity.brake import GuessBrake
from relay.limits import Clock
from relay.model.errors import Refused


class WrongTokens:
    """Refuses a client whose address has sent too many wrong tokens for one id (setting `token-attempts`).

    A page that is loaded anew while its place is held has another token, and is counted as well.
    """

    __slots__ = ("_brake",)

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._brake = GuessBrake(
            settings.token_attempts,
            clock,
            tokens="the token of another client for a PeerJS id that is in use",
            advice="somebody guesses tokens, or two pages have the same id",
        )

    def check(self, address: str, room: str, peer: str) -> None:
        """Raise `Refused` (`too_many_attempts`) for an address that has guessed too often."""
        if self._brake.holds(_place(address, room, peer)):
            raise Refused("too_many_attempts", "too many wrong tokens for this id; wait a minute")

    def note(self, address: str, room: str, peer: str, digest: str) -> None:
        """Count a wrong token."""
        self._brake.note(_place(address, room, peer), digest.encode("ascii"))


def _place(address: str, room: str, peer: str) -> str:
    # Names are escaped: they have no space.
    return f"{address} {room} {peer}"
