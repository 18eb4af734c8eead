"""One connection to the relay, from the handshake to its end."""

import asyncio
import json
import logging
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from relay.client.backoff import Backoff
from relay.client.events import Event
from relay.client.outbox import Outbox
from relay.client.position import Frame, RoomPosition
from relay.model.envelope import MessageId
from relay.model.errors import CLOSE_REASONS, GOING_AWAY, REPLACED

log = logging.getLogger("relay.client")

_SCHEMES: Final = {"http": "ws", "https": "wss"}
_ABNORMAL: Final = 1006
_LARGEST: Final = 2**24
_LONGEST: Final = 3600.0
_BUSY: Final = frozenset({429, 500, 502, 503, 504})
_reasons = {reason.code: reason for reason in CLOSE_REASONS}
_decoder = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Options:
    """How a client goes about it; times are in seconds.

    `outgoing` envelopes may wait for the relay, `window` of them on their way; with `wait_for_space` a `send` beyond
    that waits its turn, else it raises `QueueFull`.

    `incoming` events may wait for the user, then nothing more is read: the relay keeps what follows, closes the
    connection when that is too much (4000), and has the rest in its log. Acknowledgements come the same way, so they
    wait as well: who sends has to listen, too (or to ask for a channel on which nobody speaks).

    Who hears nothing for `ping_interval` asks, and after `ping_timeout` without an answer connects anew; so long, too,
    may a handshake take. `proxy` is as in `websockets`: an address, True for the system's. `draw` is where jitter
    comes from: a number from 0 to 1.
    """

    outgoing: int = 1000
    wait_for_space: bool = False
    window: int = 32
    incoming: int = 1000
    connect_timeout: float = 10
    ping_interval: float = 10
    ping_timeout: float = 5
    close_timeout: float = 2
    proxy: str | bool | None = None
    draw: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        if min(self.outgoing, self.window, self.incoming) < 1:
            raise ValueError("outgoing, window and incoming are at least 1")


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for when it comes."""

    room: str
    peer: str = ""
    presence: bool = False
    echo: bool = False
    channels: tuple[str, ...] = ()

    def url(self, base: str, place: RoomPosition) -> str:
        """The address to connect to; `base` is from `base_of`."""
        query: list[tuple[str, str]] = [("channel", channel) for channel in self.channels]
        if peer := place.peer or self.peer:
            query.append(("peer", peer))
        query += [(name, "1") for name in ("presence", "echo") if getattr(self, name)]
        if place.known:
            query.append(("since", str(place.id)))
        return f"{base}/rooms/{quote(self.room)}" + (f"?{urlencode(query)}" if query else "")


def base_of(url: str) -> str:
    """Where a relay is, without the slash at the end; raises ValueError for what is no such address."""
    scheme, _, rest = url.rstrip("/").partition("://")
    base = f"{_SCHEMES.get(scheme, scheme)}://{rest}"
    try:
        parse_uri(base)
    except (InvalidURI, ValueError):
        raise ValueError(f"{url!r} is not an address that begins with ws:// or wss://") from None
    if "?" in url:
        raise ValueError(f"{url!r} has a query, which the relay would not see")
    return base


def _shown(base: str) -> str:
    """An address as anybody may see it, without a password."""
    return re.sub("//[^/@]*@", "//", base)


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended, or why there was none: whether to come back, and how soon."""

    code: str
    text: str
    final: bool = False
    elsewhere: bool = False
    at_least: float = 0.0


class RelayConnection:
    """Carries what is in the outbox to the relay, and what the relay says to `deliver`."""

    def __init__(
        self,
        request: Request,
        options: Options,
        place: RoomPosition,
        outbox: Outbox,
        *,
        deliver: Callable[[Event], Awaitable[None]],
        welcomed: Callable[[], None],
    ) -> None:
        self._request = request
        self._options = options
        self._place = place
        self._outbox = outbox
        self._deliver = deliver
        self._welcomed = welcomed
        self._socket: ClientConnection | None = None
        self._work = asyncio.Event()
        self._inside = asyncio.Event()
        self._again = Backoff(base=0.05, cap=1.0, draw=options.draw)
        self._pause = 0.0
        self._heard = 0.0
        self._delivering = False
        self._error = End("", "")

    async def run(self, base: str) -> End:
        """Connect, and stay until the connection ends."""
        try:
            self._socket = await self._open(base)
        except InvalidStatus as refused:
            return _refusal(refused)
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
            self._place.unanswered()
            return End("unreachable", f"{_shown(base)}: {error or type(error).__name__}")
        socket = self._socket
        tasks = [asyncio.create_task(_or_end(work, socket)) for work in (self._write, self._watch)]
        try:
            await self._read(socket)
        except ConnectionClosed as closed:
            return self._ended(closed)
        except (msgspec.MsgspecError, KeyError, TypeError, ValueError) as error:
            return End("protocol_error", f"{_shown(base)} does not speak the relay's protocol: {error!r}", final=True)
        finally:
            for task in tasks:
                task.cancel()
            socket.transport.abort()
            await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """There is something in the outbox."""
        self._work.set()

    def drop(self) -> None:
        """Lose the connection without a word, as a change of network would."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def close(self) -> None:
        """Say goodbye."""
        if self._socket is not None:
            await self._socket.close()

    async def _open(self, base: str) -> ClientConnection:
        options = self._options
        return await connect(
            self._request.url(base, self._place),
            subprotocols=[Subprotocol("relay.v1"), Subprotocol(f"resume.{self._place.resume}")],
            compression=None,
            proxy=True if options.proxy is True else options.proxy or None,
            open_timeout=options.ping_timeout,
            close_timeout=options.close_timeout,
            ping_interval=None,
            max_size=_LARGEST,
        )

    # What comes.

    async def _read(self, socket: ClientConnection) -> NoReturn:
        self._heard = asyncio.get_running_loop().time()
        while True:
            text = await socket.recv(decode=False)
            self._heard = asyncio.get_running_loop().time()
            for event in self._understand(_decode(text)):
                self._delivering = True
                await self._deliver(event)
            if self._delivering:
                # The relay was not silent while the user did not listen.
                self._delivering = False
                self._heard = asyncio.get_running_loop().time()

    def _understand(self, frame: Frame) -> list[Event]:
        match frame.get("type"):
            case "welcome":
                events = self._place.welcome(frame)
                self._outbox.rewind()
                self._welcomed()
                self._inside.set()
                return events
            case "ack":
                self._outbox.acknowledged(str(frame["key"]), MessageId.parse(frame["id"]))
                self._again.reset()
                self._work.set()
            case "error":
                self._refused(frame)
        return self._place.hear(frame)

    def _refused(self, frame: Frame) -> None:
        key, code, text = (str(frame.get(name, "")) for name in ("key", "code", "text"))
        if frame.get("about") == "join":
            self._error = End(code, text)
        elif key:
            if self._outbox.refused(key, code, text):
                self._pause = asyncio.get_running_loop().time() + self._again.next(at_least=0.05)
            self._work.set()

    # What goes.

    async def _write(self, socket: ClientConnection) -> None:
        await self._inside.wait()
        while True:
            self._work.clear()
            await self._patience()
            for frame in self._outbox.to_send():
                await socket.send(frame, text=True)
                await self._patience()
            await self._work.wait()

    async def _patience(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._pause - loop.time()) > 0:  # noqa: ASYNC110  # the end of the wait may move
            await asyncio.sleep(left)

    async def _watch(self, socket: ClientConnection) -> None:
        """A connection may be dead without a sign: ask, when nothing was heard for a while."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(0.0, self._heard + self._options.ping_interval - loop.time()))
            if self._delivering:
                await asyncio.sleep(self._options.ping_interval)
            if self._delivering or loop.time() - self._heard < self._options.ping_interval:
                continue
            asked = loop.time()
            await socket.send('{"type":"ping"}')
            await asyncio.sleep(self._options.ping_timeout)
            if self._heard < asked and not self._delivering:
                log.info("nothing heard for %.1f s; connecting anew", loop.time() - self._heard)
                socket.transport.abort()

    def _ended(self, closed: ConnectionClosed) -> End:
        code = closed.rcvd.code if closed.rcvd else _ABNORMAL
        reason = _reasons.get(code)
        if not self._inside.is_set() and closed.rcvd is None:
            self._place.unanswered()
        if reason is REPLACED and self._place.take_back():
            return End(reason.name, "a late attempt of this client's own took its place", elsewhere=True)
        if reason is None or self._error.code in {"unavailable", "outcome_unknown"}:
            return End(self._error.code or "lost", self._error.text or "the connection was lost")
        return End(
            self._error.code or reason.name,
            self._error.text or reason.text,
            final=not reason.reconnect,
            elsewhere=reason is GOING_AWAY,
        )


async def _or_end(work: Callable[[ClientConnection], Awaitable[None]], socket: ClientConnection) -> None:
    """Without this work the connection is of no use."""
    try:
        await work(socket)
    except ConnectionClosed:
        pass
    except Exception:
        log.exception("this client failed; it connects anew")
        socket.transport.abort()


def _refusal(refused: InvalidStatus) -> End:
    """An HTTP answer in place of a connection."""
    response = refused.response
    code, text = f"http_{response.status_code}", f"the relay answered with HTTP {response.status_code}"
    try:
        error = _decoder.decode(response.body or b"")["error"]
        code, text = str(error["code"]), str(error["text"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        log.debug("not an answer of the relay's own: %r", (response.body or b"")[:200])
    wait = response.headers.get("Retry-After", "")
    return End(
        code,
        text,
        final=response.status_code not in _BUSY,
        at_least=min(float(wait), _LONGEST) if wait.isascii() and wait.isdigit() else 0.0,
    )


def _decode(text: str | bytes) -> Frame:
    """Read a frame; members may say numbers that are JSON and beyond what the fast way takes, which are infinite then.

    Raises `msgspec.MsgspecError`.
    """
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError:
        try:
            frame = json.loads(text, parse_int=_number)
        except (ValueError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from None
        if not isinstance(frame, dict):
            raise
        return frame


def _number(digits: str) -> float:
    try:
        return int(digits)
    except ValueError:  # more digits than Python reads
        return float(digits)
