import pytest

from relay.gateways.websync.errors import WEBSYNC_ERRORS, WebSyncRefused, error_text
from relay.model.errors import ERRORS, Refused


@pytest.mark.parametrize(
    ("channel", "number"),
    [
        ("/meta/handshake", 701), ("/meta/connect", 711), ("/meta/subscribe", 721), ("/chat", 731),
        ("/meta/unsubscribe", 741), ("/meta/disconnect", 751), ("/meta/bind", 761), ("/meta/unbind", 771),
        ("/meta/notify", 781), ("/service/x", 901),
    ],
)  # fmt: skip
def test_the_number_is_that_of_the_message(channel: str, number: int) -> None:
    assert error_text(Refused("too_fast", "slowly"), channel) == f"{number}::too_fast: slowly"


@pytest.mark.parametrize(
    ("code", "number"),
    [("bad_json", 601), ("unknown_session", 604), ("room_full", 607)],
)
def test_some_errors_have_a_number_of_their_own(code: str, number: int) -> None:
    assert error_text(Refused(code), "/chat").startswith(f"{number}::{code}: ")


def test_after_a_final_one_no_handshake_follows() -> None:
    assert error_text(Refused("banned", "no"), "/meta/handshake", final=True) == "801::banned: no"


def test_the_codes_of_the_gateway() -> None:
    assert not WEBSYNC_ERRORS.keys() & ERRORS.keys()
    for code, (status, text) in WEBSYNC_ERRORS.items():
        error = WebSyncRefused(code)
        assert (error.status, error.text) == (status, text)
