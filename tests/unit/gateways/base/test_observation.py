"""Which part of a room a client may observe."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.config import Settings
from relay.gateways.base.observation import read_observe_request, sight_of
from relay.gateways.native.declaration import TOKENS as TOKENS_OF_NATIVE
from relay.model.errors import Refused
from relay.rooms.observer import Sight
from relay.rooms.worker import Worker

TOKENS = {"s3cret": Sight.EVERYTHING, "wrong": None, "s3cre": None, "": None, "\xe9": None}


@pytest.fixture(params=["s3cret", ""])
async def worker(request: pytest.FixtureRequest) -> AsyncIterator[Worker]:
    """A worker with an admin token, and one without."""
    async with Worker(Settings(admin_token=request.param)) as worker:
        yield worker


def scope(worker: Worker, *, authorization: str = "", subprotocols: tuple[str, ...] = ()) -> dict[str, Any]:
    headers = [(b"authorization", authorization.encode("latin-1"))] if authorization else []
    return {"headers": headers, "subprotocols": list(subprotocols), "state": {"worker": worker}}


def test_a_client_without_a_token_sees_counts_alone(worker: Worker) -> None:
    for authorization in ("", "Resume key", "Basic s3cret"):
        assert sight_of(scope(worker, authorization=authorization, subprotocols=("relay.v1",))) is Sight.COUNTS
    assert sight_of({"headers": [], "state": {"worker": worker}}) is Sight.COUNTS


@pytest.mark.parametrize(("token", "sight"), TOKENS.items())
@pytest.mark.parametrize("in_header", [True, False])
def test_the_admin_token_shows_everything_and_a_wrong_one_is_refused(
    worker: Worker, token: str, sight: Sight | None, in_header: bool
) -> None:
    request = scope(
        worker,
        authorization=f"Bearer {token}" if in_header else "",
        subprotocols=() if in_header else ("relay.v1", f"token.{token}"),
    )
    if not worker.settings.admin_token:
        assert sight_of(request) is Sight.COUNTS
    elif sight:
        assert sight_of(request) is sight
    else:
        with pytest.raises(Refused) as refused:
            sight_of(request)
        assert refused.value.code == "unauthorized"


def test_messages_need_the_token(worker: Worker) -> None:
    with pytest.raises(Refused) as refused:
        read_observe_request(scope(worker), "room", TOKENS_OF_NATIVE, presence=True, messages=True)
    assert refused.value.code == ("unauthorized" if worker.settings.admin_token else "forbidden")
    request = read_observe_request(scope(worker), "room", TOKENS_OF_NATIVE, presence=True, messages=False)
    assert (request.room, request.sight, request.messages) == ("room", Sight.COUNTS, False)


def test_with_the_token_a_request_is_as_the_client_wants_it() -> None:
    worker = Worker(Settings(admin_token="s3cret"))
    bearing = scope(worker, authorization="Bearer s3cret")
    request = read_observe_request(bearing, "room", TOKENS_OF_NATIVE, presence=False, messages=True, channels=["c"])
    assert (request.sight, request.presence, request.messages, request.channels) == (
        Sight.EVERYTHING, False, True, ["c"],
    )  # fmt: skip
