"""The claim of a client to a membership."""

import time

from msgspec import Struct, field

from relay.identity.grants import Grants
from relay.model.rules import Terms
from relay.rooms.member import Member


class Claim(Struct, frozen=True):
    """The claim of a client that comes.

    `offered` is its resume key ("" for none), `arrived` the time at which its request arrived, on the worker's clock.
    `moved_from` is the membership that it leaves for this one; its resume key stays valid. `renamed` is the one in the
    same room that it leaves for this one, with another peer id. With `resume_only`, an
    existing membership is resumed and no new one made. `address` is the one under which the client is counted, "" for a
    client that is not counted. `grants` are those of the client's token; None if auth is off. `password` is the one
    that the client sends for the room. With `own_key`, the client has made the offered key itself and keeps it; so that
    it is offered does not say that the client was a member before. `opens`, `terms`, `next_key`, `held_only` and
    `found_by` are as in the command `Join`.
    """

    offered: str = ""
    moved_from: Member | None = None
    resume_only: bool = False
    arrived: float = field(default_factory=time.monotonic)
    address: str = ""
    grants: Grants | None = None
    password: str = ""
    own_key: bool = False
    opens: bool | None = None
    terms: Terms | None = None
    next_key: str = ""
    held_only: bool = False
    found_by: str = ""
    renamed: Member | None = None

    @property
    def comes_back(self) -> bool:
        """Whether the client has a key that the relay gave it."""
        return bool(self.offered) and not self.own_key

    def __repr__(self) -> str:
        # Without the key and the password, which must not get into a log.
        return f"Claim(arrived={self.arrived}, address={self.address!r})"
