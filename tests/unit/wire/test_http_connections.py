"""HTTP connections of one address, idle or not."""

from relay.wire.http_connections import HttpConnections


def test_an_address_has_so_many_connections_at_a_time() -> None:
    http = HttpConnections(2)
    first, second, third = object(), object(), object()
    assert [http.begin(one, "a") for one in (first, second, third)] == [True, True, False]
    assert http.begin(third, "b")
    http.end(first)
    http.end(first)
    assert http.begin(first, "a")
    assert not http.begin(object(), "a")


def test_nothing_is_kept_of_connections_that_have_ended() -> None:
    http = HttpConnections(2)
    one, refused = object(), object()
    http.begin(one, "a")
    http.begin(object(), "")
    http.end(one)
    http.end(refused)
    assert not http._names
    assert not http._counts


def test_connections_of_load_balancers_do_not_count() -> None:
    http = HttpConnections(1)
    assert all(http.begin(object(), "") for _ in range(5))


def test_a_connection_counts_once_when_it_is_handed_over() -> None:
    http = HttpConnections(1)
    before, after = object(), object()
    assert http.begin(before, "a")
    http.hand_over(before, after)
    http.hand_over(object(), object())
    http.end(before)
    assert not http.begin(before, "a")
    http.end(after)
    assert http.begin(before, "a")
