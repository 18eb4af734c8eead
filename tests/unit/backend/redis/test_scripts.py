import hashlib
import re
from importlib.resources import files

import pytest

from relay.backend.redis.scripts import (
    ALL,
    FLEET_KEY,
    HEARTBEAT,
    PUBLISH,
    PUBLISH_TOGETHER,
    RUN,
    TURN_OVER,
    WAIT,
    WAIT_OVER,
    Script,
)

FOLDER = files("relay.backend.redis") / "lua"
OWN_PART = {script.name: (FOLDER / f"{script.name}.lua").read_text() for script in ALL}


def test_every_file_is_a_part_of_a_script() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {
        *(f"{script.name}.lua" for script in ALL),
        "shared.lua",
        "publish_together_fast.lua",
        "publish_slow.lua",
        "places.lua",
        "attempts.lua",
        "fence.lua",
        "outbox.lua",
        "rules.lua",
        "tree.lua",
    }


def test_the_fast_path_comes_before_the_functions_that_it_does_not_need() -> None:
    parts = ["publish_together_fast", "shared", "publish_slow", "publish_together"]
    assert PUBLISH_TOGETHER.source == "".join((FOLDER / f"{name}.lua").read_text() for name in parts)


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_a_script_is_known_by_its_hash(script: Script) -> None:
    assert script.sha == hashlib.sha1(script.source.encode(), usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("script", ALL, ids=lambda script: script.name)
def test_a_script_states_its_cost_its_keys_and_its_result(script: Script) -> None:
    parts = {PUBLISH: "publish_slow", PUBLISH_TOGETHER: "publish_together_fast"}
    head = (FOLDER / f"{parts[script]}.lua").read_text() if script in parts else OWN_PART[script.name]
    comment = "".join(re.findall("^--.*$", head, flags=re.M))
    assert re.search(r"Cost: O\(", comment)
    assert "KEYS: " in comment
    assert "Returns " in comment


def test_only_scripts_about_members_and_rules_touch_the_options() -> None:
    # The fifth key of publishing is the list of large messages.
    touching = {script.name for script in ALL if "publish" not in script.name and "KEYS[5]" in script.source}
    assert touching == {"join", "announce", "change", "leave", "govern", "kick", "close", "move"}


def test_only_the_lines_that_save_an_epoch_and_a_counter_write_to_the_meta_key() -> None:
    writes = {
        line.strip()
        for script in ALL
        # The first keys of these are not the meta key of a room.
        if script not in (HEARTBEAT, FLEET_KEY, RUN, WAIT, WAIT_OVER, TURN_OVER)
        for line in script.source.splitlines()
        if re.search(r"'(HSET|HDEL|HINCRBY|DEL|RENAME|SET)', KEYS\[(1|key)\]", line)
    }
    assert writes == {
        "local newest, sent = found and redis_pcall('HINCRBY', KEYS[key], version, number), 0",
        "if sent < number then call('HINCRBY', KEYS[key], version, sent - number) end",
        "call('HINCRBY', KEYS[key], version, -number)",
        "call('HDEL', KEYS[key], version)",
        "if state.counter and state.counter ~= counter then call('HDEL', KEYS[1], state.counter) end",
        "call('HSET', KEYS[1], 'e', state.epoch_text, counter, sequence(state.seq))",
    }
