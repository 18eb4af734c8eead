"""The inbox of a session: frames that the client has sent, and that the session cannot serve yet."""

from collections import deque

from relay.gateways.base.join_request import PauseReading
from relay.model.codec import Frame


class Inbox:
    """The frames of one client that wait, in the order in which they came.

    Frames wait while an `exclusive` command runs, while `max_in_flight` publishes have no outcome yet, and behind
    frames that wait already. Reading from the connection pauses as soon as one waits, so the operating system's buffers
    fill and TCP slows the client down. That bounds the queue: only frames that were read before the pause go into it.

    The session sets `exclusive`, counts `in_flight` and looks at `frames`, which only this class changes. These are
    plain attributes, and not behind methods, because they are needed for every message.
    """

    # A worker has one inbox for each idle connection: no `__dict__`, and no deque until a frame waits.
    __slots__ = ("_max_in_flight", "_pause_reading", "_stopped", "exclusive", "frames", "in_flight")

    def __init__(self, pause_reading: PauseReading, max_in_flight: int) -> None:
        self._pause_reading = pause_reading
        self._max_in_flight = max_in_flight
        self.frames: deque[Frame] | None = None
        self._stopped = False
        self.exclusive = False
        self.in_flight = 0

    def must_wait(self) -> bool:
        """Return whether a frame that arrives now has to wait."""
        # A method and not a property: CPython 3.11 calls methods faster, and this runs for every frame.
        return self.exclusive or self.in_flight >= self._max_in_flight or bool(self.frames)

    def is_idle(self) -> bool:
        """Return whether no frame waits and no command is being executed."""
        return not (self.exclusive or self.in_flight or self.frames)

    def put(self, frame: Frame) -> None:
        """Queue a frame, and pause reading."""
        if self.frames is None:
            self.frames = deque()
        self.frames.append(frame)
        self._pause_reading(paused=True)

    def take(self) -> Frame | None:
        """Return the next frame if it can be served now, else None."""
        if not self.frames or self.exclusive or self.in_flight >= self._max_in_flight:
            return None
        return self.frames.popleft()

    def resume_reading(self) -> None:
        """Read on from the connection if reading was paused for frames that have all been served since."""
        if self.frames is not None and not self.frames:
            self.frames = None
            self._pause_reading(paused=self._stopped)

    def stop_reading(self) -> None:
        """Pause reading for good. Frames that were read before are still queued and served."""
        self._stopped = True
        self._pause_reading(paused=True)

    def clear(self) -> None:
        """Drop the frames that wait."""
        self.frames = None
