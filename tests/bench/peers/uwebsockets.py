"""uWebSockets through socketify, without Redis: a floor."""

import os

from socketify import App


def upgrade(response, request, context) -> None:
    key = request.get_header("sec-websocket-key")
    protocol = request.get_header("sec-websocket-protocol")
    extensions = request.get_header("sec-websocket-extensions")
    response.upgrade(key, protocol, extensions, context, request.get_url())


def opened(websocket) -> None:
    websocket.subscribe(websocket.get_user_data())


def message(websocket, text, opcode) -> None:
    websocket.publish(websocket.get_user_data(), text, opcode)


app = App()
app.ws("/*", {"upgrade": upgrade, "open": opened, "message": message, "max_backpressure": 16 << 20, "compression": 0})
app.listen({"port": int(os.environ["PORT"]), "host": "127.0.0.1"}, lambda config: None)
app.run()
