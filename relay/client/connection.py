"""One connection to the relay, from the handshake to its end."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from relay.client.backoff import Backoff
from relay.client.errors import NotAcknowledged, Rejected
from relay.client.events import Event, NoToken, Unreadable
from relay.client.frames import FrameFields, UnreadableFrame, decode_frame
from relay.client.options import Options, RoomRequest
from relay.client.outbox import Outbox
from relay.client.own_info import OwnInfo
from relay.client.position import RoomPosition
from relay.client.requests import Requests
from relay.client.token import TokenFailed, TokenSource
from relay.logs import without_password
from relay.model.envelope import MessageId
from relay.model.errors import CLOSE_REASONS, GOING_AWAY, KICKED, REPLACED, ROOM_CLOSED, TOKEN_EXPIRED, CloseReason

log = logging.getLogger("relay.client")

_MAX_FRAME: Final = 2**24
_MAX_RETRY_AFTER: Final = 3600.0
_RETRYABLE_STATUSES: Final = frozenset({429, 500, 502, 503, 504})
_REASONS: Final = {reason.code: reason for reason in CLOSE_REASONS}


@dataclass(frozen=True, slots=True)
class ConnectionEnd:
    """The reason why a connection ended or could not be made, and the next step.

    `final`: the client does not reconnect. `elsewhere`: it reconnects soon, as another worker answers. `retry_after`:
    seconds that the relay asked to wait. `held`: the peer id is that of a held member.
    """

    code: str
    text: str
    final: bool = False
    elsewhere: bool = False
    retry_after: float = 0.0
    held: bool = False


class RelayConnection:
    """Sends the envelopes in the outbox and the client's own info, and passes the relay's events to `deliver`.

    `deliver` may wait: nothing is read meanwhile. `on_welcome` is called when the client is in the room.
    """

    def __init__(
        self,
        request: RoomRequest,
        options: Options,
        position: RoomPosition,
        outbox: Outbox,
        info: OwnInfo,
        *,
        deliver: Callable[[Event], Awaitable[None]],
        on_welcome: Callable[[], None],
    ) -> None:
        self._request = request
        self._options = options
        self._position = position
        self._outbox = outbox
        self._info = info
        self._deliver = deliver
        self._on_welcome = on_welcome
        self._socket: ClientConnection | None = None
        self._outbox_changed = asyncio.Event()
        self._info_changed = asyncio.Event()
        self._info_delays = Backoff(base=0.25, cap=2.0, draw=options.draw)
        self._info_delay = 0.0
        self._joined = asyncio.Event()
        self._retry_delays = Backoff(base=0.05, cap=1.0, draw=options.draw)
        self._paused_until = 0.0
        self._last_received = 0.0
        self._delivering = False
        self._unreadable = 0
        self._join_error = ConnectionEnd("", "")
        self._requests = Requests()
        self._token = TokenSource(request.token)
        self._token_expires = asyncio.Event()
        self._put_out: ConnectionEnd | None = None

    async def run(self, base: str) -> ConnectionEnd:
        """Connect to the relay at `base`, and serve the connection until it ends."""
        try:
            self._socket = await self._open(base, await self._token.ask(self._options.connect_timeout))
        except TokenFailed as failed:
            return ConnectionEnd(failed.code, failed.text)
        except InvalidStatus as refused:
            return _end_of_refusal(refused)
        except (OSError, TimeoutError, InvalidHandshake, ConnectionClosed) as error:
            self._position.note_unanswered()
            return ConnectionEnd("unreachable", f"{without_password(base)}: {error or type(error).__name__}")
        socket = self._socket
        tasks = [
            asyncio.create_task(_run_or_abort(work, socket))
            for work in (self._write, self._write_info, self._watch, self._renew_token)
        ]
        try:
            await self._read(socket)
        except ConnectionClosed as closed:
            return self._end_of(closed)
        except UnreadableFrame as error:
            text = f"{without_password(base)} does not speak the relay's protocol: {error}"
            # A client that was in the room before has the right URL; the answer from there may be a proxy's mistake.
            return ConnectionEnd("protocol_error", text, final=not self._position.known)
        finally:
            self._requests.end()
            for task in tasks:
                task.cancel()
            socket.transport.abort()
            await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Send the envelopes that were added to the outbox, and the info if it has changed."""
        self._outbox_changed.set()
        self._info_changed.set()

    async def request(self, command: Mapping[str, Any]) -> FrameFields:
        """Send a command, and return the relay's answer; raise `Rejected` or `NotAcknowledged`."""
        if self._socket is None or not self._joined.is_set():
            raise NotAcknowledged(possibly_sent=False)
        frame, answer = self._requests.begin(command)
        try:
            await self._socket.send(frame, text=True)
        except ConnectionClosed:
            raise NotAcknowledged(possibly_sent=True) from None
        return await answer

    def drop(self) -> None:
        """Abort the connection without a close frame, as a change of network would."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def close(self) -> None:
        """Close the connection with a close frame, so that the relay knows that the client leaves."""
        if self._socket is not None:
            await self._socket.close()

    async def _open(self, base: str, token: str) -> ClientConnection:
        options = self._options
        subprotocols, headers = self._request.subprotocols(self._position), {}
        if token and parse_uri(base).user_info:
            # The header has the name and password of the URL, for a proxy.
            subprotocols.append(Subprotocol(f"token.{token}"))
        elif token:
            headers["Authorization"] = f"Bearer {token}"
        return await connect(
            self._request.url(base, self._position, self._info.offer()),
            subprotocols=subprotocols,
            additional_headers=headers,
            compression=None,
            proxy=True if options.proxy is True else options.proxy or None,
            open_timeout=options.ping_timeout,
            close_timeout=options.close_timeout,
            ping_interval=None,
            max_size=_MAX_FRAME,
        )

    # Receiving.

    async def _read(self, socket: ClientConnection) -> NoReturn:
        loop = asyncio.get_running_loop()
        self._last_received = loop.time()
        while True:
            data = await socket.recv(decode=False)
            self._last_received = loop.time()
            for event in self._events_of(data):
                self._delivering = True
                await self._deliver(event)
            if self._delivering:
                # While the user was slow, nothing was read; that silence was not the relay's.
                self._delivering = False
                self._last_received = loop.time()
            if self._put_out is not None:
                await socket.close()

    def _events_of(self, data: bytes) -> list[Event]:
        """Return the events of a frame; one that cannot be read is an event too, as it may have been an envelope.

        Before the welcome, an unreadable frame ends the connection (`UnreadableFrame`).
        """
        try:
            return self._handle(decode_frame(data))
        except UnreadableFrame as error:
            reason = str(error)
        except Exception as error:
            # A field is missing or has another type than the protocol says, which can fail in any way.
            reason = f"unexpected fields: {error!r}"
        if not self._joined.is_set():
            raise UnreadableFrame(reason)
        self._unreadable += 1
        # A relay that sends many of these must not fill the log of its clients.
        level = logging.WARNING if self._unreadable == 1 else logging.DEBUG
        log.log(
            level,
            "%s: skipped a frame that this client cannot read (%s; %d over this connection, only the first is logged); "
            "an envelope may be missing. Is the relay older or newer than this client?",
            self._request.room, reason[:200], self._unreadable,
        )  # fmt: skip
        return [Unreadable(reason)]

    def _handle(self, frame: FrameFields) -> list[Event]:
        match frame.get("type"):
            case "welcome":
                if self._request.observe and not frame.get("observer"):
                    raise UnreadableFrame("it knows no observers, and made this client a member")
                events = self._position.welcome(frame)
                self._outbox.rewind()
                self._info.welcomed()
                self._on_welcome()
                self._joined.set()
                return events
            case "ack":
                self._outbox.acknowledged(str(frame["key"]), MessageId.parse(frame["id"]))
                self._retry_delays.reset()
                self._outbox_changed.set()
            case "info":
                self._info.answered(str(frame.get("key", "")))
                self._info_delays.reset()
                self._info_changed.set()
            case "error":
                self._handle_error(frame)
            case "token_expiring":
                self._token_expires.set()
            case "closed" if not self._request.observe:
                self._put_out = _end_of_notice(frame, ROOM_CLOSED)
            case "kicked" if frame.get("peer") == self._position.peer:
                self._put_out = _end_of_notice(frame, KICKED)
        self._requests.received(frame)
        return self._position.receive(frame)

    def _handle_error(self, frame: FrameFields) -> None:
        key, code, text = (str(frame.get(name, "")) for name in ("key", "code", "text"))
        about = frame.get("about")
        if about == "join" or (about == "refresh" and not key):
            # The close that follows has a code for the class of errors; this one is exact.
            self._join_error = ConnectionEnd(code, text, held=frame.get("held") is True)
        elif about == "presence" and not key:
            log.warning("%s: this client does not see who is there: %s (%s)", self._request.room, text[:200], code)
        elif self._info.has(key):
            if self._info.refused(key, code, text):
                self._info_delay = self._info_delays.next(at_least=0.25)
            self._info_changed.set()
        elif key:
            if self._outbox.refused(key, code, text):
                self._paused_until = asyncio.get_running_loop().time() + self._retry_delays.next(at_least=0.05)
            self._outbox_changed.set()

    # Sending.

    async def _write(self, socket: ClientConnection) -> None:
        await self._joined.wait()
        while True:
            # Cleared first: an envelope that is added from here on wakes the wait below.
            self._outbox_changed.clear()
            await self._wait_out_pause()
            for frame in self._outbox.to_send():
                await socket.send(frame, text=True)
                await self._wait_out_pause()
            await self._outbox_changed.wait()

    async def _write_info(self, socket: ClientConnection) -> None:
        await self._joined.wait()
        while True:
            self._info_changed.clear()
            delay, self._info_delay = self._info_delay, 0.0
            await asyncio.sleep(delay)
            if (frame := self._info.to_send()) is not None:
                await socket.send(frame, text=True)
            await self._info_changed.wait()

    async def _renew_token(self, socket: ClientConnection) -> None:
        """Give the relay a new token when the present one is about to expire. If none can be had, it closes (4009)."""
        delays = Backoff(base=1.0, draw=self._options.draw)
        await self._joined.wait()
        while not self._token.fixed:
            await self._token_expires.wait()
            self._token_expires.clear()
            try:
                token = await self._token.ask(self._options.connect_timeout)
                await self.request({"type": "refresh", "token": token})
                delays.reset()
            except (TokenFailed, Rejected) as error:
                await self._deliver(NoToken(error.code, error.text))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delays.next(at_least=1.0)):
                        await self._token_expires.wait()
                self._token_expires.set()
            except NotAcknowledged:
                return

    async def _wait_out_pause(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._paused_until - loop.time()) > 0:  # noqa: ASYNC110  # the end of the pause may move
            await asyncio.sleep(left)

    async def _watch(self, socket: ClientConnection) -> None:
        """Find out whether the connection is dead: TCP alone can take minutes to notice."""
        loop, interval = asyncio.get_running_loop(), self._options.ping_interval
        while True:
            await asyncio.sleep(max(0.0, self._last_received + interval - loop.time()))
            if self._delivering:
                await asyncio.sleep(interval)
            if self._delivering or loop.time() - self._last_received < interval:
                continue
            pinged = loop.time()
            await socket.send('{"type":"ping"}')
            await asyncio.sleep(self._options.ping_timeout)
            if self._last_received < pinged and not self._delivering:
                log.info(
                    "%s: nothing received for %.1f s; reconnecting",
                    self._request.room, loop.time() - self._last_received,
                )  # fmt: skip
                socket.transport.abort()

    # The end.

    def _end_of(self, closed: ConnectionClosed) -> ConnectionEnd:
        if self._put_out is not None:
            return self._put_out
        reason = _REASONS.get(closed.rcvd.code) if closed.rcvd else None
        if not self._joined.is_set() and closed.rcvd is None:
            self._position.note_unanswered()
        if reason is REPLACED and self._position.take_back():
            text = "a late attempt of this client to connect took its membership over"
            return ConnectionEnd(reason.name, text, elsewhere=True)
        if reason is None or self._join_error.code in {"unavailable", "outcome_unknown"}:
            return ConnectionEnd(self._join_error.code or "lost", self._join_error.text or "the connection was lost")
        return ConnectionEnd(
            self._join_error.code or reason.name,
            self._join_error.text or reason.text,
            final=not reason.reconnect or (reason is TOKEN_EXPIRED and self._token.fixed),
            elsewhere=reason is GOING_AWAY,
            held=self._join_error.held,
        )


async def _run_or_abort(work: Callable[[ClientConnection], Awaitable[None]], socket: ClientConnection) -> None:
    """Run `work`; if it fails, abort the connection, which is of no use without it."""
    try:
        await work(socket)
    except ConnectionClosed:
        pass
    except Exception:
        log.exception("the client failed on this connection, which is a bug; it reconnects")
        socket.transport.abort()


def _end_of_notice(frame: FrameFields, reason: CloseReason) -> ConnectionEnd:
    """Return the end of a connection whose room ended by such a frame, for this client or for all."""
    said = str(frame.get("reason", ""))
    return ConnectionEnd(reason.name, f"{reason.text}: {said}" if said else reason.text, final=True)


def _end_of_refusal(refused: InvalidStatus) -> ConnectionEnd:
    """Return the end of a connection whose handshake got another status than 101."""
    response = refused.response
    code, text = f"http_{response.status_code}", f"the relay answered with HTTP {response.status_code}"
    body = bytes(response.body or b"")
    try:
        error = decode_frame(body)["error"]
        code, text = str(error["code"]), str(error["text"])
    except (UnreadableFrame, KeyError, TypeError):
        log.debug("this answer is not the relay's own, but perhaps a proxy's: %r", body[:200])
    wait = response.headers.get("Retry-After", "")
    return ConnectionEnd(
        code,
        text,
        final=response.status_code not in _RETRYABLE_STATUSES,
        retry_after=min(float(wait), _MAX_RETRY_AFTER) if wait.isascii() and wait.isdigit() else 0.0,
    )
