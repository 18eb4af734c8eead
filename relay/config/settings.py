"""Every setting, declared once: its default, the values it may have, and its meaning.

A setting is a field of `Settings`. Its flag is `--like-this` and its variable `RELAY_LIKE_THIS`. A secret may also be
in a file that `RELAY_LIKE_THIS_FILE` names, so that neither a process list nor an environment shows it.

To add a setting: add a field here, and its name to a group in `relay/cli/options.py`. The flag, the variable, the
help and the table in docs/settings.md follow from the declaration.
"""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, NamedTuple, get_type_hints

import msgspec
from msgspec import Meta, Struct

VARIABLE_PREFIX: Final = "RELAY_"

_LEAST_BURST: Final = 10
"""Messages that a connection may always send at once: a client that joins sends several commands in a row."""

_LISTEN: Final = re.compile(r"(?:(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]{1,253})):)?([0-9]{1,5})")


class ListenAddress(NamedTuple):
    """Where to listen."""

    host: str
    port: int


def parse_listen(text: str) -> ListenAddress | None:
    """Read `PORT`, `HOST:PORT` or `[IPV6]:PORT`; the host is 127.0.0.1 if left out. None for an empty text.

    Raises ValueError for anything else.
    """
    if not text:
        return None
    found = _LISTEN.fullmatch(text)
    if not found or not 1 <= int(found[3]) <= 65_535:
        raise ValueError("not an address to listen on")
    return ListenAddress(found[1] or found[2] or "127.0.0.1", int(found[3]))


def to_flag(name: str) -> str:
    """Return the flag of a setting: `--like-this`."""
    return "--" + name.replace("_", "-")


def to_variable(name: str) -> str:
    """Return the environment variable of a setting: `RELAY_LIKE_THIS`."""
    return VARIABLE_PREFIX + name.upper()


def _setting(text: str, *, consequence: str = "", secret: bool = False, allowed: str = "", **bounds: Any) -> Meta:
    """Describe a setting. `consequence` says what happens when a limit is exceeded, `allowed` what `bounds` mean."""
    extra = {"consequence": consequence, "secret": secret, "allowed": allowed}
    return Meta(description=text, extra=extra, **bounds)


def _seconds(text: str, *, ge: float = 0.05, le: float = 86_400, consequence: str = "") -> Meta:
    return _setting(text, ge=ge, le=le, consequence=consequence, allowed=f"seconds, {ge:.9g} to {le:.9g}")


def _count(text: str, *, ge: int = 1, le: int = 10_000_000, consequence: str = "") -> Meta:
    return _setting(text, ge=ge, le=le, consequence=consequence, allowed=f"a whole number, {ge} to {le}")


def _size(text: str, *, ge: int, le: int, consequence: str) -> Meta:
    return _setting(text, ge=ge, le=le, consequence=consequence, allowed=f"bytes, {ge} to {le}")


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one relay process. Durations are in seconds, sizes in bytes."""

    # Where the relay listens.

    host: Annotated[str, _setting("Address to listen on; 0.0.0.0 listens on all")] = "127.0.0.1"
    port: Annotated[int, _count("Port to listen on; 0 picks a free one", ge=0, le=65_535)] = 8888
    workers: Annotated[int, _count("Number of worker processes behind the port", le=256)] = 1
    tls_cert: Annotated[str, _setting("Certificate file (PEM), for wss:// and https://")] = ""
    tls_key: Annotated[str, _setting("Private key file (PEM) of the certificate")] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        _setting(
            "Addresses or networks of load balancers, comma-separated; the relay believes their X-Forwarded-For and "
            "X-Forwarded-Proto headers",
            allowed="a list of addresses and networks, such as 10.0.0.0/8",
        ),
    ] = ()

    # Redis.

    redis_url: Annotated[
        str,
        _setting(
            "URL of the Redis server through which workers exchange messages; empty for a single process without Redis",
            secret=True,
            pattern=r"^$|^(redis|rediss|unix)://.+",
            allowed="empty, or a URL that begins with redis://, rediss:// or unix://",
        ),
    ] = ""
    redis_password: Annotated[str, _setting("Password for Redis, if its URL has none", secret=True)] = ""
    redis_prefix: Annotated[
        str,
        _setting(
            "First part of the name of every Redis key and channel",
            pattern=r"^[A-Za-z0-9._:-]{1,32}$",
            allowed="1 to 32 letters, digits and . _ : -",
        ),
    ] = "relay"
    publish_timeout: Annotated[
        float,
        _seconds("Time within which Redis must take a message", consequence="error unavailable or outcome_unknown"),
    ] = 5.0
    probe_timeout: Annotated[
        float,
        _seconds(
            "A worker is not ready when none of its own probes has come back through Redis for this time",
            ge=0.3,
            consequence="/health answers 503",
        ),
    ] = 3.0
    worker_lease: Annotated[
        float,
        _seconds(
            "A worker that has not renewed its lease in Redis for this time counts as dead",
            ge=0.5,
            consequence="another worker takes over its members",
        ),
    ] = 10.0
    room_state_ttl: Annotated[
        float,
        _seconds(
            "Redis deletes the state of a room (members, message counter) when no worker has renewed it for this time: "
            "the room has no members and no messages, or all workers are dead",
            ge=2,
            le=31_536_000,
            consequence="the room begins a new epoch",
        ),
    ] = 3600.0

    # Operation.

    admin_listen: Annotated[
        str,
        _setting(
            "Address for /metrics and /health alone; empty for none. The public port then has no /metrics",
            allowed="empty, PORT, HOST:PORT or [IPV6]:PORT; HOST is 127.0.0.1 if left out",
        ),
    ] = ""
    admin_token: Annotated[
        str,
        _setting(
            "Bearer token for the list of rooms and for publishing over HTTP",
            secret=True,
            pattern=r"^[!-~]*$",
            allowed="printable ASCII without spaces",
        ),
    ] = ""
    fleet_secret: Annotated[
        str,
        _setting(
            "Secret from which all workers of a fleet derive their keys; empty: the workers make one, and share it "
            "through Redis. Older secrets may follow, which workers accept and do not use",
            secret=True,
            pattern=r"^$|^[!-~]{32,500}( [!-~]{32,500}){0,2}$",
            allowed="empty, or up to 3 secrets with one space between, each of 32 to 500 printable ASCII characters",
        ),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _setting("Least important messages that are logged")
    ] = "info"
    log_format: Annotated[Literal["text", "json"], _setting("Format of the log")] = "text"
    worker_id: Annotated[
        str,
        _setting(
            "Name of this worker in logs and in Redis; empty for host name and process id",
            pattern=r"^[A-Za-z0-9._-]{0,64}$",
            allowed="up to 64 letters, digits and . _ -",
        ),
    ] = ""
    drain_delay: Annotated[
        float,
        _seconds(
            "A worker that stops reports that it is not ready for this time before it closes connections",
            ge=0,
            le=3600,
        ),
    ] = 0.0
    drain_timeout: Annotated[float, _seconds("Time in which a worker that stops closes its connections", le=3600)] = (
        10.0
    )

    # Pages and browsers.

    allowed_origins: Annotated[
        tuple[str, ...],
        _setting(
            "Origins whose pages may connect, comma-separated; * for all",
            allowed="a list of origins",
            consequence="HTTP 403 bad_origin",
        ),
    ] = ("*",)
    pages: Annotated[Literal["on", "off"], _setting("Whether the relay serves a page at / and a demo at /demo")] = "on"
    public_url: Annotated[
        str,
        _setting(
            "URL of this relay as browsers reach it, shown on the page at /; empty for the URL of the request",
            pattern=r"^$|^https?://([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]{0,200})?$",
            allowed="empty, or an http:// or https:// URL without a query",
        ),
    ] = ""
    ice_servers: Annotated[
        str,
        _setting(
            "STUN and TURN servers that clients receive when they join",
            secret=True,
            allowed="a JSON list as RTCPeerConnection takes it, or stun: URLs with commas between",
        ),
    ] = ""
    socketio_events: Annotated[
        tuple[str, ...],
        _setting(
            "Events that Socket.IO clients may emit, comma-separated; * for all",
            consequence="error event_not_allowed",
            allowed="a list of names",
        ),
    ] = ("*",)
    socketio_client_url: Annotated[
        str,
        _setting(
            "Address of the Socket.IO client's script, to which /socket.io/socket.io.js redirects; empty for none",
            consequence="HTTP 404 no_client_script",
            pattern=r"^$|^(https?:/)?/[!-~]{1,500}$",
            allowed="empty, an http:// or https:// URL, or a path that begins with /",
        ),
    ] = ""

    # Rooms.

    default_room: Annotated[
        str,
        _setting(
            "Room of clients that connect to /",
            pattern=r"^[A-Za-z0-9._-]{1,64}$",
            allowed="1 to 64 letters, digits and . _ -",
        ),
    ] = "default"
    members_per_room: Annotated[int, _count("Members of one room", consequence="error room_full, close 4004")] = 10_000
    observers_per_room: Annotated[
        int, _count("Observers of one room on one worker", consequence="error too_many_observers, close 4004")
    ] = 1000
    presence_list_limit: Annotated[
        int, _count("Members listed by name in a member list", consequence="a shorter list with the exact count")
    ] = 100
    reconnect_grace: Annotated[
        float,
        _seconds(
            "Time for which a member that lost its connection is held, so that it can reconnect; 0 holds no members",
            ge=0,
            consequence="the member leaves the room",
        ),
    ] = 15.0
    history_size: Annotated[
        int,
        _count(
            "Events of one room that are stored for clients that reconnect; 0 stores none",
            ge=0,
            le=1_000_000,
            consequence="recovered: false, reason trimmed",
        ),
    ] = 1000
    history_ttl: Annotated[
        float,
        _seconds(
            "Time for which the events and message keys of a room are stored after its last message",
            ge=1,
            consequence="recovered: false, reason trimmed",
        ),
    ] = 120.0

    # Limits of one connection.

    max_message: Annotated[
        int,
        _size(
            "Size of one message",
            ge=256,
            le=16_777_216,
            consequence="error too_large; beyond 16 times the limit, close 1009",
        ),
    ] = 65_536
    message_rate: Annotated[
        float,
        _setting(
            "Messages a second from one connection, on average; it may send twice as many (at least 10) at once",
            ge=0.1,
            le=1e6,
            consequence="error too_fast, then close 4002",
            allowed="a number, 0.1 to 1000000",
        ),
    ] = 200
    send_buffer: Annotated[
        int,
        _size(
            "Size of the data that waits to be sent to one client", ge=1024, le=1_073_741_824, consequence="close 4000"
        ),
    ] = 1_048_576
    max_inflight_publishes: Annotated[
        int,
        _count(
            "Messages from one connection that wait for Redis to take them",
            consequence="the relay stops reading from the connection for a while",
        ),
    ] = 64
    rooms_per_connection: Annotated[
        int, _count("Rooms of which one connection may be a member", consequence="error too_many_rooms")
    ] = 32
    channels_per_room: Annotated[
        int,
        _count("Channels to which one connection may subscribe in a room", consequence="error too_many_channels"),
    ] = 128
    ping_interval: Annotated[float, _seconds("Time between two pings to a client")] = 25.0
    ping_timeout: Annotated[
        float, _seconds("Time within which a client must answer a ping", consequence="close 4001")
    ] = 20.0

    # Limits of one worker and of one address.

    max_connections: Annotated[int, _count("Connections of one worker", consequence="HTTP 503 worker_full")] = 50_000
    connections_per_address: Annotated[
        int, _count("Connections of one worker from one address", consequence="HTTP 429 too_many_connections")
    ] = 2000
    handshake_rate: Annotated[
        int, _count("Handshakes a second from one address", consequence="HTTP 429 too_many_handshakes")
    ] = 500
    handshake_timeout: Annotated[
        float,
        _seconds("Time within which the head of a request must arrive", consequence="the relay drops the connection"),
    ] = 10.0

    @property
    def message_burst(self) -> float:
        """Messages that one connection may send at once."""
        return max(_LEAST_BURST, 2 * self.message_rate)

    @property
    def admin_address(self) -> ListenAddress | None:
        """Where the admin port listens, None without one."""
        return parse_listen(self.admin_listen)


class Setting(NamedTuple):
    """One declaration, as text for help, error messages and docs."""

    name: str
    default: Any
    description: str
    allowed: str
    consequence: str
    secret: bool

    @property
    def flag(self) -> str:
        """`--like-this`."""
        return to_flag(self.name)

    @property
    def variable(self) -> str:
        """`RELAY_LIKE_THIS`."""
        return to_variable(self.name)

    @property
    def file_variable(self) -> str:
        """`RELAY_LIKE_THIS_FILE`, which names the file that holds a secret; empty if the setting is not a secret."""
        return f"{self.variable}_FILE" if self.secret else ""


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


def masked(setting: Setting, value: object) -> str:
    """A value as it may be shown; of a Redis URL, only the user, the password and the query are hidden."""
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    if not setting.secret or not text:
        return text
    if setting.name != "redis_url":
        return "***"
    scheme, _, rest = text.partition("://")
    rest, query, _ = rest.partition("?")
    credentials, at, address = rest.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{address if at else credentials or address}{'?***' if query else ''}"
