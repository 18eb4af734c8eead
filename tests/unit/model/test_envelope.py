import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.envelope import MessageId, read_envelope, read_frame, seal, splice, unseal
from relay.model.errors import BadFrame

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("envelope", "expected"),
    [
        (b"{}", b'{"from":"p","id":"7-1"}'),
        (b" { } \n", b' {"from":"p","id":"7-1"}'),
        (b"{\n}", b'{"from":"p","id":"7-1"}'),
        (b'{"a":1}', b'{"a":1,"from":"p","id":"7-1"}'),
        (b'\t{"a":{}  }\r\n', b'\t{"a":{},"from":"p","id":"7-1"}'),
        (b'{"a":"}"}', b'{"a":"}","from":"p","id":"7-1"}'),
        ('{"é":"\U0001f600"}'.encode(), '{"é":"\U0001f600","from":"p","id":"7-1"}'.encode()),
    ],
)
def test_the_fields_of_the_relay_are_added_at_the_end(envelope: bytes, expected: bytes) -> None:
    assert seal(splice(envelope, "p"), MessageId(7, 1)) + b"}" == expected


@given(st.dictionaries(st.text(), JSON, max_size=5), st.sampled_from(["", " ", "\n\t"]))
def test_every_envelope_that_is_read_is_json_with_two_more_fields(fields: dict[str, object], space: str) -> None:
    text = (space + json.dumps(fields) + space).encode()
    try:
        read_envelope(text)
    except BadFrame:
        return
    sealed = json.loads(seal(splice(text, "peer"), MessageId(1, 2)) + b"}")
    assert sealed == fields | {"from": "peer", "id": "1-2"}
    assert list(sealed)[-2:] == ["from", "id"]


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | JSON.map(json.dumps).map(str.encode))
def test_any_bytes_are_read_or_refused_as_a_bad_frame(text: bytes) -> None:
    for read in (read_envelope, read_frame):
        try:
            publish = read(text)
        except BadFrame as error:
            assert error.code in {"bad_json", "bad_envelope", "reserved_field", "bad_peer"}
        else:
            assert isinstance(json.loads(text), dict)
            assert publish is None or publish.envelope == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "bad_json"),
        (b"x", "bad_json"),
        (b"{", "bad_json"),
        (b'{"a":NaN}', "bad_json"),
        (b'{"a":Infinity}', "bad_json"),
        (b'{"a":01}', "bad_json"),
        (b'{"a":1}{}', "bad_json"),
        (b'{"a":"\xff"}', "bad_json"),
        (b'{"a":"\xed\xa0\x80"}', "bad_json"),
        (b'{"a":"\\ud800"}', "bad_json"),
        (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "bad_json"),
        (b"[]", "bad_envelope"),
        (b'"text"', "bad_envelope"),
        (b"null", "bad_envelope"),
        (b'{"to":5}', "bad_envelope"),
        (b'{"to":5,"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "bad_json"),
        (b'{"to":[]}', "bad_envelope"),
        (b'{"to":[1]}', "bad_envelope"),
        (b'{"to":' + json.dumps(["p"] * 101).encode() + b"}", "bad_envelope"),
        (b'{"channel":"' + b"c" * 2049 + b'"}', "bad_envelope"),
        (b'{"channel":' + b"1" * 2049 + b"}", "bad_envelope"),
        (b'{"channel":{},"to":1}', "bad_envelope"),
        (b'{"key":1}', "bad_envelope"),
        (b'{"key":"' + b"k" * 65 + b'"}', "bad_envelope"),
        (b'{"to":"a b"}', "bad_peer"),
        (b'{"to":"a,b"}', "bad_peer"),
        (b'{"to":"%41"}', "bad_peer"),
        (b'{"to":"a%2fb"}', "bad_peer"),
        (b'{"to":["ok","%24server"]}', "bad_peer"),
        (b'{"to":"$server"}', "bad_peer"),
        (b'{"to":["ok","\\u001b[2J"]}', "bad_peer"),
        (b'{"from":1}', "reserved_field"),
        (b'{"from":null}', "reserved_field"),
        (b'{"fr\\u006fm":1}', "reserved_field"),
        (b'{"id":"1-1"}', "reserved_field"),
        (b'{"room":"r","a":1}', "reserved_field"),
        (b'{"type":"welcome"}', "reserved_field"),
    ],
)
def test_anything_else_is_refused_with_its_code(text: bytes, code: str) -> None:
    with pytest.raises(BadFrame) as refused:
        read_envelope(text)
    assert refused.value.code == code
    assert refused.value.about == "envelope"


@pytest.mark.parametrize(
    ("text", "to", "channel", "key"),
    [
        (b'{"sender":1,"channel":"c","message":{}}', (), "c", ""),
        (b'{"channel":7}', (), "7", ""),
        (b'{"channel":0.25}', (), "0.25", ""),
        (b'{"channel":true}', (), "true", ""),
        (b'{"channel":{"a":1},"to":"p","key":"k"}', ("p",), "", "k"),
        (b'{"channel":["a"]}', (), "", ""),
        (b'{"channel":"' + b"c" * 2048 + b'"}', (), "c" * 2048, ""),
        (b'{"channel":null,"to":null,"key":null}', (), "", ""),
        (b'{"to":"a"}', ("a",), "", ""),
        (b'{"to":["a","b","a"],"key":"k"}', ("a", "b"), "", "k"),
        (b'{"channel":"a","channel":"b"}', (), "b", ""),
        (b'{"message":{"from":1,"id":2,"room":3,"type":4}}', (), "", ""),
    ],
)
def test_the_relay_reads_the_receivers_the_channel_and_the_key(
    text: bytes, to: tuple[str, ...], channel: str, key: str
) -> None:
    publish = read_envelope(text)
    assert (publish.envelope, publish.to, publish.channel, publish.key) == (text, to, channel, key)


def test_an_object_with_a_type_is_a_command_for_read_frame_alone() -> None:
    assert read_frame(b'{"type":null}') is None
    assert read_frame(b'{"a":1}') is not None
    with pytest.raises(BadFrame):
        read_envelope(b'{"type":null}')


def test_ids_compare_by_epoch_then_sequence() -> None:
    assert MessageId(1, 10) < MessageId(2, 1) < MessageId(2, 10)
    assert MessageId.parse("12-34") == MessageId(12, 34)
    assert str(MessageId(12, 34)) == "12-34"
    assert MessageId(12, 34).encode() == b"12-34"


@pytest.mark.parametrize("text", ["", "1", "-", "1-", "-1", "a-b", "1-2-3", "1 -2", "٣-1", "1" * 30 + "-" + "1" * 30])
def test_other_text_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="not a message id"):
        MessageId.parse(text)


@pytest.mark.parametrize(
    "envelope", [b"{}", b'{"a":1}', b'{"from":"no, but in here: \\"from\\":\\""}', b'{"a":{"from":"x","id":"y"}}']
)
def test_unsealing_undoes_splicing_and_sealing(envelope: bytes) -> None:
    assert unseal(seal(splice(envelope, "ann"), MessageId(5, 6))) == envelope
