"""The seal of a forwarded request: one header by which a worker proves that another worker of its fleet sent it.

The header `x-relay-forwarded` has these fields, separated by spaces: version, time (ms), sender, number, receiver,
scheme and address of the client (hex), SHA-256 of the body, MAC. The MAC (HMAC-SHA256 with a key derived from the fleet
key) covers them and the method, the target, and all other headers.
"""

import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from relay.fleet_key import FleetKey
from relay.model.workers import Owner

SEAL: Final = b"x-relay-forwarded"
"""The name of the header; its presence is also the mark of a request that was forwarded once."""

INTERNAL: Final = b"x-relay-"
"""The first part of the names of all headers that workers send to each other."""

MAX_SKEW: Final = 30_000
"""Milliseconds by which the time of a request may differ from this worker's."""

Flaw = Literal["unsigned", "malformed", "expired", "bad_mac", "misdirected", "replayed", "too_large", "bad_body"]
"""Why a request on the port for other workers is refused.

A `misdirected` one is valid, but for another worker: one that had this address and has ended.
"""

Headers = Iterable[tuple[bytes, bytes]]

_PURPOSE: Final = "forwarding"
_EMPTY: Final = hashlib.sha256().hexdigest().encode()
_FIELDS: Final = re.compile(
    rb"1 (\d{1,16}) ([0-9a-f]{16}) (\d{1,16}) ([0-9a-f-]{1,32}) "
    rb"(https?) ([0-9a-f]{0,510}) ([0-9a-f]{64}) ([0-9a-f]{64})"
)
_MAX_ADDRESS: Final = 63
"""Characters of an address: more than any has."""
_WINDOW: Final = 4096
"""Requests of one sender that may overtake each other on different connections."""

_MAX_SENDERS: Final = 4096


class BadSeal(Exception):
    """A request is not accepted as forwarded."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw: Flaw = flaw


class RequestHead(NamedTuple):
    """The parts of a request's head that a seal covers; `headers` may include internal ones, which it leaves out."""

    method: bytes
    target: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class ForwardedClient:
    """The client of a sealed request: its address and scheme, and the SHA-256 of the body that it sent."""

    address: str
    scheme: str
    body: bytes

    def check(self, body: bytes) -> None:
        """Raise `BadSeal` (`bad_body`) for a body that is not the one that the client sent."""
        if _hash(body) != self.body:
            raise BadSeal("bad_body")


class Sealer:
    """Seals requests for one worker; `now` returns the time (ms) of the fleet."""

    def __init__(self, key: FleetKey, receiver: Owner, now: Callable[[], int]) -> None:
        self._key = key
        self._receiver = str(receiver).encode()
        self._now = now
        self._sender = secrets.token_hex(8).encode()
        self._number = 0

    def seal(self, head: RequestHead, *, address: str, scheme: str, body: bytes) -> bytes:
        """Return the value of the header; each call gives another one, since a receiver takes it once."""
        self._number += 1
        client = address[:_MAX_ADDRESS].encode(errors="replace").hex()
        fields = b"1 %d %b %d %b %b %b %b" % (
            self._now(),
            self._sender,
            self._number,
            self._receiver,
            b"https" if scheme in {"https", "wss"} else b"http",
            client.encode(),
            _hash(body),
        )
        return fields + b" " + self._key.sign(_PURPOSE, _signed(fields, head)).hex().encode()


class SealVerifier:
    """Checks the seals of requests for this worker."""

    def __init__(self, key: FleetKey, me: Owner, now: Callable[[], int]) -> None:
        self._key = key
        self._me = str(me).encode()
        self._now = now
        self._replays = ReplayGuard()

    def verify(self, head: RequestHead, value: bytes) -> ForwardedClient:
        """Return the client that a seal describes; raise `BadSeal`. The caller checks the body when it has arrived."""
        found = _FIELDS.fullmatch(value)
        if found is None:
            raise BadSeal("malformed")
        time, sender, number, receiver, scheme, address, body, mac = found.groups()
        if abs(int(time) - self._now()) > MAX_SKEW:
            raise BadSeal("expired")
        fields = value[: found.start(8) - 1]
        if not self._key.verify(_PURPOSE, _signed(fields, head), bytes.fromhex(mac.decode())):
            raise BadSeal("bad_mac")
        if receiver != self._me:
            raise BadSeal("misdirected")
        # Only now: strangers must not fill the guard's memory.
        if not self._replays.is_new(sender, int(number)):
            raise BadSeal("replayed")
        try:
            client = bytes.fromhex(address.decode()).decode()
        except ValueError:
            raise BadSeal("malformed") from None
        return ForwardedClient(client, scheme.decode(), body)


class ReplayGuard:
    """Recognises requests that came before, by the numbers that each sender gives to them.

    For each sender it has the highest number, and a bit for each of the 4,096 numbers up to it. A number below these
    counts as old. Of more than 4,096 senders, those are forgotten that have been silent for longest.
    """

    def __init__(self) -> None:
        self._senders: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def is_new(self, sender: bytes, number: int) -> bool:
        """Return whether a number comes for the first time, and remember it."""
        highest, seen = self._senders.get(sender, (0, 0))
        if number > highest:
            # Bit 0 stands for the highest number.
            seen = (seen << min(number - highest, _WINDOW) | 1) & ((1 << _WINDOW) - 1)
            highest = number
        else:
            bit = 1 << min(highest - number, _WINDOW)
            if highest - number >= _WINDOW or seen & bit:
                return False
            seen |= bit
        self._senders[sender] = highest, seen
        self._senders.move_to_end(sender)
        if len(self._senders) > _MAX_SENDERS:
            self._senders.popitem(last=False)
        return True


def _hash(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() if body else _EMPTY


def _signed(fields: bytes, head: RequestHead) -> bytes:
    """Return the bytes that the MAC covers; each part has its length in front, so there is one way to split them."""
    parts = [fields, head.method, head.target]
    for name, value in head.headers:
        if not name.startswith(INTERNAL):
            parts += (name, value.strip(b" \t"))
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])
