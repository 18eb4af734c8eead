"""Every setting, declared once: its default, the values it may have, and its meaning.

A setting is a field of `Settings`. Its flag is `--like-this` and its variable `RELAY_LIKE_THIS`. A secret may also be
in a file that `RELAY_LIKE_THIS_FILE` names, so that neither a process list nor an environment shows it.

To add a setting: add a field here, and its name to a group in `relay/cli/options.py`. The flag, the variable, the
help and the table in docs/settings.md follow from the declaration. The settings of a gateway are in its own package.
"""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from relay.config.declaring import Setting, count, seconds, setting, settings_of, size
from relay.config.listen import ListenAddress, parse_host, parse_ip_listen, parse_listen
from relay.config.redis_url import REDACTED, REDIS_URL_FORM, check_redis_url, parse_mapped_address, shown_url
from relay.config.webhook_settings import WebhookSettings
from relay.limits import burst_of
from relay.model.ice import parse_ice_servers
from relay.origins import parse_origin

_Declaring = TypeVar("_Declaring", bound=Struct)

_REQUEST_MESSAGES: Final = 16
_REQUEST_EXCESS: Final = 1_048_576
"""How many times as large as the largest message a request may be, or by how many bytes larger; the smaller counts."""


class Settings(WebhookSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
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

    # Redis.

    redis_url: Annotated[
        str,
        setting(
            "URL of the Redis server through which workers exchange messages; empty for a single process without Redis",
            secret=True,
            allowed=REDIS_URL_FORM,
            check=check_redis_url,
        ),
    ] = ""
    redis_password: Annotated[str, setting("Password for Redis, if its URL has none", secret=True)] = ""
    redis_prefix: Annotated[
        str,
        setting(
            "First part of the name of every Redis key and channel",
            pattern=r"^[A-Za-z0-9._:-]{1,32}$",
            allowed="1 to 32 letters, digits and . _ : -",
        ),
    ] = "relay"
    redis_addresses: Annotated[
        tuple[str, ...],
        setting(
            "Where Redis is for workers that cannot use the addresses that sentinels name, or that the nodes of a "
            "Redis Cluster announce (NAT, another network), comma-separated",
            allowed="a list of ANNOUNCED_HOST:PORT=HOST:PORT, such as 10.0.0.7:6379=redis.example:7001",
            check=parse_mapped_address,
        ),
    ] = ()
    shards_needed: Annotated[
        Literal["any", "all"],
        setting(
            "Of a Redis Cluster, the shards without which a worker is not ready: with any, it is ready while one "
            "of them works, and /health names the others; with all, one lost shard takes every worker out"
        ),
    ] = "any"
    publish_timeout: Annotated[
        float,
        seconds("Time within which Redis must take a message", consequence="error unavailable or outcome_unknown"),
    ] = 5.0
    durability: Annotated[
        str,
        setting(
            "Where a message must be before its sender gets the acknowledgement: redis, or replicas=N for N of Redis's "
            "replicas as well, for which publish-timeout counts once more",
            pattern=r"^(redis|replicas=[1-9])$",
            allowed="redis, or replicas=1 to replicas=9",
            consequence="error outcome_unknown",
        ),
    ] = "redis"
    probe_timeout: Annotated[
        float,
        seconds(
            "A worker is not ready when none of its own probes has come back through Redis for this time",
            ge=0.3,
            consequence="/health answers 503",
        ),
    ] = 3.0
    worker_lease: Annotated[
        float,
        seconds(
            "A worker that has not renewed its lease in Redis for this time counts as dead",
            ge=0.5,
            consequence="another worker takes over its members",
        ),
    ] = 10.0
    room_state_ttl: Annotated[
        float,
        seconds(
            "Redis deletes the state of a room (members, message counter) when no worker has renewed it for this time, "
            "as all workers are dead. A room whose last member has left ends after history-ttl, if that is shorter",
            ge=2,
            le=31_536_000,
            consequence="the room begins a new epoch",
        ),
    ] = 3600.0

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

    # Limits of one connection.

    max_message: Annotated[
        int,
        size(
            "Size of one message",
            ge=256,
            le=16_777_216,
            consequence="error too_large; close 1009 if it is 1 MB larger, or more than 16 times as large",
        ),
    ] = 1_572_864
    message_rate: Annotated[
        float,
        setting(
            "Messages a second from one connection, on average; it may send twice as many (at least 10) at once. Its "
            "pings, pongs and fragments below 1 KB together have the same rate, half as many at once",
            ge=0.1,
            le=1e6,
            consequence="the relay stops reading from the connection for a while; after message-delay, error too_fast, "
            "then close 4002",
            allowed="a number, 0.1 to 1000000",
        ),
    ] = 200
    byte_rate: Annotated[
        int,
        size(
            "Bytes a second from one connection, on average; it may send twice as many at once. A message of more than "
            "byte-rate / message-rate counts as several messages",
            ge=1024,
            le=1_073_741_824,
            consequence="as of message-rate",
        ),
    ] = 2_097_152
    message_delay: Annotated[
        float,
        seconds(
            "Time for which the messages of a connection that is above its message-rate or byte-rate are delayed; 0 "
            "delays none",
            ge=0,
            le=60,
            consequence="error too_fast, then close 4002",
        ),
    ] = 30.0
    send_buffer: Annotated[
        int,
        size(
            "Size of the data that waits to be sent to one client; at least twice max-message",
            ge=1024,
            le=1_073_741_824,
            consequence="close 4000",
        ),
    ] = 4_194_304
    max_inflight_publishes: Annotated[
        int,
        count(
            "Messages from one connection that wait for Redis to take them; a larger one counts once for each 16 KB",
            consequence="the relay stops reading from the connection for a while",
        ),
    ] = 64
    rooms_per_connection: Annotated[
        int, count("Rooms of which one connection may be a member", consequence="error too_many_rooms")
    ] = 32
    channels_per_room: Annotated[
        int,
        count("Channels to which one connection may subscribe in a room", consequence="error too_many_channels"),
    ] = 128
    subscriptions_per_connection: Annotated[
        int,
        count(
            "Channels to which one connection may subscribe in all its rooms together",
            consequence="error too_many_channels",
        ),
    ] = 512
    ping_interval: Annotated[float, seconds("Time between two pings to a client")] = 25.0
    watched_ping_interval: Annotated[
        float,
        seconds(
            "Longest time between two pings to a client in a room whose presence a client watches, and to answer one; "
            "ping-interval and ping-timeout count where they are shorter"
        ),
    ] = 8.0
    ping_timeout: Annotated[
        float, seconds("Time within which a client must answer a ping", consequence="close 4001")
    ] = 20.0

    # Limits of one worker and of one address.

    max_connections: Annotated[int, count("Connections of one worker", consequence="HTTP 503 worker_full")] = 50_000
    connections_per_address: Annotated[
        int, count("Connections of one worker from one address", consequence="HTTP 429 too_many_connections")
    ] = 2000
    address_byte_rate: Annotated[
        int,
        size(
            "Bytes of messages a second from one address to one worker, on average; a quarter of it at once",
            ge=65_536,
            le=1_099_511_627_776,
            consequence="the relay stops reading from the connections of the address for a while",
        ),
    ] = 8_388_608
    address_replay_rate: Annotated[
        int,
        count(
            "Missed events a second that one worker reads for the clients of one address that come back; five times as "
            "many at once",
            ge=100,
            le=1_000_000_000,
            consequence="further clients of the address wait for their turn",
        ),
    ] = 20_000
    address_history_bytes: Annotated[
        int,
        size(
            "Bytes of messages from one address, to all workers, that are stored in a minute for clients that "
            "reconnect; each message counts 512 bytes more",
            ge=65_536,
            le=1_099_511_627_776,
            consequence="further messages are delivered, and not stored: recovered: false, reason trimmed",
        ),
    ] = 33_554_432
    address_tree_bytes: Annotated[
        int,
        size(
            "Bytes of values, with their paths, that clients of one address may write into the trees of rooms in the "
            "time tree-ttl, on all workers",
            ge=65_536,
            le=1_099_511_627_776,
            consequence="error too_many_tree_bytes, HTTP 429; removing works",
        ),
    ] = 268_435_456
    new_rooms_per_address: Annotated[
        int,
        count(
            "Rooms a minute that clients of one address may open on all workers; rooms that exist do not count",
            consequence="error too_many_new_rooms, close 4007, HTTP 429",
        ),
    ] = 1000
    memory_share: Annotated[
        float,
        setting(
            "From this share of Redis's maxmemory on (without Redis, of history-memory), the relay accepts no new "
            "rooms, and stores no large messages. From half way between this share and the whole on, it accepts no "
            "new members either, and stores no messages",
            ge=0.1,
            le=1,
            consequence="error memory_low, close 4008; messages are delivered, and not stored",
            allowed="a number, 0.1 to 1",
        ),
    ] = 0.8
    history_memory: Annotated[
        int,
        size(
            "Size of all events that a process without Redis stores for clients that reconnect",
            ge=1_048_576,
            le=1_099_511_627_776,
            consequence="as of memory-share; recovered: false, reason trimmed",
        ),
    ] = 100_663_296
    address_buffer: Annotated[
        int,
        size(
            "Size of the data that waits on one worker for all clients of one address, and of their HTTP requests that "
            "are not complete; data that waits for several of them counts once, and less than 64 KB of a connection "
            "does not count",
            ge=1_048_576,
            le=1_099_511_627_776,
            consequence="the relay closes the connections of the address that have most data (close 4000)",
        ),
    ] = 50_331_648
    worker_buffer: Annotated[
        int,
        size(
            "As address-buffer, for all clients of one worker",
            ge=1_048_576,
            le=1_099_511_627_776,
            consequence="the relay closes connections of the address with most data (close 4000)",
        ),
    ] = 100_663_296
    unfinished_bytes: Annotated[
        int,
        size(
            "Size of all messages and requests that are not complete, and of frames that wait, on one worker. Above "
            "it, the relay reads from one connection after the other of each address that has more than its share",
            ge=1_048_576,
            le=1_099_511_627_776,
            consequence="as of address-unfinished-bytes",
        ),
    ] = 100_663_296
    address_unfinished_bytes: Annotated[
        int,
        size(
            "As unfinished-bytes, for one address",
            ge=1_048_576,
            le=1_099_511_627_776,
            consequence="the relay reads from one of the address's connections after the other, gives each 64 KB of "
            "their messages handshake-timeout only, and closes the largest if they still grow by half (close 4006)",
        ),
    ] = 50_331_648
    message_timeout: Annotated[
        float,
        seconds(
            "Time within which a WebSocket message must be complete once it has begun, and each further 64 KB of a "
            "larger one; the time for which the relay itself does not read does not count",
            consequence="close 4006",
        ),
    ] = 30.0
    http_connections_per_address: Annotated[
        int,
        count(
            "HTTP connections of one worker from one address on which no request is being answered: they are new or "
            "idle, or have sent a part of a request. Those of trusted-proxies do not count. In all, one address may "
            "have so many HTTP connections, and two more for each of connections-per-address",
            consequence="the relay closes the one that is idle for the longest time; beyond the number in all, it "
            "closes the new one",
        ),
    ] = 1000
    handshake_rate: Annotated[
        int, count("Handshakes a second from one address", consequence="HTTP 429 too_many_handshakes")
    ] = 500
    handshake_timeout: Annotated[
        float,
        seconds(
            "Time within which the head of a request must arrive, and each 64 KB of its body",
            consequence="the relay drops the connection",
        ),
    ] = 10.0
    keep_alive_timeout: Annotated[
        float,
        seconds(
            "Time for which an HTTP connection stays open without a request. It must be longer than that of the "
            "load balancer, which would otherwise send requests into connections that the relay is closing",
            ge=1,
            le=3600,
        ),
    ] = 75.0

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
    def max_request(self) -> int:
        """Bytes that a client may send at once: a WebSocket message, or a body with several messages.

        More than `max_message`, so that a message that is a little too large gets an answer, and not a close.
        """
        return min(_REQUEST_MESSAGES * self.max_message, self.max_message + _REQUEST_EXCESS)

    @property
    def message_burst(self) -> float:
        """Messages that one connection may send at once."""
        return burst_of(self.message_rate)

    @property
    def replicas(self) -> int:
        """How many replicas of Redis must have a message before it is acknowledged."""
        return int(self.durability.partition("=")[2] or 0)

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
