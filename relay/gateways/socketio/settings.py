"""The settings of the Socket.IO gateway."""

from typing import Annotated

from msgspec import Struct

from relay.config.declaring import setting


class SocketIOSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events clients may emit, and where pages find the client's script."""

    socketio_events: Annotated[
        tuple[str, ...],
        setting(
            "Events that Socket.IO clients may emit, comma-separated; * for all",
            consequence="error event_not_allowed",
            allowed="a list of names",
        ),
    ] = ("*",)
    socketio_client_url: Annotated[
        str,
        setting(
            "Address of the Socket.IO client's script, to which /socket.io/socket.io.js redirects; empty for none",
            consequence="HTTP 404 no_client_script",
            pattern=r"^$|^(https?:/)?/[!-~]{1,500}$",
            allowed="empty, an http:// or https:// URL, or a path that begins with /",
        ),
    ] = ""
