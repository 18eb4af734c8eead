"""Every setting, declared once: its default, what is allowed, and what it means.

A setting is a field of `Settings`; its flag is `--like-this`, its variable `RELAY_LIKE_THIS`. A flag wins over a
variable, a variable over the default. A secret may stand in a file that `RELAY_LIKE_THIS_FILE` names, so that neither a
process list nor an environment shows it. A limit names its consequence. The README's table is made from this.
"""

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal, NamedTuple, get_type_hints
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Meta, Struct

from relay.model.ice import parse_ice_servers

VARIABLE_PREFIX: Final = "RELAY_"

Seconds = float

ReadSecret = Callable[[str], str]
"""Returns the secret in a file; raises OSError, or ValueError with a text that goes on from "the file"."""


def _what(text: str, *, consequence: str = "", secret: bool = False, allowed: str = "", **bounds: Any) -> Meta:
    extra = {"consequence": consequence, "secret": secret, "allowed": allowed}
    return Meta(description=text, extra=extra, **bounds)


def _seconds(text: str, *, ge: float = 0.05, le: float = 86_400, consequence: str = "") -> Meta:
    return _what(text, ge=ge, le=le, consequence=consequence, allowed=f"seconds, {ge:g} to {le:g}")


def _count(text: str, *, ge: int = 1, le: int = 10_000_000, consequence: str = "") -> Meta:
    return _what(text, ge=ge, le=le, consequence=consequence, allowed=f"a whole number, {ge} to {le}")


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one relay process; durations are in seconds, sizes in bytes."""

    host: Annotated[str, _what("Address to listen on; 0.0.0.0 for all")] = "127.0.0.1"
    port: Annotated[int, _count("Port to listen on; 0 picks a free one", ge=0, le=65_535)] = 8888
    redis_url: Annotated[
        str,
        _what(
            "Redis to meet other workers in; empty for one process on its own",
            secret=True,
            pattern=r"^$|^(redis|rediss|unix)://.+",
            allowed="empty, or a URL that begins with redis://, rediss:// or unix://",
        ),
    ] = ""
    redis_password: Annotated[str, _what("Password for Redis, where its URL has none", secret=True)] = ""
    workers: Annotated[int, _count("Worker processes behind the port", le=256)] = 1
    tls_cert: Annotated[str, _what("Certificate file (PEM), for wss:// and https://")] = ""
    tls_key: Annotated[str, _what("Private key file (PEM) of the certificate")] = ""
    admin_host: Annotated[str, _what("Address of the admin port")] = "127.0.0.1"
    admin_port: Annotated[int, _count("Port for /metrics and /health alone; 0 for none", ge=0, le=65_535)] = 0
    admin_token: Annotated[
        str,
        _what(
            "Bearer token for room lists and for publishing over HTTP",
            secret=True,
            pattern=r"^[!-~]*$",
            allowed="printable ASCII without spaces",
        ),
    ] = ""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _what("How much to log")] = "info"
    log_format: Annotated[Literal["text", "json"], _what("How to log")] = "text"
    worker_id: Annotated[
        str,
        _what(
            "Name of this worker in logs and in Redis; empty for host name and process id",
            pattern=r"^[A-Za-z0-9._-]{0,64}$",
            allowed="up to 64 letters, digits and . _ -",
        ),
    ] = ""
    redis_prefix: Annotated[
        str,
        _what(
            "First part of every Redis key and channel",
            pattern=r"^[A-Za-z0-9._:-]{1,32}$",
            allowed="1 to 32 letters, digits and . _ : -",
        ),
    ] = "relay"
    default_room: Annotated[
        str, _what("The room at /", pattern=r"^[A-Za-z0-9._-]{1,64}$", allowed="1 to 64 letters, digits and . _ -")
    ] = "default"
    allowed_origins: Annotated[
        tuple[str, ...],
        _what("Origins whose pages may connect, comma-separated; * for all", allowed="a list of origins"),
    ] = ("*",)
    trusted_proxies: Annotated[
        tuple[str, ...],
        _what(
            "Addresses or networks whose X-Forwarded-For and -Proto are believed, comma-separated",
            allowed="a list of addresses and networks, such as 10.0.0.0/8",
        ),
    ] = ()

    pages: Annotated[Literal["on", "off"], _what("The page at / and the demo at /demo")] = "on"
    public_url: Annotated[
        str,
        _what(
            "Where browsers find this relay, for the page at /; empty for where the page was asked for",
            pattern=r"^$|^https?://([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]{0,200})?$",
            allowed="empty, or an http:// or https:// URL without a query",
        ),
    ] = ""
    ice_servers: Annotated[
        str,
        _what(
            "STUN and TURN servers that joined clients are told of",
            secret=True,
            allowed="a JSON list as RTCPeerConnection takes it, or stun: URLs with commas between",
        ),
    ] = ""
    socketio_events: Annotated[
        tuple[str, ...],
        _what(
            "Events that Socket.IO clients may emit, comma-separated; * for all",
            consequence="error event_not_allowed",
            allowed="a list of names",
        ),
    ] = ("*",)
    socketio_client_url: Annotated[
        str,
        _what(
            "Where /socket.io/socket.io.js sends pages for the Socket.IO client's script; empty for nowhere",
            consequence="HTTP 404 no_client_script",
            pattern=r"^$|^(https?:/)?/[!-~]{1,500}$",
            allowed="empty, an http:// or https:// URL, or a path that begins with /",
        ),
    ] = ""

    max_message: Annotated[
        int,
        _count("Bytes of one message", ge=256, le=16_777_216, consequence="error too_large; 16 times this: close 1009"),
    ] = 65_536
    message_rate: Annotated[
        float,
        _what(
            "Messages a second from one connection",
            ge=0.1,
            le=1e6,
            consequence="error too_fast, then close 4002",
            allowed="a number, 0.1 to 1000000",
        ),
    ] = 200
    message_burst: Annotated[int, _count("Messages at once from one connection", consequence="as message_rate")] = 400
    send_buffer: Annotated[
        int, _count("Bytes waiting for one reader", ge=1024, le=1_073_741_824, consequence="close 4000")
    ] = 1_048_576
    max_inflight_publishes: Annotated[
        int, _count("Publishes of one connection waiting for Redis", consequence="its reading pauses")
    ] = 64
    publish_queue: Annotated[
        int, _count("Publishes of one worker waiting while Redis is away", consequence="error unavailable")
    ] = 1000
    rooms_per_connection: Annotated[
        int, _count("Rooms one connection may be in", consequence="error too_many_rooms")
    ] = 32
    channels_per_room: Annotated[
        int, _count("Channels one connection may listen to in a room", consequence="error too_many_channels")
    ] = 128
    members_per_room: Annotated[int, _count("Members of one room", consequence="error room_full, close 4004")] = 10_000
    presence_list_limit: Annotated[
        int, _count("Members listed by name; the count is exact", consequence="a shorter list")
    ] = 100
    max_connections: Annotated[int, _count("Connections of one worker", consequence="HTTP 503 worker_full")] = 50_000
    connections_per_address: Annotated[
        int, _count("Connections of one worker from one address", consequence="HTTP 429 too_many_connections")
    ] = 2000
    handshake_rate: Annotated[
        int, _count("Handshakes a second from one address", consequence="HTTP 429 too_many_handshakes")
    ] = 500

    handshake_timeout: Annotated[
        float, _seconds("Time to complete a request's head", consequence="the connection is dropped")
    ] = 10.0
    ping_interval: Annotated[float, _seconds("Between pings to a client")] = 25.0
    ping_timeout: Annotated[float, _seconds("Time for a client's pong", consequence="close 4001")] = 20.0
    publish_timeout: Annotated[
        float, _seconds("Time for Redis to take a message", consequence="error unavailable or outcome_unknown")
    ] = 5.0
    probe_timeout: Annotated[
        float, _seconds("A worker that has not heard itself through Redis for this long is not ready", ge=0.3)
    ] = 3.0
    worker_lease: Annotated[float, _seconds("A worker silent for this long is dead", ge=0.5)] = 10.0
    reconnect_grace: Annotated[
        float, _seconds("A lost connection's place is held for this long; 0 for not at all", ge=0)
    ] = 15.0
    presence_ttl: Annotated[float, _seconds("What a fleet that dies whole leaves in Redis goes after this", ge=2)] = (
        3600.0
    )
    sequence_ttl: Annotated[float, _seconds("A silent room's sequence is kept for this long", ge=2, le=31_536_000)] = (
        3600.0
    )
    history_size: Annotated[
        int,
        _count(
            "Events of one room kept for those who come back; 0 for none",
            ge=0,
            le=1_000_000,
            consequence="recovered: false, reason trimmed",
        ),
    ] = 1000
    history_ttl: Annotated[
        float,
        _seconds(
            "Events and repeat keys of a silent room are kept for this long",
            ge=1,
            consequence="recovered: false, reason trimmed",
        ),
    ] = 120.0
    drain_delay: Annotated[
        float, _seconds("A stopping worker is not ready for this long before it closes connections", ge=0, le=3600)
    ] = 0.0
    drain_rate: Annotated[int, _count("Connections a stopping worker closes a second, or more if time is short")] = 1000
    drain_timeout: Annotated[float, _seconds("Time for connections to close when the worker stops", le=3600)] = 10.0


class Setting(NamedTuple):
    """One declaration, as text: for help, error messages and the README."""

    name: str
    default: Any
    description: str
    allowed: str
    consequence: str
    secret: bool

    @property
    def flag(self) -> str:
        """`--like-this`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """`RELAY_LIKE_THIS`."""
        return VARIABLE_PREFIX + self.name.upper()

    @property
    def file_variable(self) -> str:
        """`RELAY_LIKE_THIS_FILE`: names the file that holds a secret; empty for what is none."""
        return f"{self.variable}_FILE" if self.secret else ""


class SettingsError(Exception):
    """One or more settings are wrong; the lines name each setting, its source, its value and what is allowed."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def declared() -> Iterator[Setting]:
    """Every setting, in the order of declaration."""
    hints = get_type_hints(Settings, include_extras=True)
    for field in msgspec.structs.fields(Settings):
        kind, meta = hints[field.name].__origin__, hints[field.name].__metadata__[0]
        choices = " or ".join(getattr(kind, "__args__", ())) if kind not in (tuple[str, ...],) else ""
        yield Setting(
            name=field.name,
            default=field.default,
            description=meta.description,
            allowed=meta.extra["allowed"] or choices or "text",
            consequence=meta.extra["consequence"],
            secret=meta.extra["secret"],
        )


def _no_files(path: str) -> str:
    raise ValueError("is not read here")


def load(
    flags: Mapping[str, str], environ: Mapping[str, str], read_secret: ReadSecret = _no_files
) -> tuple[Settings, dict[str, str]]:
    """Read settings from flags (name → text) over variables, and files that variables name, over defaults.

    Returns the settings and where each came from: the flag, the variable, or "default". Raises `SettingsError`.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    known = list(declared())
    for setting in known:
        try:
            text, sources[setting.name] = _find(setting, flags, environ, read_secret)
            if text is not None:
                values[setting.name] = _convert(setting, text, sources[setting.name])
        except _Problem as problem:
            problems.append(str(problem))
    variables = {variable for setting in known for variable in (setting.variable, setting.file_variable)}
    problems += [
        f"{name}: there is no such setting; `relay config` lists them all"
        for name in sorted(environ)
        if name.startswith(VARIABLE_PREFIX) and name not in variables
    ]
    if not problems:
        settings = Settings(**values)
        problems = _contradictions(settings)
    if problems:
        raise SettingsError(problems)
    return settings, sources


def masked(setting: Setting, value: object) -> str:
    """A value as it may be shown; of a Redis URL only the user and password are hidden."""
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    if not setting.secret or not text:
        return text
    if setting.name != "redis_url":
        return "***"
    scheme, _, rest = text.partition("://")
    rest, query, _ = rest.partition("?")
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{place if at else credentials or place}{'?***' if query else ''}"


class _Problem(Exception):
    """What is wrong with one setting, as the operator is told."""


def _find(
    setting: Setting, flags: Mapping[str, str], environ: Mapping[str, str], read_secret: ReadSecret
) -> tuple[str | None, str]:
    """A setting's text, None where the default stands, and where it came from."""
    in_file = bool(setting.file_variable) and setting.file_variable in environ
    if in_file and setting.variable in environ:
        raise _Problem(f"{setting.name}: {setting.variable} and {setting.file_variable} are both set; leave one out")
    if setting.name in flags:
        return flags[setting.name], setting.flag
    if setting.variable in environ:
        return environ[setting.variable], setting.variable
    if not in_file:
        return None, "default"
    path = environ[setting.file_variable]
    try:
        return read_secret(path), setting.file_variable
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise _Problem(f"{setting.name} (from {setting.file_variable}): the file {path!r} {reason}") from None


def _convert(setting: Setting, text: str, source: str) -> Any:
    kind = get_type_hints(Settings, include_extras=True)[setting.name]
    try:
        if setting.name == "ice_servers":
            parse_ice_servers(text)
        if kind.__origin__ != tuple[str, ...]:
            return msgspec.convert(text, kind, strict=False)
        items = tuple(item.strip() for item in text.split(",") if item.strip())
        if setting.name == "trusted_proxies":
            for item in items:
                ip_network(item)
        return items
    except (msgspec.ValidationError, ValueError):
        shown = "***" if setting.secret else repr(text)
        raise _Problem(f"{setting.name} (from {source}): {shown} is not allowed; allowed: {setting.allowed}") from None


def _contradictions(settings: Settings) -> list[str]:
    problems = []
    if settings.workers > 1 and not settings.redis_url:
        problems.append(
            f"workers: {settings.workers} is not allowed without Redis: workers meet only there; "
            "give --redis-url redis://localhost:6379 (or RELAY_REDIS_URL), or --workers 1"
        )
    if settings.redis_password and _has_password(settings.redis_url):
        problems.append("redis_password: the Redis URL has a password already; leave one out")
    if bool(settings.tls_cert) != bool(settings.tls_key):
        missing = "tls_key" if settings.tls_cert else "tls_cert"
        problems.append(f"{missing}: is missing; tls_cert and tls_key go together")
    if settings.admin_port and settings.admin_port == settings.port:
        problems.append(f"admin_port: {settings.admin_port} is not allowed: it is the port itself")
    if settings.presence_ttl <= max(settings.worker_lease, settings.reconnect_grace):
        problems.append(
            "presence_ttl: must be longer than worker_lease and reconnect_grace, or live members are forgotten"
        )
    if settings.history_size and settings.history_ttl < settings.reconnect_grace:
        problems.append(
            "history_ttl: must not be shorter than reconnect_grace, or those who come back in time are told of a loss"
        )
    if settings.sequence_ttl < settings.presence_ttl:
        problems.append("sequence_ttl: must not be shorter than presence_ttl, or live rooms lose their sequence")
    return problems


def _has_password(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.password is not None or "password" in parse_qs(parts.query)
    except ValueError:
        return False
