"""Runs clients of python-socketio, of the class that the first argument names: `sync` or `asyncio`.

See `tests/conformance/programs.py`. It runs in a virtual environment of its own, without the relay.
"""

import asyncio
import base64
import inspect
import json
import logging
import sys
import threading

import socketio

OPTIONS = {"reconnection_delay": 0.1, "reconnection_delay_max": 0.3, "randomization_factor": 0}
CONNECTING = {}
if "wait_timeout" in inspect.signature(socketio.Client.connect).parameters:
    # Version 5 gives up after a second, in which a busy machine may not have answered.
    CONNECTING["wait_timeout"] = 30
printing = threading.Lock()


def packed(value):
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [packed(one) for one in value]
    if isinstance(value, dict):
        return {name: packed(one) for name, one in value.items()}
    return value


def unpacked(value):
    if isinstance(value, list):
        return [unpacked(one) for one in value]
    if isinstance(value, dict):
        if list(value) == ["bytes"]:
            return base64.b64decode(value["bytes"])
        return {name: unpacked(one) for name, one in value.items()}
    return value


def say(client, what, **more):
    with printing:
        print(json.dumps({"client": client, "what": what, **packed(more)}), flush=True)


class Failures(logging.Handler):
    """Reports the log lines of the library: errors of handlers among them."""

    def emit(self, record):
        if record.exc_info:
            say(record.name.rpartition(".")[2], "failed", error=repr(record.exc_info[1]))


def listen(sio, client, namespace):
    """Register handlers, each with a fixed number of parameters."""

    def none():
        say(client, "event", name="none", args=[])

    def one(data):
        say(client, "event", name="one", args=[data])

    def two(first, second):
        say(client, "event", name="two", args=[first, second])

    def message(data):
        say(client, "event", name="message", args=[data])

    for handler in (none, one, two, message):
        sio.on(handler.__name__, handler, namespace=namespace)
    sio.on("connect", lambda: say(client, "connect"), namespace=namespace)
    # Version 5 passes the reason since 5.12.
    sio.on("disconnect", lambda *reason: say(client, "disconnect"), namespace=namespace)


def options_of(client):
    logger = logging.getLogger(f"relay.{client}")
    logger.addHandler(Failures())
    return {"logger": logger, "engineio_logger": logger, **OPTIONS}


def arguments(command):
    values = unpacked(command["args"])
    # The library takes a tuple for several arguments; a single one of None would be no argument.
    return values[0] if len(values) == 1 else tuple(values)


def acknowledged(command):
    if "ack" not in command:
        return None
    return lambda *answer: say(command["client"], "ack", mark=command["ack"], answer=answer)


def run_sync():
    clients = {}
    threading.excepthook = lambda failure: say(next(iter(clients)), "failed", error=repr(failure.exc_value))
    for line in sys.stdin:
        command = json.loads(line)
        client = command["client"]
        if command["do"] == "open":
            sio = socketio.Client(**options_of(client))
            clients[client] = sio, command["namespace"]
            listen(sio, client, command["namespace"])
            namespaces = [command["namespace"]]
            sio.connect(command["url"], transports=command["transports"], namespaces=namespaces, **CONNECTING)
        elif command["do"] == "emit":
            sio, namespace = clients[client]
            sio.emit(command["name"], arguments(command), namespace=namespace, callback=acknowledged(command))
        else:
            clients[client][0].disconnect()


async def run_asyncio():
    clients = {}
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda loop, failure: say(next(iter(clients)), "failed", error=repr(failure.get("exception") or failure))
    )
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        client = command["client"]
        if command["do"] == "open":
            sio = socketio.AsyncClient(**options_of(client))
            clients[client] = sio, command["namespace"]
            listen(sio, client, command["namespace"])
            namespaces = [command["namespace"]]
            await sio.connect(command["url"], transports=command["transports"], namespaces=namespaces, **CONNECTING)
        elif command["do"] == "emit":
            sio, namespace = clients[client]
            await sio.emit(command["name"], arguments(command), namespace=namespace, callback=acknowledged(command))
        else:
            await clients[client][0].disconnect()


if __name__ == "__main__":
    if sys.argv[1] == "sync":
        run_sync()
    else:
        asyncio.run(run_asyncio())
