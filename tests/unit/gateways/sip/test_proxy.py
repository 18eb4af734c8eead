"""The checks of a proxy, and the fields that it takes out of a request."""

import pytest

from relay.backend.subjects import Place
from relay.fleet_key import FleetKey
from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.location import Location
from relay.gateways.sip.message import SipRequest, read_message
from relay.gateways.sip.proxy import Proxy
from relay.gateways.sip.transactions import ClientTransactions
from relay.gateways.sip.via import ViaSeal
from relay.model.errors import Refused
from tests.sip_client import SipAgent
from tests.unit.gateways.sip.test_location import Index
from tests.unit.gateways.sip.test_transactions import LONG, Wires

KEY = FleetKey(["a fleet secret of the tests"])


class Case:
    """A proxy of Alice, in a room in which these peers are recorded under these users."""

    def __init__(self, **users: list[str]) -> None:
        self.wires = Wires()
        index, seal = Index(), ViaSeal(KEY, "room")
        location = Location(index, Index(), KEY, "room")
        for user, peers in users.items():
            index.places[location.user_record(user)] = [Place("room", peer) for peer in peers]
        transactions = ClientTransactions(self.wires, seal, LONG)
        self.proxy = Proxy(self.wires, seal, transactions, location, frozenset({"relay.example"}))

    async def targets(self, uri: str, **parts: str) -> list[str]:
        return list(await self.proxy.targets(request("INVITE", uri, **parts)))


def request(method: str = "INVITE", uri: str = "sip:bob@x", *more: str, hops: int = 70, **parts: str) -> SipRequest:
    text = SipAgent("alice").request(method, uri, more=more, hops=hops, **parts)  # type: ignore[arg-type]
    message = read_message(text.encode())
    assert isinstance(message, SipRequest)
    return message


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (request(uri="sips:bob@x"), "bad_scheme"),
        (request(uri="tel:+1"), "bad_scheme"),
        (request(hops=0), "too_many_hops"),
        (request("INVITE", "sip:bob@x", "Via: SIP/2.0/WS relay.invalid;branch=1"), "loop"),
        (request("INVITE", "sip:bob@x", "Proxy-Require: x"), "bad_extension"),
    ],
)
def test_requests_that_are_not_forwarded(bad: SipRequest, code: str) -> None:
    with pytest.raises(SipRefused) as refused:
        Case().proxy.check(bad, "alice", None)
    assert refused.value.code == code


def test_the_sender_is_the_registered_user() -> None:
    Case().proxy.check(request(), "alice", None)
    with pytest.raises(SipRefused):
        Case().proxy.check(request(), "bob", None)


async def test_targets() -> None:
    case = Case(bob=["bob", "bob;x@y.invalid"], alice=["alice", "alice;2@z"], eve=["eve"] * 20)
    assert await case.targets("sip:bob@anything") == ["bob", "bob;x@y.invalid"]
    # The own connection is none; without another one, that would be a loop.
    assert await case.targets("sip:alice@x") == ["alice;2@z"]
    with pytest.raises(SipRefused, match="comes back"):
        await Case(alice=["alice"]).targets("sip:alice@x")
    with pytest.raises(SipRefused, match="nobody"):
        await case.targets("sip:nobody@x")
    # Within a call, the user in the To leads to the contact.
    assert await case.targets("sip:x@y.invalid", to="<sip:bob@x>;tag=1") == ["bob;x@y.invalid"]
    assert await case.targets("sip:other@z.invalid", to="<sip:bob@x>;tag=1") == ["bob", "bob;x@y.invalid"]
    with pytest.raises(Refused) as refused:
        await case.targets("sip:x@gone.invalid")
    assert refused.value.code == "no_such_peer"


async def test_routes_to_the_relay_are_taken_out_and_a_route_to_elsewhere_is_not_followed() -> None:
    case = Case(bob=["bob"])
    secret = "Authorization: Bearer a.secret.token"
    kept = ('Authorization: Digest realm="bob", nonce="1"', "Route: <sip:evil.example;lr>")
    own = ("Route: <sip:relay.example;transport=ws;lr>", 'Proxy-Authorization: Digest realm="relay"', secret)
    await case.proxy.forward(request("INVITE", "sip:bob@x", *own, *kept))
    ((peer, sent),) = case.wires.peers
    assert peer == "bob"
    text = sent.encode().decode()
    assert all(line in text for line in kept)
    assert not any(line in text for line in own)


async def test_a_cancel_after_a_change_of_worker_follows_the_invite() -> None:
    invite = request("INVITE", "sip:bob@x", branch="z9hG4bK1", call="1")
    before, after = Case(bob=["bob"]), Case(bob=["bob"])
    await before.proxy.forward(invite)
    secret = b"\r\nAuthorization: Bearer a.secret.token\r\nP-Asserted-Identity: <sip:boss@x>\r\nCSeq"
    text = invite.encode().replace(b"INVITE", b"CANCEL").replace(b"\r\nCSeq", secret)
    message = read_message(text)
    assert isinstance(message, SipRequest)
    await after.proxy.forward(message)
    ((_, sent),) = before.wires.peers
    ((peer, cancelled),) = after.wires.peers
    assert peer == "bob"
    assert cancelled.via == sent.via
    assert cancelled.values("via") == sent.values("via")[:1]
    # The fields that are for the relay stay here, as those of an INVITE.
    assert b"secret" not in cancelled.encode()
    assert b"boss" not in cancelled.encode()
    assert after.wires.statuses == [200]


async def test_a_client_asserts_no_identity_beside_its_from() -> None:
    case = Case(bob=["bob"])
    fields = ("P-Asserted-Identity", "P-Preferred-Identity", "Remote-Party-ID")
    await case.proxy.forward(request("INVITE", "sip:bob@x", *(f'{name}: "Boss" <sip:boss@x>' for name in fields)))
    ((_, sent),) = case.wires.peers
    assert b"boss" not in sent.encode()
