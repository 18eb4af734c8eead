"""The settings of TURN servers whose credentials the relay makes; `Settings` has them as well."""

from typing import Annotated, Final

from relay.config.auth_settings import AuthSettings
from relay.config.declaring import setting
from relay.model.ice import MAX_URLS, parse_turn_url

MIN_TURN_SECRET: Final = 16
"""Characters of the secret: with one credential, an attacker can try all short secrets offline."""


class TurnSettings(AuthSettings, frozen=True, kw_only=True):
    """TURN servers, the secret that they share with the relay, and how long a credential lasts."""

    turn_servers: Annotated[
        tuple[str, ...],
        setting(
            "TURN servers that clients receive when they join, comma-separated, beside ice-servers; the relay makes a "
            "credential for each client, and renews it in time",
            allowed=f"up to {MAX_URLS} URLs such as turn:turn.example.com:3478?transport=udp or turns:turn.example.com",
            normalize=parse_turn_url,
            max_length=MAX_URLS,
        ),
    ] = ()
    turn_secret: Annotated[
        str,
        setting(
            "Secret that the TURN servers have as well (static-auth-secret of coturn), from which the credentials are "
            "made",
            secret=True,
            pattern=rf"^$|^[!-~]{{{MIN_TURN_SECRET},500}}$",
            allowed=f"empty, or {MIN_TURN_SECRET} to 500 printable ASCII characters without spaces, such as the output "
            "of openssl rand -hex 32",
        ),
    ] = ""
    turn_ttl: Annotated[
        int,
        setting(
            "Time for which a TURN credential is valid; connected clients get a new one after half of it",
            ge=2,
            le=2_592_000,
            consequence="the TURN server refuses the credential; calls that have begun go on",
            allowed="whole seconds, 2 to 2592000",
        ),
    ] = 86_400
