"""URLs of Redis: read strictly, so that no part of a password is taken for a host, a port or an option.

A URL is `redis://[[USER][:PASSWORD]@]HOST[:PORT][/DATABASE][?OPTION=VALUE&…]`, the same with `rediss://` for TLS, or
`unix://[[USER][:PASSWORD]@]/PATH[?db=DATABASE&…]`. Characters with a meaning in URLs are percent-encoded (RFC 3986).

`redis+sentinel://[[USER][:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…]/SERVICE[/DATABASE][?OPTION=VALUE&…]` names sentinels,
and the master that they watch; with `rediss+sentinel://`, sentinels and Redis are asked over TLS. User and password are
those of Redis; the options `sentinel_username` and `sentinel_password` are for the sentinels.

`redis+cluster://[[USER][:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][?OPTION=VALUE&…]` names some nodes of a Redis Cluster,
which tell the others; `rediss+cluster://` is the same over TLS. A cluster has no databases.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import parse_qsl, unquote

from relay.model.errors import NotAllowed

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

REDIS_URL_FORM: Final = (
    "empty, or redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]; rediss:// for TLS; unix:///PATH; "
    "redis+sentinel://HOST,HOST,HOST/SERVICE for a master that sentinels watch; redis+cluster://HOST,HOST,HOST for a "
    "Redis Cluster; rediss+sentinel:// and rediss+cluster:// for TLS"
)
"""The allowed values, for help and errors."""

_MOST_DATABASES: Final = 1_000_000
_PORT_DIGITS: Final = 5
_SENTINEL: Final = "+sentinel"
_CLUSTER: Final = "+cluster"
_SCHEMES: Final = (
    "redis", "rediss", "unix",
    f"redis{_SENTINEL}", f"rediss{_SENTINEL}", f"redis{_CLUSTER}", f"rediss{_CLUSTER}",
)  # fmt: skip
_MOST_SERVERS: Final = 16
_SERVICE: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
"""The names that Redis allows for a master in the configuration of a sentinel."""

_BROKEN_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?", re.ASCII)
_HOST_AND_PORT: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([^\[\]:]*))(?::([0-9]*))?", re.ASCII)
_FLAGS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

_COMMON: Final = frozenset({"db", "username", "password"})
_OF_SENTINELS: Final = frozenset({"sentinel_username", "sentinel_password"})
_TLS_TEXTS: Final = frozenset(
    {"ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_certfile", "ssl_ciphers", "ssl_keyfile", "ssl_password"}
)
_TLS: Final = _TLS_TEXTS | {"ssl_cert_reqs", "ssl_check_hostname"}
_KNOWN: Final = _COMMON | _TLS | _OF_SENTINELS
_SHORT_SECRET: Final = 4

_OF_OTHER_PROGRAMS: Final = frozenset(
    {
        "client_name", "decode_responses", "encoding", "encoding_errors", "family", "health_check_interval", "lib_name",
        "lib_version", "max_connections", "protocol", "retry_on_error", "retry_on_timeout", "socket_connect_timeout",
        "socket_keepalive", "socket_read_size", "socket_timeout", "timeout",
    }
)  # fmt: skip
"""Options of Redis libraries that are known by name; the relay decides about them itself."""

REDACTED: Final = "***"

Address = tuple[str, int]
"""Host and port."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """The parts of a URL; `path` is that of a unix socket, and `tls` has the options for TLS (`rediss`)."""

    scheme: str
    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: Mapping[str, str | bool] = field(default_factory=dict, repr=False)
    shown: str = ""
    """The URL without user, password and options, as it may be shown."""
    sentinels: "Sentinels | None" = None
    """The sentinels that know where Redis is, instead of `host` and `port`."""
    nodes: "tuple[Address, ...]" = ()
    """Some nodes of a Redis Cluster, instead of `host` and `port`."""

    @property
    def is_encrypted(self) -> bool:
        """Whether connections use TLS."""
        return self.scheme.startswith("rediss")


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The sentinels of a master: their addresses, its name (`service`), and how to log in to them."""

    addresses: tuple[Address, ...]
    service: str
    username: str = ""
    password: str = field(default="", repr=False)


def parse_redis_url(text: str) -> RedisUrl | None:
    """Read a URL, None for an empty text; raises `NotAllowed`, whose text has no part of the URL."""
    if not text:
        return None
    if any(character.isspace() or not character.isprintable() for character in text):
        raise NotAllowed("it has a space or a control character; in a password, a space is written %20")
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _SCHEMES:
        raise NotAllowed(
            "it does not begin with redis://, rediss://, unix://, or with redis+sentinel://, redis+cluster:// or the "
            "same with rediss (without quotes)"
        )
    if "#" in rest:
        raise NotAllowed("it has a #; in a password, # is written %23")
    if "://" in rest:
        raise NotAllowed("it has :// twice; the relay takes the URL of one server")
    head, question, query = rest.partition("?")
    authority, slash, path = head.partition("/")
    credentials, at, address = authority.rpartition("@")
    options = _options(query, scheme)
    username, password = _credentials(credentials, options, scheme)
    shown = f"{scheme}://{'***@' if at else ''}{address}{slash}{path}{'?***' if question else ''}"
    if scheme == "unix":
        if address or not path:
            raise NotAllowed(_misplaced(path) or "a URL of a unix socket is written unix:///PATH, with three slashes")
        _check_escapes(path)
        database = _number(options.get("db", "0"))
        return RedisUrl(scheme, "", 0, "/" + unquote(path), database, username, password, {}, shown)
    if scheme.endswith(_SENTINEL):
        service, _, number = path.partition("/")
        if not at and ":" in address:
            # This may be USER:PASSWORD without an @, with a / in the password.
            shown = shown.replace(f"/{path}", f"/{REDACTED}")
        sentinels = _sentinels(address, service, options)
        database = _database(number, options)
        return RedisUrl(scheme, "", 0, "", database, username, password, _tls(options), shown, sentinels)
    if scheme.endswith(_CLUSTER):
        if _database(path, options):
            raise NotAllowed("it has a database; a cluster has none but 0")
        nodes = _addresses(address, path, DEFAULT_PORT)
        return RedisUrl(scheme, "", 0, "", 0, username, password, _tls(options), shown, nodes=nodes)
    host, port = _address(address, path)
    database = _database(path, options)
    return RedisUrl(scheme, host, port, "", database, username, password, _tls(options), shown)


def check_redis_url(text: str) -> None:
    """Check the text of a setting; raises `NotAllowed` in the words of all settings with a secret."""
    try:
        parse_redis_url(text)
    except NotAllowed as error:
        raise NotAllowed(f"{REDACTED} is not allowed: {error}") from None


def secrets_of(url: str, password: str = "") -> tuple[str, ...]:
    """Return the secrets in a URL, as they are written and as they are meant, and `password`, longest first.

    Raises `NotAllowed` as `parse_redis_url` does.
    """
    parsed = parse_redis_url(url)
    found = {password}
    if parsed is not None:
        written = url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[0].partition(":")[2]
        found |= {parsed.password, written, str(parsed.tls.get("ssl_password", ""))}
        found |= {parsed.sentinels.password} if parsed.sentinels else set()
    return tuple(sorted(found - {""}, key=len, reverse=True))


def has_credentials(text: str) -> bool:
    """Whether a text may be a URL with a password, which an operator has given to another setting."""
    return "://" in text and "@" in text


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return a text with each of these secrets replaced; longer secrets must come first.

    A short secret is replaced only where it stands alone: as a part of words, it would be found everywhere.
    """
    for secret in secrets:
        alone = len(secret) < _SHORT_SECRET
        pattern = rf"(?<!\w){re.escape(secret)}(?!\w)" if alone else re.escape(secret)
        text = re.sub(pattern, REDACTED, text)
    return text


def shown_url(text: str) -> str:
    """Return a URL as it may be shown: without user, password and options, or nothing of one that is not valid."""
    try:
        parsed = parse_redis_url(text)
    except NotAllowed:
        return REDACTED
    return parsed.shown if parsed else ""


def _credentials(text: str, options: Mapping[str, str], scheme: str) -> tuple[str, str]:
    if "@" in text and scheme.endswith((_SENTINEL, _CLUSTER)):
        # Else the last server would be the only one, and all ahead of it a part of the password.
        raise NotAllowed(
            "it has several @; user and password are written once, ahead of all servers, and in a password, @ is "
            "written %40"
        )
    _check_escapes(text)
    username, _, password = text.partition(":")
    for name, value in (("username", username), ("password", password)):
        if value and name in options:
            raise NotAllowed(f"it has a {name} twice: ahead of the @, and as an option")
    return unquote(username) or options.get("username", ""), unquote(password) or options.get("password", "")


def _sentinels(addresses: str, service: str, options: Mapping[str, str]) -> Sentinels:
    """Read HOST[:PORT],… and the name of a master."""
    if "@" in service:
        raise NotAllowed(_misplaced(service))
    if not _SERVICE.fullmatch(service):
        raise NotAllowed(
            "it does not name the master that the sentinels watch: redis+sentinel://HOST,HOST,HOST/SERVICE, with the "
            "name that is in the sentinels' configuration"
        )
    found = _addresses(addresses, service, SENTINEL_PORT)
    return Sentinels(found, service, options.get("sentinel_username", ""), options.get("sentinel_password", ""))


def _addresses(text: str, path: str, default_port: int) -> tuple[Address, ...]:
    """Read HOST[:PORT] of several servers, with commas between."""
    each = text.split(",")
    if len(each) > _MOST_SERVERS:
        raise NotAllowed(f"it names more than {_MOST_SERVERS} servers")
    return tuple(_address(one, path, default_port) for one in each)


def parse_mapped_address(text: str) -> tuple[Address, Address]:
    """Read `ANNOUNCED=REACHABLE`: HOST:PORT as a node of a cluster announces it, and as workers reach it."""
    announced, _, reachable = text.partition("=")
    return _address(announced, ""), _address(reachable, "")


def _address(text: str, path: str, default_port: int = DEFAULT_PORT) -> Address:
    """Read HOST, HOST:PORT or [IPV6]:PORT; without an @, this text may be a part of a password."""
    if "," in text:
        raise NotAllowed("it names several servers; only redis+sentinel:// and redis+cluster:// do")
    found = _HOST_AND_PORT.fullmatch(text)
    if not found:
        if misplaced := _misplaced(path):
            raise NotAllowed(misplaced)
        if text.count(":") > 1:
            raise NotAllowed("its host has several colons; an IPv6 address is written in brackets, as [::1]")
        raise NotAllowed("its port is not a number from 1 to 65535; a password is followed by @HOST")
    host, port = found[1] or found[2], found[3]
    if not host:
        raise NotAllowed(_misplaced(path) or "its host is missing; it is written after the @, or after ://")
    if port and not (len(port) <= _PORT_DIGITS and 1 <= int(port) <= 65_535):
        raise NotAllowed("its port is not a number from 1 to 65535; a password is followed by @HOST")
    if not (_is_host(host) if found[2] else _is_ipv6(host)):
        raise NotAllowed("its host is not a valid host name or IP address")
    return host, int(port or default_port)


def _is_host(text: str) -> bool:
    try:
        return bool(_HOST.fullmatch(text.encode("idna").decode("ascii")))
    except UnicodeError:
        return False


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _database(path: str, options: Mapping[str, str]) -> int:
    written = path.removesuffix("/")
    if written and not re.fullmatch("[0-9]{1,7}", written, re.ASCII):
        raise NotAllowed(
            _misplaced(path) or "its database is not a number; databases have no names, and /0 is the first one"
        )
    if written and "db" in options and _number(written) != _number(options["db"]):
        raise NotAllowed("it has two databases: in the path, and as the option db")
    return _number(written or options.get("db", "0"))


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,7}", text, re.ASCII) or int(text) >= _MOST_DATABASES:
        raise NotAllowed("its database is not a number; databases have no names, and 0 is the first one")
    return int(text)


def _options(query: str, scheme: str) -> dict[str, str]:
    """Read the options; the name of an unknown one is not repeated, as it may be the rest of a password."""
    options: dict[str, str] = {}
    _check_escapes(query)
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in _OF_OTHER_PROGRAMS:
            raise NotAllowed(f"its option {name} is nothing that the relay lets a URL decide; leave it out")
        if name not in _KNOWN:
            if "@" in query:
                raise NotAllowed("it has a ? ahead of an @; in a password, ? is written %3F")
            similar = get_close_matches(name, sorted(_KNOWN), 1)
            advice = f"did you mean {similar[0]}?" if similar else f"known are {', '.join(sorted(_KNOWN))}"
            raise NotAllowed(f"it has an unknown option; {advice}")
        if name in _TLS and not scheme.startswith("rediss"):
            raise NotAllowed(f"its option {name} is for TLS, and only for URLs that begin with rediss://")
        if name in _OF_SENTINELS and not scheme.endswith(_SENTINEL):
            raise NotAllowed(
                f"its option {name} is only for URLs that begin with redis+sentinel:// or rediss+sentinel://"
            )
        if name in options:
            raise NotAllowed(f"it has the option {name} twice")
        options[name] = value
    return options


def _tls(options: Mapping[str, str]) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {name: value for name, value in options.items() if name in _TLS_TEXTS}
    if "ssl_cert_reqs" in options:
        found["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower()
        if found["ssl_cert_reqs"] not in {"none", "optional", "required"}:
            raise NotAllowed("its option ssl_cert_reqs is not none, optional or required")
    if "ssl_check_hostname" in options:
        flag = _FLAGS.get(options["ssl_check_hostname"].lower())
        if flag is None:
            raise NotAllowed("its option ssl_check_hostname is not true or false")
        found["ssl_check_hostname"] = flag
    return found


def _misplaced(path: str) -> str:
    """Return the advice if an @ follows the first slash: then the slash is most likely a part of a password."""
    return "it has a / ahead of an @; in a password, / is written %2F" if "@" in path else ""


def _check_escapes(text: str) -> None:
    if _BROKEN_ESCAPE.search(text):
        raise NotAllowed("it has a % without two hex digits after it; in a password, % is written %25")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise NotAllowed("its percent-encoded characters are not UTF-8") from None
    if "\0" in decoded:
        raise NotAllowed("it has the character %00")
