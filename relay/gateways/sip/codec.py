"""The codec of SIP: frames to SIP messages; events are left to the session, as their form depends on its client."""

from typing import Final

from relay.gateways.sip.fields import BadField
from relay.gateways.sip.message import NotSip, SipRequest, SipResponse, read_message
from relay.model import events
from relay.model.codec import Frame
from relay.model.commands import Command, GatewayCommand
from relay.model.errors import BadFrame

PONG: Final = b"\r\n"
"""The answer to a keep-alive of two line ends (RFC 5626, section 3.5.1)."""


class KeepAlive(GatewayCommand):
    """Line ends and nothing else; two of them `want` an answer."""

    __slots__ = ("wants",)

    about = "keep-alive"

    def __init__(self, *, wants: bool) -> None:
        self.wants = wants


class ReceivedRequest(GatewayCommand):
    """A request of the client; `problem` is the text of an error in it, "" for none so far."""

    __slots__ = ("problem", "request")

    about = "request"

    def __init__(self, request: SipRequest, problem: str = "") -> None:
        self.request = request
        self.problem = problem

    @property
    def joins(self) -> int:
        """One for a REGISTER."""
        return int(self.request.method == "REGISTER")


class ReceivedResponse(GatewayCommand):
    """A response of the client."""

    __slots__ = ("response",)

    about = "response"

    def __init__(self, response: SipResponse) -> None:
        self.response = response


class UnservedRequest(BadFrame):
    """A request that was read and is not served, as it is over a limit."""

    def __init__(self, error: BadFrame, request: SipRequest) -> None:
        super().__init__(error.code, error.text, about=error.about)
        self.request = request


class UnwrittenEvent(Frame):
    """An event for a session, which writes the part of it that its client gets."""

    __slots__ = ("event",)

    def __init__(self, event: events.Event) -> None:
        # The data is never sent: buffers count its size.
        super().__init__(event.body if isinstance(event, events.Message) else b"")
        self.event = event


class SipCodec:
    """The `Codec` of SIP."""

    key: Final = "sip"

    def decode(self, frame: Frame) -> Command:
        """Read one message, of a text frame or a binary one; raises `BadFrame` for one that is no SIP message."""
        if not frame.data.strip(b"\r\n"):
            return KeepAlive(wants=len(frame.data) >= 4)
        try:
            message = read_message(frame.data)
        except NotSip as error:
            raise BadFrame("bad_packet", f"the frame is no SIP message: {error}") from None
        except BadField as error:
            found = error.args[1]
            if isinstance(found, SipRequest):
                return ReceivedRequest(found, str(error.args[0]))
            raise BadFrame("bad_packet", f"a response cannot be read: {error.args[0]}") from None
        return ReceivedRequest(message) if isinstance(message, SipRequest) else ReceivedResponse(message)

    def encode(self, event: events.Event) -> Frame:
        """Return the event itself, for the connection of the session."""
        return UnwrittenEvent(event)
