"""The settings of the XMPP gateway."""

from typing import Annotated

from msgspec import Struct

from relay.config.declaring import seconds


class XmppSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a client over BOSH may be silent."""

    bosh_inactivity: Annotated[
        float,
        seconds("Time without a request after which a client over BOSH counts as lost", ge=1, le=600),
    ] = 30.0
