import pytest

from relay.limits import AddressLimits, TokenBucket, counted_address


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_allows_a_burst_then_its_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(rate=8, burst=3, clock=clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.now += 0.125
    assert [bucket.take() for _ in range(2)] == [True, False]
    clock.now += 100
    assert bucket.full
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_connections_of_one_address_do_not_count_against_another() -> None:
    limits = AddressLimits(connections=2, handshakes=100, clock=Clock())
    assert [limits.admit("a") for _ in range(3)] == ["", "", "too_many_connections"]
    assert limits.admit("b") == ""
    limits.release("a")
    assert limits.admit("a") == ""


def test_handshakes_of_one_address_are_counted_whether_admitted_or_not() -> None:
    clock = Clock()
    limits = AddressLimits(connections=1, handshakes=3, clock=clock)
    assert limits.admit("a") == ""
    assert limits.admit("a") == "too_many_connections"
    assert limits.admit("a") == "too_many_connections"
    assert limits.admit("a") == "too_many_handshakes"
    clock.now += 1
    assert limits.admit("a") == "too_many_connections"


def test_idle_addresses_are_forgotten() -> None:
    clock = Clock()
    limits = AddressLimits(connections=1, handshakes=10, clock=clock)
    for number in range(5000):
        clock.now += 0.2
        limits.admit(str(number))
        limits.release(str(number))
    assert len(limits._buckets) <= 2100
    assert limits._open == {}


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("", ""),
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7:5678", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:c000:207", "192.0.2.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:0DB8:0000:0001:0000:0000:0000:0007", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::1", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("[2001:db8:0:1::7]:5678", "2001:db8:0:1::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unknown", "unknown"),
        ("a:b", "a:b"),
        ("[::1", "::/64"),
    ],
)
def test_one_client_has_one_address(address: str, counted: str) -> None:
    assert counted_address(address) == counted
