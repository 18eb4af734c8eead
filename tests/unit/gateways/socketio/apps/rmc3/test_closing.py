"""The proof that the sender of a notice owned the room; test_hearing.py has its use."""

from __future__ import annotations

import pytest

from relay.backend.memory.addresses import MemoryAddresses
from relay.gateways.socketio.apps.rmc3.closing import closing_proof, proved_opening
from relay.gateways.socketio.apps.rmc3.signals import MAX_PROOF
from relay.rooms.worker import Worker
from tests.unit.gateways.socketio.apps.rmc3.pages import site


def at(worker: Worker, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "fleet_time", MemoryAddresses(lambda: seconds).now)


async def test_a_proof_counts_for_a_while_for_one_room_one_owner_and_one_opening(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with site(reconnect_grace=30) as one:
        worker = one.worker
        at(worker, 1_000_000, monkeypatch)
        proof = closing_proof(worker, "r", "ann", "0123456789ab")
        assert len(proof) <= MAX_PROOF
        assert proved_opening(worker, "r", "ann", proof) == "0123456789ab"
        assert proved_opening(worker, "r", "ben", proof) is None
        assert proved_opening(worker, "s", "ann", proof) is None
        assert proved_opening(worker, "r", "ann", proof.replace("0123456789ab", "ab0123456789")) is None
        for seconds, counts in ((1_000_089, True), (999_911, True), (1_000_091, False), (999_909, False)):
            at(worker, seconds, monkeypatch)
            assert (proved_opening(worker, "r", "ann", proof) is not None) is counts


async def test_a_room_that_no_page_has_opened_has_a_proof_as_well() -> None:
    async with site() as one:
        assert proved_opening(one.worker, "r", "ann", closing_proof(one.worker, "r", "ann", "")) == ""


@pytest.mark.parametrize(
    "proof",
    ["", ".", "..", "x", "1000000000", "1000000000.", "1000000000..", "1000000000.a.AAAA", "1000000000.a.ä", "².a."],
)
async def test_a_text_that_is_no_proof_proves_nothing(proof: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as one:
        at(one.worker, 1_000_000, monkeypatch)
        assert proved_opening(one.worker, "r", "ann", proof) is None
