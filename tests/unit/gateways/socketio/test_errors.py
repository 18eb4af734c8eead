"""The gateway's own error codes."""

from relay.gateways.socketio.errors import SOCKETIO_ERRORS, BadEvent, SocketIORefused
from relay.model.errors import ERRORS, Refused


def test_codes_of_the_gateway_have_status_and_text() -> None:
    for code, (status, text) in SOCKETIO_ERRORS.items():
        error = SocketIORefused(code)
        assert isinstance(error, Refused)
        assert (error.status, error.text) == (status, text)
    assert BadEvent("bad_event").text == SOCKETIO_ERRORS["bad_event"][1]


def test_codes_that_gateways_share_have_the_same_meaning() -> None:
    assert SocketIORefused("too_large").text == ERRORS["too_large"][1]
