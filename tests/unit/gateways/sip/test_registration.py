"""Reading REGISTER."""

import pytest

from relay.gateways.sip.message import SipRequest, read_message
from relay.gateways.sip.registration import DEFAULT, SipRegistration, read_registration
from relay.model.errors import Refused
from tests.sip_client import SipAgent

JSSIP = '<sip:8q4h1p@k2.invalid;transport=ws>;+sip.ice;reg-id=1;+sip.instance="<urn:uuid:1;2,3>";expires=600'


def register(*more: str, user: str = "alice", to: str = "") -> SipRequest:
    agent = SipAgent(user)
    message = read_message(agent.request("REGISTER", "sip:localhost", to=to or agent.address, more=more).encode())
    assert isinstance(message, SipRequest)
    return message


def read(*more: str, longest: int = 3600, **parts: str) -> SipRegistration:
    return read_registration(register(*more, **parts), "calls", longest)


def test_the_contact_is_shown_as_it_was_written_with_its_time() -> None:
    found = read(f"Contact: {JSSIP}", "Expires: 300", "X-Relay: messages")
    assert found.binding == JSSIP
    assert found.contact is not None
    assert found.contact.place == ("8q4h1p", "k2.invalid", "")
    assert (found.user, found.peer, found.host, found.seconds, found.hears) == (
        "alice",
        "alice",
        "localhost",
        600,
        True,
    )


@pytest.mark.parametrize(
    ("more", "seconds"),
    [(("m: sip:a@b",), DEFAULT), (("m: sip:a@b;expires=60",), 60), (("m: sip:a@b", "Expires: 99"), 99),
     (("m: <sip:a@b>;expires=9999",), 3600), (("m: sip:a@b;expires=0",), 0), (("m: <sip:a@b>;expires=no",), DEFAULT),
     (("m: *", "Expires: 0"), 0)],
)  # fmt: skip
def test_times(more: tuple[str, ...], seconds: int) -> None:
    assert read(*more).seconds == seconds


def test_a_contact_without_brackets_gets_some() -> None:
    assert read("m: sip:a@b;x=y;expires=60").binding == "<sip:a@b>;x=y;expires=60"


def test_a_question_has_no_contact() -> None:
    found = read()
    assert (found.contact, found.shown) == (None, "")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("m: *",), "bad_sip"),
        (("m: <sip:a@b>, <sip:c@d>",), "too_many_bindings"),
        (("m: <sip:a@b>", "m: <sip:c@d>"), "too_many_bindings"),
        (("m: <sip:b>",), "bad_sip"),
        (("m: <tel:1>",), "bad_sip"),
        (("m: <sip:a@b",), "bad_sip"),
        (("m: <sip:a@b>;expires=5",), "too_brief"),
        (("m: sip:a@b?x=y",), "bad_sip"),
        ((f"m: <sip:a@b>;x={'y' * 1100}",), "bad_sip"),
    ],
)
def test_refused_registrations(more: tuple[str, ...], code: str) -> None:
    with pytest.raises(Refused) as refused:
        read(*more)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("user", "to", "code"),
    [("alice", "<sip:bob@x>", "wrong_from"), ("a;b", "", "bad_peer"), ("a*", "", "bad_peer"), ("calls", "", "bad_peer"),
     ("a" * 65, "", "bad_peer"), ("%00", "", "bad_peer")],
)  # fmt: skip
def test_users_that_are_refused(user: str, to: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        read(user=user, to=to)
    assert refused.value.code == code
