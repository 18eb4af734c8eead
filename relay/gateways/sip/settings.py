"""The settings of the SIP gateway."""

from typing import Annotated

from msgspec import Struct

from relay.config.declaring import count


class SipSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long bindings last."""

    sip_expires: Annotated[
        int,
        count(
            "Longest time (seconds) for which a SIP client registers, after which it has to register again; its "
            "binding also ends with its connection",
            ge=60,
            le=86_400,
            consequence="the answer to REGISTER has this time in place of a longer one",
        ),
    ] = 3600
