"""The signals of a page: to one user, or to all members that are asked to let it take part."""

from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

from msgspec import Raw, structs

from relay.gateways.socketio.apps.port import PublishOutcome
from relay.gateways.socketio.apps.rmc3 import lookups
from relay.gateways.socketio.apps.rmc3.arguments import argument, read_object, read_text
from relay.gateways.socketio.apps.rmc3.page import PageState
from relay.gateways.socketio.apps.rmc3.signals import PageSignal, read_content
from relay.model.commands import Publish
from relay.model.errors import OutcomeUnknown, RelayError
from relay.model.names import escape_peer, unescape
from relay.model.publication import Receipt

_NULL = Raw(b"null")


class Signaling:
    """Sends the signals of one page."""

    __slots__ = ("_page",)

    def __init__(self, page: PageState) -> None:
        self._page = page

    def send(self, values: list[bytes], number: str) -> Coroutine[Any, Any, None] | None:
        """Send a signal; its callback is not called, as by the original server."""
        page, fields = self._page, read_object(argument(values, 0))
        receiver, content = read_text(bytes(fields.get("remoteUserId", _NULL))), read_content(fields)
        if receiver == "system":
            return self._detect(content, number)
        signal = PageSignal(receiver, fields, content)
        if signal.asks_to_join and receiver == page.stay.name and receiver and not page.scalable:
            # If participants connect with the owner alone, nobody else is asked.
            to = page.stay.owner if page.stay.session.is_oneway else ""
            if to != page.port.membership.peer:
                self._publish(signal.envelope(page.port.membership.peer, to), page.tell_failure)
        elif receiver:
            self._send_to(signal, escape_peer(receiver))
        return None

    def _send_to(self, signal: PageSignal, peer: str) -> None:
        page = self._page
        if peer == page.port.membership.peer or (signal.says_goodbye and peer not in page.contacts):
            return
        if page.scalable and signal.asks_to_join:
            # Of a broadcast, the one is asked from which the page is to receive.
            self._publish(signal.envelope(page.port.membership.peer, peer), partial(page.tell_lost_signal, peer))
            return
        done = partial(page.tell_lost_signal if signal.says_goodbye else self._sent, peer)
        self._publish(signal.envelope(page.port.membership.peer, peer, page.extra), done)

    def _publish(self, command: Publish, done: PublishOutcome) -> None:
        """Publish a signal, which has a key: one that Redis may not have got is published once more, and arrives once.

        A page gets no answer to a signal, and would not send it again.
        """
        port = self._page.port
        command = structs.replace(command, key=port.worker.random.peer_id())
        port.publisher.publish(command, partial(self._published, command, done))

    def _published(self, command: Publish, done: PublishOutcome, outcome: Receipt | RelayError) -> None:
        if isinstance(outcome, OutcomeUnknown):
            self._page.port.publisher.publish(command, partial(self._published_again, done, outcome))
        else:
            done(outcome)

    @staticmethod
    def _published_again(done: PublishOutcome, first: OutcomeUnknown, outcome: Receipt | RelayError) -> None:
        # Also where the second try was certainly not sent, the first one may have been.
        done(outcome if isinstance(outcome, Receipt) else first)

    def _sent(self, peer: str, outcome: Receipt | RelayError) -> None:
        self._page.tell_lost_signal(peer, outcome)
        if isinstance(outcome, Receipt) and self._page.contacts.begin(peer):
            self._page.port.socket.emit("user-connected", unescape(peer))

    def _detect(self, content: Mapping[str, Raw], number: str) -> Coroutine[Any, Any, None] | None:
        """Answer whether a user is there, as pages up to version 3.3.3 ask."""
        page, userid = self._page, read_text(bytes(content.get("userid", _NULL)))

        async def work() -> None:
            mine = userid == unescape(page.userid)
            page.port.socket.acknowledge(number, not mine and await lookups.is_present(page.port, userid), userid)

        return work() if number and "detectPresence" in content else None
