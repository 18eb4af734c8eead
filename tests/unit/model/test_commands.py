"""Commands as values."""

from relay.model.commands import Join, Leave


def test_a_join_is_the_same_whenever_it_comes() -> None:
    assert Join("room", peer="ann", arrived=1.0) == Join("room", peer="ann", arrived=2.0)
    assert Join("room", peer="ann", arrived=1.0) != Join("room", peer="bob", arrived=1.0)
    assert Join("room") != Leave("room")


def test_the_text_of_a_join_has_no_secrets() -> None:
    join = Join("room", "resume-key", peer="ann", password="pass-word", next_key="next-key")
    assert repr(join) == "Join(room='room', peer='ann', key='')"
