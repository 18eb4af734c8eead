"""The state of replicas in the health of a line."""

from typing import Any

from relay.backend.redis.client import RedisClient
from relay.backend.redis.connection import Dialer
from relay.backend.redis.master_line import MasterLine
from relay.backend.redis.subscriber import Subscriber


class Replication:
    is_known, suffices, text, asked = True, True, "the master; replicas online: 1", 0

    def ask(self) -> None:
        self.asked += 1


class Replicas:
    report = ""


def line(replication: Replication, replicas: Replicas | None) -> MasterLine:
    dialer = Dialer("redis://127.0.0.1:1", timeout=1, name="test")
    client = RedisClient(dialer, timeout=1, waiting=1, on_reconnect=lambda: None)
    known: Any = replication
    waiting: Any = replicas
    subscriber = Subscriber(dialer, timeout=1, on_reconnect=lambda: None)
    return MasterLine(client, subscriber, dialer, known, waiting, probe="p", timeout=1)


def test_the_replicas_show_in_the_health_of_a_line() -> None:
    replication, replicas = Replication(), Replicas()
    one = line(replication, replicas)
    assert (one.health().replicas, one.health().replicated) == ("the master; replicas online: 1", True)
    replicas.report = "no answer"
    assert one.health().replicas.endswith("; messages are not confirmed: no answer")
    assert not one.health().replicated
    replicas.report, replication.suffices = "", False
    assert not one.health().replicated
    replication.is_known = False
    assert (one.health().replicas, one.health().replicated) == ("", True)
