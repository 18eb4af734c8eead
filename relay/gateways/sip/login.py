"""Logs SIP users in by their passwords, and asks for these: the state of the gateway for one worker."""

from relay.gateways.sip.digest import Challenges, LoginRequest
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import Parameters, Uri
from relay.gateways.sip.guesses import WrongPasswords
from relay.identity.grants import Grants, RoomGrant
from relay.model.errors import Refused
from relay.model.names import unescape
from relay.rooms.worker import Worker


class Logins:
    """Checks answers to challenges; each address may guess so many passwords of one user (`token-attempts`)."""

    def __init__(self, worker: Worker) -> None:
        settings = worker.settings
        self.challenges = Challenges(worker.fleet_key, settings.auth_secret.split(), settings.auth_leeway)
        self._wrong = WrongPasswords(settings, worker.clock)

    def grants(self, answer: Parameters, uri: Uri, room: str, peer: str, address: str) -> Grants:
        """Return the rights of a user that has proved its password: those of members in this one room.

        `uri` is that of the REGISTER with the answer. Raises `SipRefused` (`bad_challenge`), and `Refused`
        (`token_expired`, `wrong_peer`, `too_many_attempts`).
        """
        self._wrong.check(address, room, peer)
        try:
            login = self.challenges.check(answer, LoginRequest("REGISTER", uri, room, address))
        except SipRefused as error:
            if "stale" not in error.detail:
                self._wrong.note(address, room, peer, answer.get("response", ""))
            raise
        if login.user != unescape(peer):
            raise Refused("wrong_peer", "the password is of another user")
        return Grants(subject=peer, peers=peer, rooms=(RoomGrant(room),), expires=float(login.expires))
