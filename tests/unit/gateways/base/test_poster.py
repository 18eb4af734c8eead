import pytest

from relay.config import Settings
from relay.gateways.base.http_place import HttpPlace
from relay.gateways.base.post_rates import PostRates
from relay.gateways.base.poster import Poster
from relay.model.errors import Refused
from relay.rooms.worker import Worker
from tests.tokens import SECRET, token


async def test_an_envelope_of_no_member_is_refused_and_its_rate_is_not_kept() -> None:
    async with Worker(Settings(max_message=4096)) as worker:
        rates = PostRates(worker.admissions)
        poster = await Poster.of(worker, HttpPlace("room", "ann", "0123456789abcdef"), "", "10.0.0.1", rates)
        for envelope, code in ((b'{"a":1}', "not_joined"), (b"{" + b" " * 5000 + b"}", "too_large"), (b"1", "bad_")):
            with pytest.raises(Refused, match=code):
                await poster.publish(envelope)
        assert len(rates) == 0


async def test_a_token_must_grant_the_post() -> None:
    async with Worker(Settings(auth="required", auth_secret=SECRET)) as worker:
        rates = PostRates(worker.admissions)
        able = token(sub="ann", rooms=[{"room": "room", "can": ["join"]}])
        poster = await Poster.of(worker, HttpPlace("room", "ann", "0123456789abcdef"), able, "10.0.0.1", rates)
        with pytest.raises(Refused, match="not_granted"):
            await poster.publish(b'{"a":1}')
        with pytest.raises(Refused, match="wrong_peer"):
            await Poster.of(worker, HttpPlace("room", "eve", "0123456789abcdef"), able, "10.0.0.1", rates)
