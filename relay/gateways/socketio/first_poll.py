"""The wait for a session's first poll: a client that never polls gets no answer, and becomes no member of a room."""

import asyncio
from collections.abc import Callable
from typing import Final

from relay.gateways.socketio.packets import BadPacket, EnginePacket

MAX_EARLY: Final = 64
"""Packets that a client may post before its first poll; clients send one or two."""


class FirstPoll:
    """Keeps a client's packets, and calls, until it polls; `give_up` is called if it does not within `seconds`.

    All packets together may have as many bytes as one payload, `max_size`.
    """

    __slots__ = ("_calls", "_deadline", "_left", "_packets")

    def __init__(self, seconds: float, give_up: Callable[[], None], *, max_size: int) -> None:
        self._deadline = asyncio.get_running_loop().call_later(seconds, give_up)
        self._calls: list[Callable[[], None]] = []
        self._packets: list[EnginePacket] = []
        self._left = max_size

    def keep(self, packet: EnginePacket) -> None:
        """Keep a packet; raises `BadPacket` if there are too many."""
        self._left -= len(packet.data)
        if len(self._packets) >= MAX_EARLY or self._left < 0:
            raise BadPacket(f"more than {MAX_EARLY} packets, or too many bytes, before the first poll")
        self._packets.append(packet)

    def call(self, callback: Callable[[], None]) -> None:
        """Call back when the client polls, ahead of its packets."""
        self._calls.append(callback)

    def come(self, handle: Callable[[EnginePacket], None]) -> None:
        """Note that the client polls: call back, and hand its packets over; raises their `BadPacket`."""
        calls, packets = self._calls, self._packets
        self.cancel()
        for call in calls:
            call()
        for packet in packets:
            handle(packet)

    def cancel(self) -> None:
        """Forget everything: the session has ended."""
        self._deadline.cancel()
        self._calls, self._packets = [], []
