from relay.backend.redis.keys import Keys

KEYS = Keys("relay")


def test_a_room_has_six_keys_in_one_slot_of_a_cluster() -> None:
    assert KEYS.of_room("a.b") == (
        "relay:{a.b}:meta",
        "relay:{a.b}:presence",
        "relay:{a.b}:repeats",
        "relay:{a.b}:log",
        "relay:{a.b}:options",
        "relay:{a.b}:quiet",
    )


def test_the_delivered_positions_share_the_slot_of_their_room() -> None:
    assert KEYS.positions("a.b") == "relay:{a.b}:positions"
    assert KEYS.of_positions("a.b") == ("relay:{a.b}:presence", "relay:{a.b}:positions")


def test_the_redis_channel_of_a_room_and_back() -> None:
    assert KEYS.channel("a.b") == "relay:{a.b}"
    assert KEYS.room_of(KEYS.channel("a.b").encode()) == "a.b"


def test_the_database_is_a_part_of_the_names_of_channels_only() -> None:
    keys = Keys("relay", 3)
    assert keys.channel("a.b") == "relay:@3:{a.b}"
    assert keys.room_of(keys.channel("a.b").encode()) == "a.b"
    assert keys.probe("w") == "relay:@3:worker:w:probe"
    assert keys.of_room("a.b") == KEYS.of_room("a.b")
    assert (keys.positions("a"), keys.workers) == (KEYS.positions("a"), KEYS.workers)
    assert Keys("relay", 0).channel("a") == KEYS.channel("a")


def test_keys_without_a_room() -> None:
    assert (KEYS.workers, KEYS.fleet_key, KEYS.probe("w"), KEYS.worker_rooms("w/1")) == (
        "relay:workers",
        "relay:fleet-key",
        "relay:worker:w:probe",
        "relay:worker:w/1:rooms",
    )
