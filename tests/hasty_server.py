"""`relay serve` with short turns to fetch a key set: `python -m tests.hasty_server PORT`.

In operation, a fleet fetches one at most once in thirty seconds. Settings come from the environment.
"""

import sys

from relay.cli import main
from relay.rooms import key_sets

TURN = 2.0
"""Seconds in which such workers fetch a key set at most once."""

if __name__ == "__main__":
    vars(key_sets)["TURN"] = TURN
    main(["serve", "--port", sys.argv[1]])
