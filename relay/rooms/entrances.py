"""Entrances: how an attempt to join gets past the rules of its room."""

from msgspec import structs

from relay.backend.presence import JoinAttempt, JoinResult
from relay.backend.rules import PasswordNeeded, RulesLost
from relay.identity.grants import Grants, Right
from relay.model.errors import ClientGone, Refused, RelayError, Unavailable
from relay.model.rules import RuleChange, Terms
from relay.rooms.attempts import Attempts
from relay.rooms.claim import Claim
from relay.rooms.connection import Connection
from relay.rooms.passwords import Guess, Passwords
from relay.rooms.rule_copies import RuleCopies
from relay.rooms.rules import packed, stored_change, subject_mark

_ROUNDS = 4
"""Calls for one attempt: the backend asks for the rules, then for the password, which may change meanwhile."""


class Entrances:
    """Joins that meet the rules of a room: with the password, the token's subject, and the rules that the token gives.

    The backend checks the rules, in the step that makes the client a member. It asks for the password of a room that
    has one, and for the rules if it has lost them.
    """

    def __init__(self, attempts: Attempts, copies: RuleCopies, passwords: Passwords, *, closed: bool) -> None:
        self.make = attempts.make
        self._attempts = attempts
        self._copies = copies
        self._passwords = passwords
        self._closed = closed

    def may_open(self, room: str, grants: Grants | None) -> bool:
        """Whether a client with these grants may open a room that does not exist.

        If rooms are closed, it may if its token has rules for the room, or grants changing them.
        """
        if not self._closed:
            return True
        return grants is not None and (grants.allow(Right.LOCK, room) or grants.rules(room) is not None)

    async def join(self, attempt: JoinAttempt, claim: Claim, connection: Connection) -> JoinResult:
        """Join as `Attempts.join` does; raises its errors, and `Refused` if the rules do not allow the join."""
        guess: Guess | None = None
        attempt = await self._equipped(attempt, claim)
        try:
            for _ in range(_ROUNDS):
                try:
                    result = await self._attempts.join(attempt, connection, held_only=claim.held_only)
                except RulesLost:
                    await self._copies.restore(attempt.room)
                    attempt = structs.replace(attempt, known=self._copies.version(attempt.room))
                except PasswordNeeded as needed:
                    guess = await self._guess(claim, needed, guess)
                    attempt = structs.replace(attempt, password=guess.key)
                except ClientGone:
                    # It counts: a client that goes while its password is checked has cost as much as one that stays.
                    raise
                except RelayError:
                    if guess is not None:
                        guess.accept()
                    raise
                else:
                    if guess is not None:
                        guess.accept()
                    self._copies.learn(attempt.room, result.rules)
                    return result
        finally:
            if guess is not None:
                guess.end()
        raise Unavailable("Redis has lost the rules of this room, and does not take them back")

    async def _guess(self, claim: Claim, needed: PasswordNeeded, before: Guess | None) -> Guess:
        """Return the client's guess for a salt, of which the one `before` was wrong.

        Raises `Refused`: `password_required`, `bad_password`, or as `Passwords.attempt` does.
        """
        if before is not None:
            before.refuse()
            before.end()
        if not claim.password or (before is not None and before.salt == needed.salt):
            raise Refused("bad_password" if claim.password else "password_required", room=needed.room) from None
        return await self._passwords.attempt(needed.room, needed.salt, claim.password, claim.address)

    async def _equipped(self, attempt: JoinAttempt, claim: Claim) -> JoinAttempt:
        """Return the attempt with the facts that are known before the backend is asked."""
        room, grants = attempt.room, claim.grants
        known = self._copies.version(room)
        if known:
            attempt = structs.replace(attempt, known=known)
        if claim.opens is not None:
            attempt = structs.replace(attempt, opens=claim.opens)
        if grants is not None:
            # A room that has rules here exists: the client does not open it.
            change = None if known else grants.rules(room)
            opening = await stored_change(room, change, self._passwords) if change is not None else None
            attempt = structs.replace(
                attempt, subject=subject_mark(grants.subject), opening="" if opening is None else opening.set
            )
        return attempt if claim.terms is None else await self._with_terms(attempt, claim.terms)

    async def _with_terms(self, attempt: JoinAttempt, terms: Terms) -> JoinAttempt:
        """Return the attempt with the rules that the client gives the room; rules of its token come before its own."""
        attempt = structs.replace(attempt, attributes=packed(terms.attributes))
        if attempt.opening:
            return attempt
        change = RuleChange(password=terms.password or None, max_members=terms.max_members)
        opening = await stored_change(attempt.room, change, self._passwords)
        return structs.replace(attempt, opening=f"g=1 {opening.set}".strip())
