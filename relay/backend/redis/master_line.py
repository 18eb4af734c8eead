"""The line to the master of one Redis: it knows the replicas, and leaves a master that was replaced."""

from dataclasses import replace
from types import TracebackType

from relay.awake import AwakeTime
from relay.backend.bus import BusHealth
from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.durability import Replicas
from relay.backend.redis.line import Line
from relay.backend.redis.master_watch import MasterWatch
from relay.backend.redis.replication import RedisReplication
from relay.backend.redis.subscriber import Subscriber
from relay.config.redis_url import Address
from relay.tasks import KeptLoop


class MasterLine(Line):
    """A line that asks for the state of the replicas with its probes.

    If the URL names sentinels, it asks them for the master. `replicas` is the part that waits for replicas, if
    messages need some.
    """

    def __init__(
        self,
        client: RedisClient,
        subscriber: Subscriber,
        dialer: Dialer,
        replication: RedisReplication,
        replicas: Replicas | None,
        *,
        probe: str,
        timeout: float,
        awake: AwakeTime | None = None,
    ) -> None:
        super().__init__(client, subscriber, probe=probe, timeout=timeout, awake=awake)
        self._dialer = dialer
        self._replication = replication
        self._replicas = replicas
        self._watch: KeptLoop | None = None

    def open(self) -> None:
        """Begin to connect, to probe, and to ask the sentinels."""
        super().open()
        if self._dialer.has_sentinels:
            self._watch = KeptLoop(MasterWatch(self._dialer, self._follow).run, "watch on the master")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            await self._watch.stop()
        await super().__aexit__(kind, error, trace)
        await self._dialer.close()

    def health(self) -> BusHealth:
        """Return the state, with that of the replicas if there is anything to say of them."""
        health, confirmed = super().health(), self._replicas is None or not self._replicas.report
        if not self._replication.is_known:
            return health
        text = self._replication.text
        if self._replicas is not None and not confirmed:
            text = f"{text}; messages are not confirmed: {self._replicas.report}"
        return replace(health, replicas=text, replicated=confirmed and self._replication.suffices)

    def _probed(self) -> None:
        self._replication.ask()

    def _loops(self) -> list[KeptLoop]:
        return [*super()._loops(), *([self._watch] if self._watch is not None else [])]

    def _follow(self, master: Address) -> None:
        """Leave each Redis that is not the master."""
        for link in (self._client, self.subscriber, self._replicas):
            if link is not None:
                link.follow(master)
