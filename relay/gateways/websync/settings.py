"""The settings of the WebSync gateway."""

from typing import Annotated

from msgspec import Struct

from relay.config.declaring import seconds, setting
from relay.gateways.websync.channels import MAX_CHANNEL, is_ordinary


def _check_channel(text: str) -> None:
    if not is_ordinary(text):
        raise ValueError("not a channel")


class WebSyncSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The channel that WebSync pages share with all other clients, and how long their polls wait."""

    websync_channel: Annotated[
        str,
        setting(
            "WebSync channel on which pages exchange messages with clients of other protocols",
            check=_check_channel,
            allowed=f"/NAME of at most {MAX_CHANNEL} bytes; not below /meta, /service or /fm",
        ),
    ] = "/chat"
    websync_timeout: Annotated[
        float,
        seconds("Time for which a poll of a WebSync client waits for messages", ge=0.1, le=60),
    ] = 25.0
