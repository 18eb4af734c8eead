"""The proof that the sender of a notice owned the room; test_hearing.py has what is done with it."""

from __future__ import annotations

import pytest

from relay.backend.memory.addresses import MemoryAddresses
from relay.gateways.socketio.apps.rmc3.closing import closing_proof, proves_closing
from relay.gateways.socketio.apps.rmc3.signals import MAX_PROOF
from relay.rooms.worker import Worker
from tests.unit.gateways.socketio.apps.rmc3.pages import site


def at(worker: Worker, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "fleet_time", MemoryAddresses(lambda: seconds).now)


async def test_a_proof_counts_for_a_while_for_one_room_and_one_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as one:
        worker = one.worker
        at(worker, 1_000_000, monkeypatch)
        proof = closing_proof(worker, "r", "ann")
        assert len(proof) <= MAX_PROOF
        assert proves_closing(worker, "r", "ann", proof)
        assert not proves_closing(worker, "r", "ben", proof)
        assert not proves_closing(worker, "s", "ann", proof)
        for seconds, counts in ((1_000_599, True), (999_401, True), (1_000_601, False), (999_399, False)):
            at(worker, seconds, monkeypatch)
            assert proves_closing(worker, "r", "ann", proof) is counts


@pytest.mark.parametrize("proof", ["", ".", "x", "1000000000", "1000000000.", "1000000000.AAAA", "1000000000.ä", "²."])
async def test_a_text_that_is_no_proof_proves_nothing(proof: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as one:
        at(one.worker, 1_000_000, monkeypatch)
        assert not proves_closing(one.worker, "r", "ann", proof)
