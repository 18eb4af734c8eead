"""Signals of one client to peers that are not there: they wait for a few seconds, within bounds."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from msgspec import structs

from relay.gateways.peerjs.codec import LEAVE, Signal
from relay.gateways.peerjs.errors import PeerJSRefused
from relay.gateways.peerjs.record import RecordedSignals
from relay.model.errors import Refused, RelayError
from relay.model.publication import Receipt
from relay.rooms.buffers import Buffer

EXPIRE_AFTER: Final = 5.0
"""Seconds for which signals wait for a peer, as long as those of PeerServer."""

MOST_WAITING: Final = 128
"""Signals of one client that wait, to all peers together: those of some five calls."""

MOST_BYTES: Final = 262_144
"""Bytes of their envelopes; they also count for the client's address (`address-buffer`) and the worker."""

_RETRY: Final = 0.5
"""Seconds after which a signal is sent again that Redis did not take."""

TRANSIENT: Final = frozenset({"no_such_peer", "unavailable"})
"""Codes of signals that were not sent, and may be sent later."""

Sent = Callable[[Receipt | RelayError], None]


class SignalSender(Protocol):
    """The session of the client."""

    def send(self, signal: Signal, done: Sent | None = None) -> None:
        """Publish a signal; `done` is called with the outcome, or the session takes it."""
        ...

    def expire(self, peer: str) -> None:
        """Tell the client that a peer did not come."""
        ...

    def await_arrival(self, peer: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when a peer joins the client's room, until the returned function is called."""
        ...


class _Queue:
    """The signals to one absent peer, in order. `ends`: the next failure ends the wait."""

    __slots__ = ("again", "ends", "probing", "signals", "stop", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.signals: deque[Signal] = deque()
        self.timer = timer
        self.stop: Callable[[], None] = lambda: None
        self.probing = self.again = self.ends = False


class WaitingSignals:
    """Keeps signals until their receiver joins, on any worker, or the wait is over.

    The first signal to a peer is a probe. It is sent once more as soon as its wait has begun: the peer may have joined
    before this worker listened for it. After that, a join of the peer sends it. At the end of the wait, it is sent a
    last time. So an absent peer costs Redis three calls, however many signals wait for it.

    All are in the `record` as well. So the session to which the client comes back, on any worker, goes on from there.
    """

    __slots__ = ("_buffer", "_bytes", "_count", "_queues", "_record", "_sender")

    def __init__(
        self, sender: SignalSender, record: RecordedSignals, buffer: Callable[[Callable[[], None]], Buffer]
    ) -> None:
        self._sender = sender
        self._record = record
        self._queues: dict[str, _Queue] = {}
        self._buffer = buffer(self._give_up)
        self._count = self._bytes = 0

    def __contains__(self, peer: str) -> bool:
        """Whether signals to a peer wait: later ones wait behind them."""
        return peer in self._queues

    def add(self, signal: Signal) -> None:
        """Keep a signal whose peer is not there. Raises `Refused` (`too_many_waiting`)."""
        if signal.kind == LEAVE or self._record.has_expired(signal):
            return
        signal = structs.replace(signal, key=signal.key or self._record.new_key())
        self._append(signal, EXPIRE_AFTER)
        queue = self._queues.get(signal.dst)
        # In memory, the last step may have sent the signal.
        if queue is not None:
            self._record.keep(signal, queue.timer.when() - asyncio.get_running_loop().time())

    def resume(self, signals: Iterable[tuple[Signal, float]]) -> None:
        """Go on with signals of an earlier session, each with the seconds for which it still waits."""
        for signal, seconds in signals:
            with suppress(Refused):
                self._append(signal, seconds)

    def _append(self, signal: Signal, seconds: float) -> None:
        if self._count >= MOST_WAITING or self._bytes + len(signal.envelope) > MOST_BYTES:
            raise PeerJSRefused("too_many_waiting")
        self._count += 1
        self._bytes += len(signal.envelope)
        self._buffer.grow(len(signal.envelope))
        peer = signal.dst
        queue = self._queues.get(peer)
        if queue is not None:
            queue.signals.append(signal)
            return
        loop = asyncio.get_running_loop()
        queue = self._queues[peer] = _Queue(loop.call_later(max(0.0, seconds), self._last, peer))
        queue.signals.append(signal)
        queue.stop = self._sender.await_arrival(peer, partial(self._arrived, peer))
        self._probe(peer)

    def end(self, *, goodbye: bool) -> None:
        """Drop everything: the client has gone. Without a goodbye, it may come back, and go on with the record."""
        for peer in [*self._queues]:
            self._end(peer)
        if goodbye:
            self._record.drop_all()

    def _arrived(self, peer: str) -> None:
        # In the next turn: this runs while the hub delivers.
        asyncio.get_running_loop().call_soon(self._probe, peer)

    def _probe(self, peer: str) -> None:
        queue = self._queues.get(peer)
        if queue is None:
            return
        if queue.probing:
            queue.again = True
            return
        queue.probing = True
        self._sender.send(queue.signals[0], lambda outcome: self._probed(peer, queue, outcome))

    def _probed(self, peer: str, queue: _Queue, outcome: Receipt | RelayError) -> None:
        queue.probing = False
        if self._queues.get(peer) is not queue:
            return
        if isinstance(outcome, Receipt):
            signals = self._end(peer)
            # Those behind it, in order; each that fails waits anew.
            for signal in [*signals][1:]:
                self._sender.send(signal)
            self._record.drop(signals)
        elif queue.again:
            queue.again = False
            self._probe(peer)
        elif queue.ends or outcome.code not in TRANSIENT:
            self._expire(peer)
        elif outcome.code != "no_such_peer":
            asyncio.get_running_loop().call_later(_RETRY, self._probe, peer)

    def _last(self, peer: str) -> None:
        queue = self._queues.get(peer)
        if queue is not None:
            queue.ends = True
            self._probe(peer)

    def _expire(self, peer: str) -> None:
        self._record.expire(self._end(peer))
        self._sender.expire(peer)

    def _end(self, peer: str) -> deque[Signal]:
        queue = self._queues.pop(peer)
        queue.timer.cancel()
        queue.stop()
        self._count -= len(queue.signals)
        self._bytes -= sum(len(signal.envelope) for signal in queue.signals)
        if not self._queues:
            self._buffer.clear()
        return queue.signals

    def _give_up(self) -> None:
        """Expire all: the client's address, or the worker, has no memory left for them."""
        for peer in [*self._queues]:
            self._expire(peer)
