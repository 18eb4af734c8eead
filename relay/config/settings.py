"""Every setting, declared once: its default, the values it may have, and its meaning.

A setting is a field of `Settings`. Its flag is `--like-this` and its variable `RELAY_LIKE_THIS`. A secret may also be
in a file that `RELAY_LIKE_THIS_FILE` names, so that neither a process list nor an environment shows it.

To add a setting: add a field here, or in a module beside this one whose Struct `Settings` extends, such as
`limit_settings.py`; add its name to a group in `relay/cli/options.py`. The flag, the variable, the help and the table
in docs/settings.md follow from the declaration. The settings of a gateway are in its own package.
"""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Struct

from relay.config.declaring import Setting, count, seconds, setting, settings_of, size
from relay.config.limit_settings import LimitSettings
from relay.config.listen import ListenAddress, parse_host, parse_ip_listen, parse_listen
from relay.config.redis_url import REDACTED, shown_url
from relay.model.ice import parse_ice_servers
from relay.origins import parse_origin

_Declaring = TypeVar("_Declaring", bound=Struct)


class Settings(LimitSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one relay process. Durations are in seconds, sizes in bytes."""

    # Where the relay listens.

    host: Annotated[
        str,
        setting(
            "Address to listen on; 0.0.0.0 listens on all IPv4 addresses, :: on all of IPv4 and IPv6",
            normalize=parse_host,
        ),
    ] = "127.0.0.1"
    port: Annotated[int, count("Port to listen on; 0 picks a free one", ge=0, le=65_535)] = 8888
    workers: Annotated[int, count("Number of worker processes behind the port", le=256)] = 1
    tls_cert: Annotated[str, setting("Certificate file (PEM), for wss:// and https://")] = ""
    tls_key: Annotated[str, setting("Private key file (PEM) of the certificate")] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        setting(
            "Addresses or networks of load balancers, comma-separated; the relay believes their X-Forwarded-For and "
            "X-Forwarded-Proto headers",
            allowed="a list of addresses and networks, such as 10.0.0.0/8",
            check=ip_network,
        ),
    ] = ()

    # Requests of other replicas.

    forward_listen: Annotated[
        str,
        setting(
            "Address for requests that other replicas forward to this one; empty for none. 0.0.0.0 stands for this "
            "machine's address in forward-networks. With several workers, the ports that follow are used as well",
            allowed="empty, PORT, IP:PORT or [IPV6]:PORT; IP is 127.0.0.1 if left out",
            check=parse_ip_listen,
        ),
    ] = ""
    forward_networks: Annotated[
        tuple[str, ...],
        setting(
            "Networks in which all replicas have their forward-listen address, comma-separated; only addresses in them "
            "connect to that port, and are connected to",
            allowed="a list of addresses and networks, such as 10.0.0.0/8",
            check=ip_network,
        ),
    ] = ()

    # Operation.

    admin_listen: Annotated[
        str,
        setting(
            "Address for /metrics and /health alone; empty for none. The public port then has no /metrics, unless "
            "public-metrics is on",
            allowed="empty, PORT, HOST:PORT or [IPV6]:PORT; HOST is 127.0.0.1 if left out",
            check=parse_listen,
        ),
    ] = ""
    fleet_secret: Annotated[
        str,
        setting(
            "Secret from which all workers of a fleet derive their keys, such as the output of openssl rand -hex 32; "
            "empty: the workers make one, and share it through Redis. Older secrets may follow, which workers accept "
            "and do not use",
            secret=True,
            pattern=r"^$|^[!-~]{32,500}( [!-~]{32,500}){0,2}$",
            allowed="empty, or up to 3 secrets with one space between, each of 32 to 500 printable ASCII characters",
        ),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], setting("Least important messages that are logged")
    ] = "info"
    log_format: Annotated[Literal["text", "json"], setting("Format of the log")] = "text"
    worker_id: Annotated[
        str,
        setting(
            "Name of this worker in logs and in Redis; empty for host name and process id",
            pattern=r"^[A-Za-z0-9._-]{0,64}$",
            allowed="up to 64 letters, digits and . _ -",
        ),
    ] = ""
    drain_delay: Annotated[
        float,
        seconds(
            "A worker that stops reports that it is not ready for this time before it closes connections",
            ge=0,
            le=3600,
        ),
    ] = 0.0
    drain_timeout: Annotated[float, seconds("Time in which a worker that stops closes its connections", le=3600)] = 10.0

    # Pages and browsers.

    allowed_origins: Annotated[
        tuple[str, ...],
        setting(
            "Origins whose pages may connect, comma-separated; * for all",
            allowed="a list of origins, such as https://example.com, https://*.example.com, http://localhost:* or null",
            consequence="HTTP 403 bad_origin",
            normalize=parse_origin,
            min_length=1,
        ),
    ] = ("*",)
    pages: Annotated[Literal["on", "off"], setting("Whether the relay serves a page at / and a demo at /demo")] = "on"
    static: Annotated[
        str,
        setting(
            "Folder whose files the relay serves where it has no route of its own; its index.html replaces the page "
            "at /. Empty for none",
            allowed="empty, or the path of a folder",
        ),
    ] = ""
    public_url: Annotated[
        str,
        setting(
            "URL of this relay as browsers reach it, shown on the page at /; empty for the URL of the request",
            pattern=r"^$|^https?://([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]{0,200})?$",
            allowed="empty, or an http:// or https:// URL without a query",
        ),
    ] = ""
    ice_servers: Annotated[
        str,
        setting(
            "STUN and TURN servers that clients receive when they join",
            secret=True,
            allowed="a JSON list as RTCPeerConnection takes it, or stun: URLs with commas between",
            check=parse_ice_servers,
        ),
    ] = ""

    # Rooms.

    default_room: Annotated[
        str,
        setting(
            "Room of clients that connect to /",
            pattern=r"^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$",
            allowed="1 to 64 letters, digits and . _ -; not . or ..",
        ),
    ] = "default"
    members_per_room: Annotated[int, count("Members of one room", consequence="error room_full, close 4004")] = 10_000
    places_per_address: Annotated[
        int,
        count(
            "Members of one room from one address, held ones included",
            consequence="error too_many_places, close 4004",
        ),
    ] = 1000
    observers_per_room: Annotated[
        int, count("Observers of one room on one worker", consequence="error too_many_observers, close 4004")
    ] = 1000
    presence_list_limit: Annotated[
        int, count("Members listed by name in a member list", consequence="a shorter list with the exact count")
    ] = 100
    room_delivery_rate: Annotated[
        int,
        count(
            "Deliveries a second that the messages of one room cause on one worker; rooms of up to 16 members are not "
            "counted",
            le=1_000_000_000,
            consequence="the relay stops reading from the senders in this room for a while",
        ),
    ] = 100_000
    room_presence_rate: Annotated[
        int,
        count(
            "Frames with joins, leaves and new infos that one worker sends a second to all watchers of one room",
            le=1_000_000,
            consequence="changes are gathered for up to 2 s; a peer that joins and leaves meanwhile is not reported",
        ),
    ] = 5000
    reconnect_grace: Annotated[
        float,
        seconds(
            "Time for which a member that lost its connection is held, so that it can reconnect; 0 holds no members",
            ge=0,
            consequence="the member leaves the room",
        ),
    ] = 15.0
    history_size: Annotated[
        int,
        count(
            "Events of one room that are stored for clients that reconnect; 0 stores none",
            ge=0,
            le=1_000_000,
            consequence="recovered: false, reason trimmed",
        ),
    ] = 1000
    history_bytes: Annotated[
        int,
        size(
            "Size of the large messages of one room that are stored for clients that reconnect, and also of all its "
            "other messages; a message is large if it has more than history-bytes / history-size bytes",
            ge=65_536,
            le=1_073_741_824,
            consequence="recovered: false, reason trimmed",
        ),
    ] = 4_194_304
    history_ttl: Annotated[
        float,
        seconds(
            "Time for which the events and message keys of a room are stored; while messages come, up to a half longer",
            ge=1,
            consequence="recovered: false, reason trimmed",
        ),
    ] = 120.0

    tree_ttl: Annotated[
        float,
        seconds(
            "Time for which the tree of a room is kept after it was last read or changed, and each value after its "
            "last change",
            ge=10,
            le=31_536_000,
            consequence="the tree, or the value, is removed",
        ),
    ] = 86_400.0

    # Settings that other packages declare: name → value. `of` returns them as the Struct that declares them.
    extensions: dict[str, Any] = {}  # noqa: RUF012  # msgspec copies it for each Struct

    def __repr__(self) -> str:
        """Return the names of the settings that are not at their defaults, and not their values: some are secrets."""
        changed = [one.name for one in settings_of(Settings) if getattr(self, one.name) != one.default]
        return f"Settings({', '.join(changed)})"

    def of(self, declaring: type[_Declaring]) -> _Declaring:
        """Return the settings that a Struct of another package declares, with its default for each that is not set."""
        names = {field.name for field in msgspec.structs.fields(declaring)}
        return msgspec.convert({name: self.extensions[name] for name in names & self.extensions.keys()}, declaring)

    def value(self, one: Setting) -> Any:
        """Return the value of a setting, also of another package."""
        return getattr(self, one.name) if hasattr(self, one.name) else self.extensions.get(one.name, one.default)

    @property
    def admin_address(self) -> ListenAddress | None:
        """Where the admin port listens, None without one."""
        return parse_listen(self.admin_listen)

    @property
    def forward_address(self) -> ListenAddress | None:
        """Where the first worker listens for requests of other replicas, None if it does not."""
        return parse_listen(self.forward_listen)


def declared(*more: type[Struct]) -> Iterator[Setting]:
    """Every setting, in the order of declaration; those of `more`, which other packages declare, come last."""
    yield from settings_of(Settings)
    for declaring in more:
        yield from settings_of(declaring)


def masked(setting: Setting, value: object) -> str:
    """A value as it may be shown; of a valid Redis URL, only the user, the password and the options are hidden."""
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    if not setting.secret or not text:
        return text
    return shown_url(text) if setting.name == "redis_url" else REDACTED
