import hashlib

from relay.gateways.xmpp.bosh.body import RequestBody, read_request
from relay.gateways.xmpp.bosh.keys import KeySequence


def sequence(seed: str, count: int) -> list[str]:
    """Keys in the order in which a client uses them; the first one is that of the session's first request."""
    keys = [seed]
    for _ in range(count - 1):
        keys.append(hashlib.sha1(keys[-1].encode()).hexdigest())
    return keys[::-1]


def request(key: str, new: str = "") -> RequestBody:
    return read_request(f'<body rid="1" key="{key}" newkey="{new}"/>'.encode())


def test_each_key_is_hashed_to_the_one_before() -> None:
    first, second, third = sequence("seed", 3)
    keys = KeySequence(first)
    assert keys.accepts(request(second))
    assert not keys.accepts(request(second))
    assert keys.accepts(request(third))


def test_a_sequence_follows_another() -> None:
    first, last = sequence("seed", 2)
    new, next_key = sequence("other", 2)
    keys = KeySequence(first)
    assert keys.accepts(request(last, new))
    assert not keys.accepts(request("guess", new))
    assert keys.accepts(request(next_key))


def test_a_client_without_a_sequence_needs_no_key() -> None:
    keys = KeySequence("")
    assert keys.accepts(request(""))
    assert keys.accepts(request("k", "n"))
    assert keys.accepts(request(""))


def test_a_client_with_a_sequence_sends_a_key_each_time() -> None:
    assert not KeySequence(sequence("seed", 2)[0]).accepts(request(""))
    assert not KeySequence("é").accepts(request("é"))
