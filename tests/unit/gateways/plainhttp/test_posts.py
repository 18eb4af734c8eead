import msgspec

from tests.unit.gateways.plainhttp.site import PLACE, site


async def test_an_envelope_and_a_batch() -> None:
    async with site() as here, here.stream(), here.stream("peer=bob") as bob:
        answer = await here.json("POST", f"messages?{PLACE}", {"a": 1, "key": "k"})
        await bob.until(b'"from":"alice","id":"%b"' % answer["id"].encode())
        assert await here.json("POST", f"messages?{PLACE}", {"a": 1, "key": "k"}) == {**answer, "repeat": True}
        batch = await here.json("POST", f"messages?{PLACE}", [{"a": 2}, {"id": 1}, {"a": 3}])
        assert "id" in batch[0]
        assert [one["error"]["code"] for one in batch[1:]] == ["reserved_field", "out_of_order"]


async def test_a_batch_whose_first_envelope_is_refused_has_the_status_of_its_error() -> None:
    async with site() as here, here.stream():
        refused = await here.ask("POST", f"messages?{PLACE}", [{"id": 1}, {"a": 3}])
        assert refused.status == 400


async def test_a_sender_without_a_place_publishes_nothing() -> None:
    async with site() as here, here.stream("peer=bob") as bob:
        for place in (PLACE, f"peer=bob&{PLACE.partition('&')[2]}"):
            refused = await here.ask("POST", f"messages?{place}", {"a": 1})
            assert refused.status == 409
            assert msgspec.json.decode(refused.body)["error"]["code"] == "not_joined"
        assert b'data: {"a"' not in bob.body


async def test_posts_of_one_place_have_one_rate() -> None:
    async with site(message_rate=1, message_delay=0, http_rate=1000) as here, here.stream():
        statuses = [(await here.ask("POST", f"messages?{PLACE}", {"a": 1})).status for _ in range(40)]
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert len(here.state.rates) == 1


async def test_posts_that_are_refused_count_where_the_place_is_proved() -> None:
    async with site(http_rate=1000) as here, here.stream():
        for place, kept in ((f"peer=bob&{PLACE.partition('&')[2]}", 0), (PLACE, 1)):
            assert (await here.ask("POST", f"messages?{place}", {"to": "nobody"})).status in (404, 409)
            assert len(here.state.rates) == kept


async def test_a_large_body_is_read_in_its_turn_and_within_bounds() -> None:
    async with site(max_message=100_000) as here, here.stream():
        assert (await here.ask("POST", f"messages?{PLACE}", {"a": "x" * 90_000})).status == 200
        assert (await here.ask("POST", f"messages?{PLACE}", {"a": "x" * 110_000})).status == 413
        assert (await here.ask("POST", f"messages?{PLACE}", [{"a": "x" * 50_000}] * 3)).status == 200
        assert (await here.ask("POST", f"messages?{PLACE}", [{"a": "x" * 90_000}] * 3)).status == 413
