"""The scripts and the page that clients load which poll."""

from typing import Final

import msgspec

from relay.gateways.base.http import HTML, HttpBody
from relay.gateways.base.jsonp import SCRIPT, for_script
from relay.gateways.base.polling_rules import PollAnswer

CLOSE: Final = HttpBody(b"pLPCommand('close');", SCRIPT)
"""Ends a connection that the relay does not have, or has no more: the client connects again."""

_BEGIN: Final = (
    b"function pLPCommand(c,a,b,d,e){var f=parent.window['pLPCommand%b'];f&&f(c,a,b,d,e)}"
    b"function pRTLPCB(n,d){var f=parent.window['pRTLPCB%b'];f&&f(n,d)}"
    b"pLPCommand('start',%b,%b);"
)

_PASSWORD: Final = "-"  # noqa: S105 - it is none
"""The password of all connections: their ids are secret."""

FAREWELL: Final = HttpBody(
    b"<!doctype html><meta charset=utf-8><title>Firebase</title><script>"
    b"addEventListener('pagehide',function(){"
    b"navigator.sendBeacon(location.pathname+location.search.replace('dframe=t','disconn=t'))})"
    b"</script>",
    HTML,
)
"""The page of a hidden frame, which says goodbye when the page of the client is closed, or the frame is removed.

Browsers send no other request at that time.
"""


def first_answer(callback: str, session_id: str, answer: PollAnswer) -> HttpBody:
    """Write the answer to the request that begins a connection: functions for all later answers, and the hello.

    `callback` is the number of the page's own functions.
    """
    number = callback.encode("ascii")
    encode = msgspec.json.encode
    begin = _BEGIN % (number, number, encode(session_id), encode(_PASSWORD))
    return HttpBody(begin + script_of(answer).data, SCRIPT)


def script_of(answer: PollAnswer) -> HttpBody:
    """Write the answer to a poll, whose token is the number of the answer."""
    messages = b",".join([frame.data for frame in answer.frames])
    text = b"pRTLPCB(%b,[%b]);" % (answer.token.encode("ascii"), for_script(messages))
    return HttpBody(text if answer.closed is None else text + CLOSE.data, SCRIPT)
