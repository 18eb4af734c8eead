"""`relay token`: makes a token."""

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from relay.cli.options import GroupedCommand, settings_options
from relay.cli.settings import fail, load_settings, token_warnings, warn
from relay.config import Settings
from relay.gateways import GATEWAYS
from relay.model.errors import NotAllowed

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_TIME: Final = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)
_MAX_KEY: Final = 65_536
"""Bytes of a file with a private key."""

_LONG: Final = 30 * 86_400
"""Seconds from which on a token is long-lived: the relay cannot withdraw one."""

_NO_KEY: Final = """\
there is no key to sign with: give the relay's secret (--auth-secret, RELAY_AUTH_SECRET or RELAY_AUTH_SECRET_FILE)
    export RELAY_AUTH_SECRET=$(openssl rand -hex 32)
or the private key that belongs to the relay's public one (--signing-key FILE)"""


def _login_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command one option for each gateway whose clients log in with something else than a token."""
    for gateway in GATEWAYS.values():
        if gateway.mint is not None:
            text = f"Make the user name and password of a {gateway.title} client for one room, instead of a token."
            command = click.option(f"--{gateway.name}", "login", flag_value=gateway.name, help=text)(command)
    return command


@click.command(cls=GroupedCommand)
@settings_options("auth_secret", "auth_audience", "auth_issuer")
@click.option("--room", "rooms", multiple=True, help="Name or pattern (with *) of a room; may be repeated.")
@click.option("--can", help="Rights in these rooms, with commas between; without this option, those of members.")
@click.option("--rules", help="Rules of rooms that the holder opens (JSON).")
@click.option(
    "--ttl", default="1h", show_default=True, help="Time until the token expires, such as 90s, 15m, 8h or 7d."
)
@click.option("--sub", help="Peer id of the holder, or a pattern (with *); without this option, any.")
@click.option("--info", help="Info about the holder (a JSON object), which the others see as vouched for.")
@click.option("--message-rate", type=int, help="Messages a second that the holder may send.")
@click.option("--rooms-limit", type=int, help="Rooms that one connection of the holder may be in.")
@click.option("--admin", is_flag=True, help="Grant all rights in all rooms.")
@click.option("--signing-key", help="File with the private key (PEM) that signs, instead of auth-secret.")
@click.option("--key-id", default="", help="Id of this key (kid), as a key set has it.")
@_login_options
def token(signing_key: str | None, key_id: str, login: str | None, **options: Any) -> None:
    """Make a token, and print it.

    It is signed with the relay's own secret, or with --signing-key. Its audience and issuer are the first ones that the
    relay takes.
    """
    names = ("auth_secret", "auth_audience", "auth_issuer")
    settings = load_settings({name: options.pop(name) for name in names}).settings
    # Imported here: the help needs none of it.
    from relay.identity.minting import mint, signing_pem, signing_secret

    if not signing_key and not settings.auth_secret:
        fail(_NO_KEY.splitlines(), status=2)
    try:
        if login is not None:
            click.echo(_login(settings, login, **options))
            return
        claims = _claims(settings, **options)
        key = signing_pem(_read(signing_key), key_id) if signing_key else signing_secret(settings.auth_secret)
        made = mint(claims, key)
    except NotAllowed as error:
        fail([str(error)], status=2)
    weak = [] if signing_key else token_warnings(settings, signs=True)
    long = claims["exp"] - time.time() > _LONG
    warn(
        [*weak, *(["ttl: the relay cannot withdraw a token before it expires; shorter ones are safer"] if long else [])]
    )
    click.echo(made)


def _login(settings: Settings, name: str, *, ttl: str, sub: str | None, rooms: Sequence[str], **_: Any) -> str:
    """Return the login of a gateway's client, as JSON; raise `NotAllowed`."""
    mint = GATEWAYS[name].mint
    if mint is None or not settings.auth_secret:
        raise NotAllowed("this login is made with the secret of the relay (--auth-secret), and with no other key")
    if len(rooms) != 1 or not sub or "*" in rooms[0] + sub:
        raise NotAllowed("this login is for one user in one room; name both (--room demo --sub alice), without *")
    return json.dumps(mint(settings.auth_secret.split()[0], rooms[0], sub, int(time.time()) + _seconds(ttl)))


def _claims(settings: Settings, *, ttl: str, admin: bool, sub: str | None, **granted: Any) -> dict[str, Any]:
    """Return the claims that the options describe; raise `NotAllowed`."""
    now = int(time.time())
    limits = {"message_rate": granted["message_rate"], "rooms": granted["rooms_limit"]}
    claims: dict[str, Any] = {
        "iat": now,
        "exp": now + _seconds(ttl),
        "aud": settings.auth_audience[0] if settings.auth_audience else None,
        "iss": settings.auth_issuer[0] if settings.auth_issuer else None,
        "sub": sub,
        "admin": admin or None,
        "rooms": _rooms(granted["rooms"], granted["can"], granted["rules"]),
        "info": _json("info", granted["info"]),
        "limits": {name: value for name, value in limits.items() if value is not None} or None,
    }
    if not admin and not claims["rooms"]:
        raise NotAllowed("the token would grant nothing; name a room (--room demo), or a pattern (--room 'team-*')")
    return {name: value for name, value in claims.items() if value is not None}


def _rooms(names: Sequence[str], can: str | None, rules: str | None) -> list[dict[str, Any]] | None:
    rights = None if can is None else [name.strip() for name in can.split(",") if name.strip()]
    grant = {"can": rights, "rules": _json("rules", rules)}
    more = {name: value for name, value in grant.items() if value is not None}
    return [{"room": name, **more} for name in names] or None


def _json(option: str, text: str | None) -> Any:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        raise NotAllowed(f"--{option} is not JSON; in a shell, write it in single quotes") from None


def _seconds(text: str) -> int:
    found = _TIME.fullmatch(text.strip())
    if found is None or not int(found[1]):
        raise NotAllowed("--ttl is a number with s, m, h or d behind it, such as 15m")
    return int(found[1]) * _UNITS[found[2]]


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_KEY)
    except OSError as error:
        raise NotAllowed(f"the file of --signing-key cannot be read: {error.strerror}") from None
