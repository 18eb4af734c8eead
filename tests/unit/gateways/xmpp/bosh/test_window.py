from relay.gateways.xmpp.bosh.body import RequestBody, read_request
from relay.gateways.xmpp.bosh.window import RidPlace, Window


def request(rid: int, more: str = "") -> RequestBody:
    return read_request(f'<body rid="{rid}"{more}/>'.encode())


def test_the_places_of_requests() -> None:
    window = Window(request(10))
    assert window.place(request(11)) is RidPlace.NEXT
    assert window.place(request(12)) is RidPlace.AHEAD
    assert window.place(request(13)) is RidPlace.OUTSIDE
    assert window.place(request(10)) is RidPlace.REPEATED
    assert window.place(request(9)) is RidPlace.OUTSIDE


def test_only_an_exact_copy_of_the_last_requests_is_repeated() -> None:
    window = Window(request(10))
    for rid in (11, 12):
        window.advance(request(rid))
    assert window.last == 12
    assert window.place(request(12)) is window.place(request(11)) is RidPlace.REPEATED
    assert window.place(request(12, ' type="x"')) is RidPlace.OUTSIDE
    assert window.place(request(10)) is RidPlace.OUTSIDE
