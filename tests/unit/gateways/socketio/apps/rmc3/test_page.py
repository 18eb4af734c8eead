"""The handshake of a page."""

from __future__ import annotations

import pytest

from tests.unit.gateways.socketio.apps.rmc3.pages import site


@pytest.mark.parametrize("extra", ["{", "x" * 20_000, "[" * 600 + "]" * 600, "null"])
@pytest.mark.parametrize("most", ["", "-1", "0", "x", "9" * 30])
async def test_a_handshake_with_bad_values_is_one_without(extra: str, most: str) -> None:
    async with site() as one:
        page = await one.connect("ann", extra=extra, maxParticipantsAllowed=most)
        assert await page.open("r") == [True]
        assert (await one.worker.rules.get("r")).max_members == 1000
