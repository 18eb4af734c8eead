"""The settings of the PeerJS gateway."""

from typing import Annotated, Literal

from msgspec import Struct

from relay.config.declaring import setting


class PeerJSSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether clients may list the peers of a room."""

    peerjs_discovery: Annotated[
        Literal["on", "off"],
        setting(
            "Whether PeerJS clients may list the peers of a room (listAllPeers); the request has no id and no token, "
            "so that without auth anybody may",
            consequence="HTTP 401 discovery_off, on which PeerJS ends the peer",
        ),
    ] = "off"
