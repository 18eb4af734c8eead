"""Clients of the package websocket-client, which tests control by lines of JSON: see tests/conformance/programs.py.

The clients of python-socketio are in tests/conformance/python.
"""

import json
import sys
import threading
from typing import Any

import websocket

printing = threading.Lock()


def say(client: str, what: str, **more: Any) -> None:
    """Write one line."""
    with printing:
        sys.stdout.write(json.dumps({"client": client, "what": what, **more}) + "\n")
        sys.stdout.flush()


def opened(name: str, url: str) -> websocket.WebSocketApp:
    """Return a client that runs in a thread of its own."""
    client = websocket.WebSocketApp(
        url,
        on_open=lambda app: say(name, "connect"),
        on_message=lambda app, text: say(name, "text", text=text),
        on_close=lambda app, code, reason: say(name, "disconnect", code=code or 1006),
    )
    threading.Thread(target=client.run_forever, daemon=True).start()
    return client


def main() -> None:
    """Serve clients until standard input ends."""
    clients: dict[str, websocket.WebSocketApp] = {}
    for line in sys.stdin:
        command = json.loads(line)
        name = command["client"]
        if command["do"] == "open":
            clients[name] = opened(name, command["url"])
        elif command["do"] == "send":
            clients[name].send(command["text"])
        else:
            clients[name].close()


if __name__ == "__main__":
    main()
