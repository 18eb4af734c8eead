"""A brake on clients that guess tokens: counts the wrong tokens of each address, and logs few of them."""

import logging
from collections import OrderedDict
from typing import Final

from relay.limits import Clock, TokenBucket
from relay.logs import LogIntervals, escape

log = logging.getLogger("relay.identity")

_LOG_INTERVAL: Final = 60.0
"""Seconds between two log lines about one address."""

_LINES_AT_ONCE: Final = 10
_LINE_RATE: Final = 1 / 6
"""Lines about all addresses together, at once and a second: many addresses may guess."""

_MOST_ADDRESSES: Final = 2048
_MOST_REMEMBERED: Final = 32
"""Addresses that are known, and wrong tokens of each that are remembered; those that came last."""

_DIGEST: Final = 16
"""Bytes of the digest of a wrong token that are kept."""


class _Guesser:
    """An address that has sent wrong tokens: how many more it may send, and digests of those that it sent."""

    __slots__ = ("bucket", "seen")

    def __init__(self, attempts: int, clock: Clock) -> None:
        self.bucket = TokenBucket(attempts / 60, attempts, clock)
        self.seen: OrderedDict[bytes, None] = OrderedDict()


class GuessBrake:
    """Counts wrong tokens by address; `attempts` different ones a minute are allowed.

    A wrong token that an address sends again counts once: a program with an old token guesses nothing. Each address has
    a memory of its own, so that one that guesses makes no other token forgotten. `advice` ends the log line.
    Addresses are texts, as `counted_address` returns them.
    """

    def __init__(self, attempts: int, clock: Clock, *, tokens: str, advice: str) -> None:
        self._attempts = attempts
        self._clock = clock
        self._tokens = tokens
        self._advice = advice
        # The address that sent a wrong token last comes last.
        self._guessers: OrderedDict[str, _Guesser] = OrderedDict()
        self._intervals = LogIntervals(_LOG_INTERVAL, clock)
        self._lines = TokenBucket(_LINE_RATE, _LINES_AT_ONCE, clock)
        self._unlogged = 0

    def holds(self, address: str) -> bool:
        """Return whether an address has sent as many different wrong tokens as it may for now."""
        guesser = self._guessers.get(address)
        return guesser is not None and not guesser.bucket.take(0)

    def note(self, address: str, digest: bytes) -> None:
        """Count a wrong token, unless the address has sent it before."""
        digest = digest[:_DIGEST]
        guesser = self._guessers.get(address)
        if guesser is None:
            if len(self._guessers) >= _MOST_ADDRESSES:
                self._guessers.popitem(last=False)
            guesser = self._guessers[address] = _Guesser(self._attempts, self._clock)
        self._guessers.move_to_end(address)
        if digest in guesser.seen:
            guesser.seen.move_to_end(digest)
        else:
            if len(guesser.seen) >= _MOST_REMEMBERED:
                guesser.seen.popitem(last=False)
            guesser.seen[digest] = None
            guesser.bucket.take()
        self._log(address)

    def _log(self, address: str) -> None:
        """Log that an address has sent a wrong token, unless there was a line about it in the last minute."""
        unlogged = self._intervals.due(address)
        if unlogged is None or not self._lines.take():
            self._unlogged += 1
            return
        log.warning(
            "a request had %s (from %s; %d more requests of this address since its last line, and %d such requests of "
            "all addresses without a line); %s", self._tokens, escape(address) or "an unknown address", unlogged,
            self._unlogged, self._advice,
        )  # fmt: skip
        self._unlogged = 0
