"""redis-py's connection over TLS, with an end that nobody has to look after."""

import asyncio
from collections.abc import Mapping
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection


class TlsConnection(SSLConnection):
    """Connects first, and then begins TLS: so an attempt may be given up at any moment.

    In one step, the event loop would have the handshake wait for the connection. An attempt that ends in the moment in
    which that is there leaves a handshake over a closed connection, whose failure is logged as one that nobody has
    looked at. On a busy machine this happens often.
    """

    def _connection_arguments(self) -> Mapping[str, Any]:
        return Connection._connection_arguments(self)

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[no-untyped-call]  # redis-py has no type for it
        if self._writer is None:
            raise ConnectionError("connection lost")
        async with asyncio.timeout(self.socket_connect_timeout):
            await self._writer.start_tls(self.ssl_context.get(), server_hostname=self.host)
