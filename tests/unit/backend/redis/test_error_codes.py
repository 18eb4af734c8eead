"""A Redis that answers each of the errors: the worker understands it, connects anew where that helps, and goes on."""

import pytest

from relay.backend.redis.error_codes import ERROR_CODES
from relay.backend.redis.replies import RedisUnreachable
from relay.backend.redis.scripts import PUBLISH
from relay.model.errors import Unavailable
from tests.fleet import eventually
from tests.unit.backend.redis.conftest import ScriptedRedis
from tests.unit.backend.redis.test_client import client_of


@pytest.mark.parametrize("code", sorted(ERROR_CODES.keys() - {"NOSCRIPT"}))
async def test_a_command_that_is_refused_had_no_effect_and_the_next_one_works(server: ScriptedRedis, code: str) -> None:
    refusing = [False]

    def answer(command: list[bytes]) -> bytes:
        if refusing[0] and command[0] == b"EVALSHA":
            refusing[0] = False
            return f"-{code} refused by the test\r\n".encode()
        return b"+OK\r\n"

    server.answer = answer
    async with client_of(server, timeout=5) as client:
        await client.call("PING")
        refusing[0] = True
        with pytest.raises(Unavailable) as raised:
            await client.run(PUBLISH, ("k",))
        assert raised.value.report.startswith(ERROR_CODES[code].meaning)
        assert raised.value.report.endswith(ERROR_CODES[code].remedy)
        assert await client.run(PUBLISH, ("k",)) == b"OK"
        assert len(server.clients) == (2 if ERROR_CODES[code].leaves else 1)


@pytest.mark.parametrize("code", sorted(ERROR_CODES))
async def test_an_operator_reads_why_a_worker_does_not_start(server: ScriptedRedis, code: str) -> None:
    server.answer = lambda command: f"-{code} refused by the test\r\n".encode()
    async with client_of(server, timeout=5) as client:
        await eventually(lambda: ERROR_CODES[code].meaning in client.report)
        assert ERROR_CODES[code].remedy in client.report
        # As soon as Redis serves the worker, it goes on.
        server.answer = lambda command: b"+OK\r\n"
        assert await client.call("PING") == b"OK"


def test_the_words_are_those_of_an_operator() -> None:
    for code in ERROR_CODES.values():
        assert code.meaning
        assert code.remedy
        assert not code.meaning.endswith(".")


def test_an_unreachable_redis_keeps_the_words_apart() -> None:
    error = RedisUnreachable("cause with 10.0.0.1", "report")
    assert (str(error), error.report) == ("cause with 10.0.0.1", "report")
