"""The scripts that clients load."""

from relay.gateways.base.polling_rules import PollAnswer
from relay.gateways.firebase.scripts import CLOSE, FAREWELL, first_answer, script_of
from relay.model.codec import Frame
from relay.model.errors import GOING_AWAY


def test_an_answer_has_its_number_and_all_messages() -> None:
    answer = PollAnswer([Frame(b'{"a":1}'), Frame('{"b":"\u2028"}'.encode())], token="3")
    assert script_of(answer).data == b'pRTLPCB(3,[{"a":1},{"b":"\\u2028"}]);'
    assert script_of(PollAnswer((), token="4")).data == b"pRTLPCB(4,[]);"


def test_the_last_answer_ends_the_connection() -> None:
    assert script_of(PollAnswer((), GOING_AWAY, token="5")).data == b"pRTLPCB(5,[]);" + CLOSE.data


def test_the_first_answer_leads_to_the_functions_of_the_page() -> None:
    text = first_answer("17", "ID", PollAnswer([Frame(b"{}")], token="0")).data
    assert b"['pLPCommand17']" in text
    assert b"['pRTLPCB17']" in text
    assert text.endswith(b'pLPCommand(\'start\',"ID","-");pRTLPCB(0,[{}]);')


def test_the_frame_says_goodbye_at_its_own_address() -> None:
    assert b"location.search.replace('dframe=t','disconn=t')" in FAREWELL.data
