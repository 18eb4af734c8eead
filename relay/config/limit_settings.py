"""The limits of one connection, of one address and of one worker; `Settings` has them as well."""

from typing import Annotated, Final

from relay.config.declaring import count, seconds, setting, size
from relay.config.redis_access_settings import RedisAccessSettings
from relay.limits import burst_of

_REQUEST_MESSAGES: Final = 16
_REQUEST_EXCESS: Final = 1_048_576
"""How many times as large as the largest message a request may be, or by how many bytes larger; the smaller counts."""


class ConnectionLimitSettings(RedisAccessSettings, frozen=True, kw_only=True):
    """How much one connection may send, receive and ask for, and when it counts as lost."""

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


class LimitSettings(ConnectionLimitSettings, frozen=True, kw_only=True):
    """Those, and how much all clients of one address, or of one worker, may use together."""

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
