"""A worker under hypercorn, for behaviour that must not depend on the server: `python -m tests.other_server PORT`.

Settings come from the environment, as with `relay serve`.
"""

import asyncio
import os
import signal
import sys

from hypercorn.asyncio import serve
from hypercorn.config import Config

from relay.app import create_app
from relay.config import load
from relay.gateways import EXTENSIONS


async def main(port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 0.5
    settings = load({}, os.environ, extensions=EXTENSIONS).settings
    await serve(create_app(settings), config, mode="asgi", shutdown_trigger=stop.wait)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
