"""The settings of the Socket.IO gateway."""

from typing import Annotated, Literal

from msgspec import Struct

from relay.config.declaring import setting


class SocketIOSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events clients may emit, what these mean, and where pages find the client's script."""

    socketio_events: Annotated[
        tuple[str, ...],
        setting(
            "Events that Socket.IO clients may emit, comma-separated; * for all",
            consequence="error event_not_allowed",
            allowed="a list of names",
        ),
    ] = ("*",)
    rmc_public_rooms: Annotated[
        Literal["on", "off"],
        setting(
            "Whether pages of RTCMultiConnection may list rooms by their public identifier",
            consequence="such lists are empty",
            allowed="on or off",
        ),
    ] = "off"
    rmc_admin: Annotated[
        str,
        setting(
            "User name and password of RTCMultiConnection's admin page, as NAME:PASSWORD; empty: there is none",
            secret=True,
            consequence="the admin page is refused",
            pattern=r"^$|^[^:\x00-\x20]{1,100}:[!-~]{16,200}$",
            allowed="empty, or a name and a password of 16 characters or more",
        ),
    ] = ""
    socketio_client_url: Annotated[
        str,
        setting(
            "Address of the Socket.IO client's script, to which /socket.io/socket.io.js redirects; empty for none",
            consequence="HTTP 404 no_client_script",
            pattern=r"^$|^(https?:/)?/[!-~]{1,500}$",
            allowed="empty, an http:// or https:// URL, or a path that begins with /",
        ),
    ] = ""
    socketio_application: Annotated[
        Literal["relay", "signalmaster"],
        setting(
            "Application of Socket.IO clients in the namespace / that their address gives none: relay for clients that "
            "emit events to each other, signalmaster for SimpleWebRTC"
        ),
    ] = "relay"
