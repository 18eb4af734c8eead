"""The settings of tokens; `Settings` has them as well."""

from typing import Annotated, Final, Literal

from relay.config.declaring import seconds, setting
from relay.config.http_settings import HttpSettings
from relay.config.key_place import check_place
from relay.identity.claims import parse_rooms

MIN_SECRET: Final = 32
"""Bytes of a secret: HS256 needs as many as its hash has (RFC 7518, section 3.2)."""

_SECRET: Final = rf"[!-~]{{{MIN_SECRET},500}}"


_FEW_CHARACTERS: Final = 10


def weakness(secret: str) -> str:
    """Say why a secret that is long enough can be guessed from a token, "" if nothing shows it."""
    if len(set(secret)) < _FEW_CHARACTERS:
        return f"has only {len(set(secret))} different characters; make one with openssl rand -hex 32"
    return ""


class AuthSettings(HttpSettings, frozen=True, kw_only=True):
    """Which tokens the relay asks for, and which keys prove them."""

    auth: Annotated[
        Literal["off", "optional", "required"],
        setting(
            "Whether clients need a token that says what they may do; optional: a client without a token has the "
            "rights of members, and a client with one only the rights that it grants; off: tokens are not read",
        ),
    ] = "off"
    auth_secret: Annotated[
        str,
        setting(
            "Secret with which your application's server signs tokens (HS256; HS384 and HS512 need 48 and 64 bytes). "
            "Older secrets may follow, whose tokens the relay accepts as well",
            secret=True,
            pattern=rf"^$|^{_SECRET}( {_SECRET}){{0,2}}$",
            allowed=f"empty, or up to 3 secrets with one space between, each of {MIN_SECRET} to 500 printable ASCII "
            "characters, such as the output of openssl rand -hex 32",
        ),
    ] = ""
    auth_key: Annotated[
        str,
        setting(
            "Public keys or certificates (PEM) that prove tokens signed with RS256, PS256, ES256, EdDSA and the like; "
            "or their file, which is read again when it changes",
            allowed="PEM text that begins with -----BEGIN, or the path of a file",
        ),
    ] = ""
    auth_jwks: Annotated[
        str,
        setting(
            "JSON Web Key Set whose keys prove tokens: its file, which is read again when it changes; or its URL, "
            "which is fetched every five minutes, and sooner when a token names another key",
            allowed="the path of a file, an https:// URL, or an http:// URL of this machine",
            check=check_place,
        ),
    ] = ""
    auth_audience: Annotated[
        tuple[str, ...],
        setting(
            "Audiences of which a token must name one (claim aud), comma-separated; empty: tokens that name any are "
            "refused, as they are for other programs",
            allowed="a list of texts",
        ),
    ] = ()
    auth_issuer: Annotated[
        tuple[str, ...],
        setting(
            "Issuers of which one must have made a token (claim iss), comma-separated; empty: any",
            allowed="a list of texts",
        ),
    ] = ()
    auth_leeway: Annotated[
        float,
        seconds("Difference between the clocks of the relay and of the servers that make tokens", ge=0, le=300),
    ] = 10.0
    auth_default_rooms: Annotated[
        str,
        setting(
            "Rooms and rights of tokens without the claim rooms, such as those of a general issuer; empty: they grant "
            "nothing",
            allowed='names and patterns with commas between, or JSON as in the claim: [{"room":"*","can":["join"]}]',
            check=parse_rooms,
        ),
    ] = ""
    url_tokens: Annotated[
        Literal["on", "off"],
        setting(
            "Whether the query of an address may have a token (?token=), for clients that can send it in no other way; "
            "addresses appear in the logs of proxies and in the history of browsers"
        ),
    ] = "off"
