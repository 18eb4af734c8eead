"""Changes as the scripts take them."""

from relay.model.tree_changes import PathWrite, TreeChange, netstrings


def test_a_change_is_a_sequence_of_texts_with_their_lengths() -> None:
    change = TreeChange([PathWrite("a/é", {"a/é": b'"x"'}), PathWrite("b", {})], b'{"path":""}', "c", shareable=True)
    parts = [
        b'"c"',
        b'{"path":"","from":"ann","id":"',
        b"1",
        b"2",
        "a/é".encode(),
        b"1",
        "a/é".encode(),
        b'"x"',
        b"b",
        b"0",
    ]
    assert change.packed("ann") == netstrings(parts)
    assert netstrings([b"", b"ab"]) == b"0:2:ab"
    assert change.size == 11
