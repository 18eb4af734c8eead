"""The words for JSON that is not accepted are the relay's own."""

import msgspec
import pytest

from relay.gateways.native.codec import NativeCodec
from relay.model.codec import Frame
from relay.model.errors import BadFrame
from relay.model.explanations import explain


@pytest.mark.parametrize(
    ("text", "code", "explanation"),
    [
        ('{"key":7}', "bad_envelope", "key is text or null, and not a whole number"),
        ('{"key":true}', "bad_envelope", "key is text or null, and not true or false"),
        ('{"key":1.5}', "bad_envelope", "key is text or null, and not a number"),
        ('{"to":{}}', "bad_envelope", "to is text or a list or null, and not an object"),
        ('{"to":[1]}', "bad_envelope", "to[0] is text, and not a whole number"),
        ('{"to":[]}', "bad_envelope", "to is a list of at least 1 item"),
        ('{"key":"' + "x" * 65 + '"}', "bad_envelope", "key is text of at most 64 characters"),
        ("[1]", "bad_envelope", "the value is an object, and not a list"),
        ("7", "bad_envelope", "the value is an object, and not a whole number"),
        ('{"type":"join","room":5}', "bad_command", "room is text, and not a whole number"),
        ('{"type":"join","echo":1}', "bad_command", "echo is true or false, and not a whole number"),
        ('{"type":"presence","limit":5000}', "bad_command", "limit is a whole number, at most 1000"),
        ('{"type":"presence","limit":0}', "bad_command", "limit is a whole number, at least 1"),
        ('{"type":"info"}', "bad_command", "info is missing"),
        ('{"type":"rules","set":{"lock":true}}', "bad_command", "set has no field lock"),
        (
            '{"type":"rules","set":{"a b\\u001b":true}}',
            "bad_command",
            "it does not have the form that the protocol asks for",
        ),
        ('{"type":"publish","envelope":{"key":7}}', "bad_envelope", "key is text or null, and not a whole number"),
        ('{"a":NaN}', "bad_json", "it is not valid JSON at byte 5"),
        ('{"a":1', "bad_json", "the JSON is not complete"),
        ("", "bad_json", "the JSON is not complete"),
        ("x", "bad_json", "it is not valid JSON at byte 0"),
    ],
)
def test_a_client_learns_what_is_wrong(text: str, code: str, explanation: str) -> None:
    with pytest.raises(BadFrame) as refused:
        NativeCodec().decode(Frame(text.encode()))
    assert (refused.value.code, refused.value.text) == (code, explanation)


@pytest.mark.parametrize(
    "error", [msgspec.ValidationError("New words"), msgspec.DecodeError("New words"), msgspec.ValidationError("")]
)
def test_unknown_words_of_the_parser_are_not_repeated(error: msgspec.MsgspecError) -> None:
    assert "New words" not in explain(error)
    assert explain(error)
