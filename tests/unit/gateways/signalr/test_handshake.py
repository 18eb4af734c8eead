import pytest

from relay.gateways.signalr.handshake import MAX_HANDSHAKE, read_handshake
from relay.gateways.signalr.messages import BadHubMessage
from relay.gateways.signalr.protocols import JSON_PROTOCOL, PACKED_PROTOCOL
from relay.model.errors import Refused


@pytest.mark.parametrize("version", [0, 1, 2])
def test_all_versions_up_to_the_newest_are_known(version: int) -> None:
    text = b'{"protocol":"json","version":%d}\x1e' % version
    assert read_handshake(text) == (JSON_PROTOCOL, b"")


def test_a_handshake_chooses_the_protocol_and_may_share_its_frame() -> None:
    assert read_handshake(b'{"protocol":"json","version":1}\x1e') == (JSON_PROTOCOL, b"")
    assert read_handshake(b'{"version":2,"protocol":"messagepack"}\x1e\x02\x91\x06') == (
        PACKED_PROTOCOL,
        b"\x02\x91\x06",
    )


@pytest.mark.parametrize("text", ['{"protocol":"blazor","version":1}', '{"protocol":"json","version":3}'])
def test_other_protocols_are_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        read_handshake(text.encode() + b"\x1e")
    assert refused.value.code == "bad_protocol"


MALFORMED = [
    b"", b"\x1e", b"{}\x1e", b'{"protocol":"json"}\x1e', b'{"protocol":"json","version":"1"}\x1e', b"\x02\x91\x06",
    b'{"protocol":"json","version":1}', b'{"protocol":"\xff","version":1}\x1e', b" " * MAX_HANDSHAKE + b"\x1e",
    b'{"protocol":"json","version":1,"x":' + b"[" * 2000 + b"]" * 2000 + b"}\x1e",
]  # fmt: skip


@pytest.mark.parametrize("data", MALFORMED)
def test_malformed_handshakes(data: bytes) -> None:
    with pytest.raises(BadHubMessage):
        read_handshake(data)
