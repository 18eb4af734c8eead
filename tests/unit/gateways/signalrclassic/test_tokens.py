import pytest

from relay.fleet_key import FleetKey
from relay.gateways.signalrclassic.errors import ClassicRefused
from relay.gateways.signalrclassic.tokens import ConnectionTokens
from relay.ids import IdGenerator
from relay.model.workers import LocalWorkers
from relay.session_ids import SessionIds

SECRET = "0123456789abcdef0123456789abcdef"


def tokens(secret: str = SECRET) -> ConnectionTokens:
    key = FleetKey([secret])
    return ConnectionTokens(key, SessionIds(key, LocalWorkers().owner, IdGenerator()))


def test_any_worker_of_the_fleet_reads_the_place() -> None:
    text = tokens().issue("a%20room", "peer%C3%A9")
    place = tokens().read(text, "a%20room")
    assert (place.room, place.peer, place.resume) == ("a%20room", "peer%C3%A9", text.partition(".")[0])
    assert len(place.resume) == 44
    assert tokens().issue("room", "peer") != tokens().issue("room", "peer")


def test_a_token_is_for_one_room_and_one_peer_and_of_one_fleet() -> None:
    mine, other = tokens().issue("room", "mine"), tokens().issue("room", "other")
    key, peer, mac = mine.split(".")
    _, other_peer, other_mac = other.split(".")
    forged = [
        "",
        ".",
        "..",
        mine + "x",
        f"{key}.{other_peer}.{mac}",
        f"{key}.{other_peer}.{other_mac}",
        f"{key}.{peer}.",
    ]
    forged += [f"{key}.{peer}.{mac}.", f"é.{peer}.{mac}", f"{key}.é.{mac}", f"{key}.{peer}.{mac[:-1]}", "x" * 5000]
    for text in forged:
        with pytest.raises(ClassicRefused, match="bad_connection_token"):
            tokens().read(text, "room")
    with pytest.raises(ClassicRefused):
        tokens().read(mine, "room-2")
    with pytest.raises(ClassicRefused):
        tokens("another-secret-0123456789abcdef-another").read(mine, "room")
