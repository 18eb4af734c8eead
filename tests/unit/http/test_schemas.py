"""Parts of the OpenAPI document."""

from relay.config import Settings
from relay.http.schemas import CHECKS, HEALTH, object_of, ref
from relay.rooms.worker import Worker


def test_an_object_lists_its_required_fields() -> None:
    assert object_of("a b", {"a": {}, "b": ref("Check")}, "Two.") == {
        "type": "object",
        "required": ["a", "b"],
        "properties": {"a": {}, "b": {"$ref": "#/components/schemas/Check"}},
        "description": "Two.",
    }


async def test_every_check_of_a_worker_is_a_reason() -> None:
    assert HEALTH["PublicHealth"]["allOf"][1]["properties"]["reasons"]["items"]["enum"] == list(CHECKS)
    for settings in (Settings(), Settings(redis_url="redis://127.0.0.1:1")):
        assert set(Worker(settings).health().checks) <= set(CHECKS)
