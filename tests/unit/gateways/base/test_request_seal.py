"""Seals of forwarded requests: which parts they cover, for how long, and how often they count."""

import itertools
from typing import Any

import pytest

from relay.fleet_key import FleetKey
from relay.gateways.base.request_seal import MAX_SKEW, BadSeal, ReplayGuard, RequestHead, Sealer, SealVerifier
from relay.model.workers import Owner

KEY = FleetKey(["s" * 32])
ME = Owner(b"group1", 0)
HEAD = RequestHead(b"POST", b"/socket.io/?sid=x", [(b"host", b"relay"), (b"cookie", b"a=b; c=d")])


def sealed(head: RequestHead = HEAD, key: FleetKey = KEY, now: int = 1_000_000, **more: Any) -> bytes:
    sealer = Sealer(key, more.pop("receiver", ME), lambda: now)
    return sealer.seal(head, **{"address": "10.1.2.3", "scheme": "http", "body": b"hello"} | more)


def verifier(key: FleetKey = KEY, now: int = 1_000_000) -> SealVerifier:
    return SealVerifier(key, ME, lambda: now)


def flaw(value: bytes, head: RequestHead = HEAD, **options: Any) -> str:
    with pytest.raises(BadSeal) as raised:
        verifier(**options).verify(head, value)
    return raised.value.flaw


@pytest.mark.parametrize("address", ["10.1.2.3", "2001:db8::1", "", "fe80::1%eth0", "ünknown host"])
@pytest.mark.parametrize(("scheme", "seen"), [("http", "http"), ("https", "https")])
def test_a_seal_has_address_and_scheme_of_the_client(address: str, scheme: str, seen: str) -> None:
    client = verifier().verify(HEAD, sealed(address=address, scheme=scheme))
    assert (client.address, client.scheme) == (address, seen)
    client.check(b"hello")


def test_a_body_that_differs_is_refused() -> None:
    client = verifier().verify(HEAD, sealed())
    for body in (b"", b"hello ", b"Hello"):
        with pytest.raises(BadSeal, match="bad_body"):
            client.check(body)


def test_an_empty_body() -> None:
    client = verifier().verify(HEAD, sealed(body=b""))
    client.check(b"")
    with pytest.raises(BadSeal):
        client.check(b"x")


@pytest.mark.parametrize(
    "head",
    [
        HEAD._replace(method=b"GET"),
        HEAD._replace(target=b"/socket.io/?sid=y"),
        HEAD._replace(target=b"/"),
        HEAD._replace(headers=[]),
        HEAD._replace(headers=[(b"host", b"relay"), (b"cookie", b"a=b; c=e")]),
        HEAD._replace(headers=[*HEAD.headers, (b"origin", b"https://evil")]),
        HEAD._replace(headers=[*reversed(list(HEAD.headers))]),
        HEAD._replace(headers=[(b"host", b"relay\ncookie:a=b; c=d")]),
    ],
)
def test_a_changed_head_is_refused(head: RequestHead) -> None:
    assert flaw(sealed(), head) == "bad_mac"


def test_each_changed_field_is_refused() -> None:
    fields = sealed().split(b" ")
    others = [b"1000001", b"0" * 16, b"2", str(Owner(b"group2", 0)).encode(), b"https", b"00", b"0" * 64]
    for index, other in enumerate(others, 1):
        changed = [*fields[:index], other, *fields[index + 1 :]]
        assert flaw(b" ".join(changed)) == "bad_mac"


@pytest.mark.parametrize("position", range(0, 64, 7))
def test_a_changed_mac_is_refused(position: int) -> None:
    value = bytearray(sealed())
    at = len(value) - 64 + position
    value[at] = ord("0") if value[at] != ord("0") else ord("1")
    assert flaw(bytes(value)) == "bad_mac"


def test_a_seal_for_another_worker_or_of_another_fleet_is_refused() -> None:
    for other in (Owner(b"group1", 1), Owner(b"group2", 0), Owner(b"group2", 255)):
        assert flaw(sealed(receiver=other)) == "misdirected"
        assert flaw(sealed(receiver=other, key=FleetKey(["t" * 32]))) == "bad_mac"
    assert flaw(sealed(key=FleetKey(["t" * 32]))) == "bad_mac"


def test_a_seal_of_an_earlier_secret_is_accepted() -> None:
    assert verifier(FleetKey(["t" * 32, "s" * 32])).verify(HEAD, sealed()).address == "10.1.2.3"


@pytest.mark.parametrize(("skew", "accepted"), [(MAX_SKEW, True), (-MAX_SKEW, True), (MAX_SKEW + 1, False)])
def test_the_time_may_differ_by_thirty_seconds(skew: int, accepted: bool) -> None:
    if accepted:
        assert verifier(now=1_000_000 + skew).verify(HEAD, sealed())
    else:
        assert flaw(sealed(), now=1_000_000 + skew) == "expired"
        assert flaw(sealed(), now=1_000_000 - skew) == "expired"


def test_a_seal_counts_once() -> None:
    one, value = verifier(), sealed()
    one.verify(HEAD, value)
    with pytest.raises(BadSeal, match="replayed"):
        one.verify(HEAD, value)


def test_a_wrong_seal_does_not_use_the_number_up() -> None:
    one, value = verifier(), sealed()
    with pytest.raises(BadSeal, match="bad_mac"):
        one.verify(HEAD._replace(target=b"/"), value)
    assert one.verify(HEAD, value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"1",
        b"2" + sealed()[1:],
        sealed() + b" ",
        sealed() + b"\n",
        b" " + sealed(),
        sealed().replace(b" ", b"  ", 1),
        sealed().replace(b"http", b"gopher"),
        sealed()[:-1],
        sealed() + b"0",
        b"\xff" * 200,
        b"1 " + b"9" * 5000,
    ],
)
def test_malformed(value: bytes) -> None:
    assert flaw(value) == "malformed"


def test_a_long_address_is_cut() -> None:
    assert len(verifier().verify(HEAD, sealed(address="a" * 5000)).address) <= 255
    assert verifier().verify(HEAD, sealed(address="ü" * 5000)).address


class TestReplayGuard:
    def test_each_number_counts_once_in_any_order(self) -> None:
        for order in itertools.permutations((1, 2, 3, 4)):
            guard = ReplayGuard()
            assert all(guard.is_new(b"a", number) for number in order)
            assert not any(guard.is_new(b"a", number) for number in order)

    def test_senders_are_apart(self) -> None:
        guard = ReplayGuard()
        assert guard.is_new(b"a", 1)
        assert guard.is_new(b"b", 1)

    def test_a_number_far_below_the_newest_is_old(self) -> None:
        guard = ReplayGuard()
        assert guard.is_new(b"a", 10_000)
        assert not guard.is_new(b"a", 10_000 - 4096)
        assert guard.is_new(b"a", 10_000 - 4095)
        assert not guard.is_new(b"a", 10_000 - 4095)

    def test_a_large_step_forgets_nothing_that_could_come_again(self) -> None:
        guard = ReplayGuard()
        assert guard.is_new(b"a", 1)
        assert guard.is_new(b"a", 10**15)
        assert not guard.is_new(b"a", 1)
        assert not guard.is_new(b"a", 10**15)

    def test_memory_is_bounded(self) -> None:
        guard = ReplayGuard()
        for number in range(5000):
            assert guard.is_new(b"%d" % number, 1)
        assert len(guard._senders) == 4096
