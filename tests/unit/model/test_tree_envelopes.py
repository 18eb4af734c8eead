"""Envelopes about changes of trees."""

import msgspec
import pytest

from relay.model.tree_envelopes import merge_envelope, read_change, removal, set_envelope


def test_a_value_and_its_path() -> None:
    assert read_change(set_envelope("a/b", {"x": [1]})) == ("a/b", b'{"x":[1]}', {})
    assert read_change(set_envelope("", None)) == ("", b"null", {})


def test_a_message_has_its_channel_and_its_key() -> None:
    assert msgspec.json.decode(set_envelope("a/-K", 1, "a")) == {
        "channel": "a",
        "message": 1,
        "key": "-K",
        "path": "a/-K",
    }
    # A key of an envelope is shorter than one of a tree.
    assert "key" not in msgspec.json.decode(set_envelope("a/" + "k" * 65, 1, "a"))


def test_children_by_their_paths() -> None:
    assert read_change(merge_envelope("a", {"b/c": 1, "d": None})) == ("a", None, {"b/c": b"1", "d": b"null"})
    assert read_change(removal(['a"b'])) == ("", None, {'a"b': b"null"})


def test_other_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="path"):
        read_change(b'{"path":1}')
