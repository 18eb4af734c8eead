"""Forwards the requests of one client to other members of its room, and carries messages of others to the client."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from relay.gateways.sip.errors import SipRefused
from relay.gateways.sip.fields import BadField, Uri, read_address, read_credentials, split_list
from relay.gateways.sip.location import Location
from relay.gateways.sip.message import Field, SipRequest, SipResponse
from relay.gateways.sip.replies import late_acknowledgement, refusal, reply
from relay.gateways.sip.transactions import MOST_BRANCHES, ClientTransactions, Outlet
from relay.gateways.sip.via import SENT_BY, ViaSeal, is_own
from relay.model.errors import Refused
from relay.model.names import escape_peer

_MOST_CONTACTS: Final = 64
"""Contacts of peers that one client's proxy remembers: those of its calls."""

_CREDENTIALS: Final = ("authorization", "proxy-authorization")

_ASSERTED: Final = ("p-asserted-identity", "p-preferred-identity", "remote-party-id")
"""Fields by which a proxy names the caller: clients show them in place of the From (RFC 3325, section 5)."""


class Proxy:
    """Forwards requests of one client. `user` is the text of its registered name, "" for none."""

    def __init__(
        self, outlet: Outlet, seal: ViaSeal, transactions: ClientTransactions, location: Location, hosts: frozenset[str]
    ) -> None:
        self._outlet = outlet
        self._seal = seal
        self._transactions = transactions
        self._location = location
        self._hosts = hosts | {SENT_BY}
        # Fingerprint of a call and a contact in it → the peer id, for a contact that its peer has not registered.
        self._contacts: OrderedDict[bytes, str] = OrderedDict()

    # From the client.

    async def forward(self, request: SipRequest) -> int:
        """Forward a request, and return to how many peers.

        Raises `SipRefused`, or an error of the look-up of its targets.
        """
        if request.method == "CANCEL":
            return await self._cancel(request)
        if request.method == "ACK":
            return 0 if self._transactions.takes(request) else await self._acknowledge(request)
        return self._transactions.begin(self._cleaned(request), await self.targets(request))

    def check(self, request: SipRequest, user: str, contact: Uri | None) -> None:
        """Raise `SipRefused` for a request that the proxy does not forward (RFC 3261, section 16.3).

        `user` and `contact` are those that the client has registered.
        """
        if request.start.rpartition(" ")[2].upper() != "SIP/2.0":
            raise SipRefused("bad_sip_version")
        if request.uri.scheme != "sip":
            raise SipRefused("bad_scheme")
        if request.hops < 1:
            raise SipRefused("too_many_hops")
        if any(map(is_own, request.values("via"))):
            raise SipRefused("loop")
        if any(map(str.strip, request.values("proxy-require"))):
            raise SipRefused("bad_extension", unsupported=", ".join(request.values("proxy-require")))
        by_contact = is_by_contact(request) and contact is not None and request.sender.uri.place == contact.place
        if request.sender.uri.user != user and not by_contact:
            raise SipRefused("wrong_from")

    def respond(self, response: SipResponse) -> bool:
        """Send a response of the client to the peer whose request it answers; False if its Via is not the relay's."""
        place = self._seal.place(response)
        if place is None:
            return False
        self._outlet.to_peer(place, response)
        return True

    async def targets(self, request: SipRequest) -> Sequence[str]:
        """Return the peers that a request is for; raise `SipRefused` (`no_such_user`, `loop`) or `no_such_peer`."""
        found = await self._location.contact(request.uri)
        known = self._contacts.get(_fingerprint(request.call, request.uri))
        if not found and known is not None:
            return [known]
        if not found and request.to.tag:
            found = await self._of_call(request)
        if not found:
            found = await self._location.user(_peer(request.uri))
        others = [peer for peer in found if peer != self._outlet.peer]
        if found and not others:
            raise SipRefused("loop")
        if not others:
            raise Refused("no_such_peer") if request.uri.host.endswith(".invalid") else SipRefused("no_such_user")
        return others[:MOST_BRANCHES]

    async def _of_call(self, request: SipRequest) -> Sequence[str]:
        """Find the contact of a call by the user in its To, where the contact is not known any more."""
        found = await self._location.user(_peer(request.to.uri))
        device = self._location.device(_peer(request.to.uri), request.uri)
        return [device] if device in found else found

    async def _cancel(self, request: SipRequest) -> int:
        """Answer a CANCEL, and forward it; raises `SipRefused` (`no_such_transaction`), or an error of the look-up."""
        if self._transactions.is_open(request):
            self._outlet.to_client(reply(request, 200))
            self._transactions.cancel(request)
            return 0
        # The worker that forwarded the INVITE has stopped; the branches follow from the request.
        try:
            targets = await self.targets(request)
        except Refused:
            raise SipRefused("no_such_transaction") from None
        self._outlet.to_client(reply(request, 200))
        forwarded = self._cleaned(request).forwarded().only(_no_via)
        for target in targets:
            self._outlet.to_peer(target, forwarded.with_via(self._seal.value(request, self._outlet.peer, target)))
        return len(targets)

    async def _acknowledge(self, request: SipRequest) -> int:
        """Forward the ACK of a call that began; it has no answer, also if it fails."""
        try:
            target, *_ = await self.targets(request)
        except Refused:
            return 0
        via = self._seal.value(request, self._outlet.peer, target)
        self._outlet.to_peer(target, self._cleaned(request).forwarded().with_via(via))
        return 1

    def _cleaned(self, request: SipRequest) -> SipRequest:
        """Return a request without the Route to the relay, credentials for it, and names that only it may give."""
        return request.only(lambda field: field.name not in _ASSERTED and not self._is_for_relay(field))

    def _is_for_relay(self, field: Field) -> bool:
        if field.name in _CREDENTIALS:
            scheme, _, parameters = read_credentials(field.value)
            return scheme != "digest" or field.name == "proxy-authorization" or parameters.get("realm") == "relay"
        if field.name != "route":
            return False
        try:
            return all(read_address(one).uri.host in self._hosts for one in split_list(field.value))
        except BadField:
            return False

    # To the client.

    def deliver_response(self, response: SipResponse, sender: str) -> None:
        """Carry a response of a member to the client."""
        self._learn(response, sender)
        if self._transactions.receive(response, sender):
            return
        # The request was forwarded by another worker, or is over.
        if response.status >= 300 and response.sequence.method == "INVITE":
            self._outlet.to_peer(sender, late_acknowledgement(response))
        if response.status != 100 and response.sequence.method != "CANCEL":
            self._outlet.to_client(response.without_via())

    def deliver_request(self, request: SipRequest, sender: str, contact: Uri) -> None:
        """Carry a request of a member to the client, whose contact this is; one for an earlier contact is refused."""
        self._learn(request, sender)
        if request.uri.place == contact.place:
            self._outlet.to_client(request)
        elif not request.to.tag or request.method in ("ACK", "CANCEL"):
            self._outlet.to_client(request.to_uri(contact.text))
        else:
            self._outlet.to_peer(sender, refusal(request, Refused("no_such_peer")))

    def _learn(self, message: SipRequest | SipResponse, sender: str) -> None:
        try:
            contacts = [read_address(one).uri for one in split_list(message.value("contact")) if one]
        except BadField:
            return
        for uri in contacts[:1]:
            key = _fingerprint(message.call, uri)
            self._contacts[key] = sender
            self._contacts.move_to_end(key)
            if len(self._contacts) > _MOST_CONTACTS:
                self._contacts.popitem(last=False)


def is_by_contact(request: SipRequest) -> bool:
    """Return whether a client may have its contact in the From of a request.

    The target of an attended transfer has been called by its contact, which is its name in that call (RFC 3891). A
    client finds a call by its tags, so such a From is nobody's name; but JsSIP shows that of a MESSAGE in no call.
    """
    within = bool(request.to.tag) and request.method != "MESSAGE"
    return within and request.sender.uri.host.endswith(".invalid")


def _fingerprint(call: str, contact: Uri) -> bytes:
    """Return a short key of a contact in a call: both are as long as a peer has made them."""
    return hashlib.blake2b(repr((call, contact.place)).encode("utf-8", "replace"), digest_size=16).digest()


def _no_via(field: Field) -> bool:
    return field.name != "via"


def _peer(uri: Uri) -> str:
    """Return the escaped name of the user in a URI; raise `SipRefused` (`no_such_user`)."""
    try:
        return escape_peer(uri.user)
    except Refused:
        raise SipRefused("no_such_user") from None
