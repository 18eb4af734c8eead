"""SignalR clients with signalrcore, which tests control by lines of JSON, as signalr_clients.mjs."""

import json
import sys
from collections.abc import Callable
from typing import Any

from signalrcore.hub_connection_builder import HubConnectionBuilder
from signalrcore.protocol.messagepack_protocol import MessagePackHubProtocol

hubs: dict[str, Any] = {}


def say(client: str, what: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"client": client, "what": what, **fields}) + "\n")
    sys.stdout.flush()


def open_hub(client: str, url: str, packed: bool = False, **_: Any) -> None:
    builder = HubConnectionBuilder().with_url(url)
    if packed:
        builder = builder.with_hub_protocol(MessagePackHubProtocol())
    hub = builder.with_automatic_reconnect(
        {"type": "raw", "keep_alive_interval": 5, "reconnect_interval": 1, "max_attempts": 20}
    ).build()
    hubs[client] = hub
    hub.on_open(lambda: say(client, "connect"))
    hub.on_reconnect(lambda: say(client, "disconnect"))
    hub.on_error(lambda completion: say(client, "ack", error=str(completion.error)))
    hub.on_close(lambda: say(client, "close"))
    hub.on("onMessageReceived", lambda args: say(client, "event", name="onMessageReceived", args=args))
    hub.start()


def invoke(client: str, mark: int, name: str, args: list[Any], **_: Any) -> None:
    def answered(completion: Any) -> None:
        if completion.error:
            say(client, "ack", mark=mark, error=completion.error)
        else:
            say(client, "ack", mark=mark, answer=completion.result)

    hubs[client].send(name, args, answered)


commands: dict[str, Callable[..., None]] = {
    "open": open_hub,
    "invoke": invoke,
    "stop": lambda client: hubs[client].stop(),
}
for line in sys.stdin:
    command = json.loads(line)
    commands[command.pop("do")](**command)
