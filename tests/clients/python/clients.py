"""A client of the package websocket-client, driven by JSON lines; driver.py says what the lines are.

Arguments: `websocket URL`. The clients of python-socketio are in tests/conformance.
"""

import json
import sys
import threading
from typing import Any

import websocket


def say(**line: Any) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main(url: str) -> None:
    """Serve a client until standard input ends."""
    client = websocket.WebSocketApp(
        url,
        on_open=lambda app: say(open=True),
        on_message=lambda app, text: say(heard=json.loads(text)),
        on_close=lambda app, code, reason: say(closed=code or 1006),
    )
    reader = threading.Thread(target=client.run_forever)
    reader.start()
    for text in sys.stdin:
        client.send(json.loads(text)["send"])
    client.close()
    reader.join()


if __name__ == "__main__":
    main(sys.argv[2])
