from tests.bench.report import joined, markdown, table
from tests.bench.shapes import CHECKS
from tests.bench.speak import Dialect


def results() -> dict:
    shape = {"key": "50x2", "title": "50 rooms × 2", "kind": "flood", "only": []}
    systems = [
        {"key": "relay", "title": "Relay", "version": "1"},
        {"key": "socketio", "title": "Socket.IO", "version": "4"},
    ]
    samples = [
        {
            "system": key,
            "shape": "50x2",
            "round": 0,
            "figures": {"cpu": cpu, "cpu_message": cpu, "lost": 0, "load_share": 0.5},
            "failures": [],
        }
        for key, cpu in (("relay", 10.0), ("socketio", 80.0))
    ]
    return {
        "machine": {"CPU": "2 × some"},
        "rounds": 1,
        "seconds": 5,
        "date": "2026-01-01",
        "systems": systems,
        "shapes": [shape],
        "left_out": {"Nchan": "not installed here: apt-get"},
        "samples": samples,
    }


def test_ratios_come_before_the_figures_behind_them() -> None:
    text = markdown(results())
    assert text.index("| Socket.IO | 0.125 |") < text.index("| Socket.IO | 80 |")


def test_clients_of_other_protocols_are_beside_their_own_server() -> None:
    said = results()
    said["systems"] += [
        {"key": "relay-peerjs", "title": "Relay, PeerJS clients", "version": "1"},
        {"key": "peer", "title": "PeerServer", "version": "1"},
    ]
    for key, cpu, memory in (("relay-peerjs", 30.0, 6000), ("peer", 20.0, 12000)):
        sample = {"system": key, "round": 0, "failures": []}
        said["samples"].append({**sample, "shape": "50x2", "figures": {"cpu": cpu}})
        said["samples"].append({**sample, "shape": "idle", "figures": {"memory": memory}})
    text = markdown(said)
    assert "| CPU per delivery | 50 rooms × 2 | memory per idle connection |" in text
    assert "| Relay, PeerJS clients, of PeerServer | 1.5 | 0.5 |" in text
    said["shapes"].append({"key": "calls", "title": "Calls", "kind": "calls", "only": []})
    for key, cost in (("relay-peerjs", 300.0), ("peer", 100.0)):
        figures = {"call_cpu": cost}
        said["samples"].append({"system": key, "shape": "calls", "round": 0, "figures": figures, "failures": []})
    assert "| Relay, PeerJS clients, of PeerServer | 1.5 | 3 | 0.5 |" in markdown(said)
    assert "of their own server" not in markdown(results())


def test_a_target_says_whether_it_is_met() -> None:
    assert "of Socket.IO at its best | 0.125 | ≤ 0.5 | met |" in markdown(results())


def test_a_target_to_exceed_has_its_own_sign() -> None:
    assert "handshakes a second, of Socket.IO at its best | – | ≥ 1.5 | not measured |" in markdown(results())


def test_abilities_that_a_system_lacks_are_named() -> None:
    said = results()
    said["systems"][1]["lacks"] = ["ids", "log"]
    assert "- Socket.IO: ids, log" in markdown(said)
    assert "Not done" not in markdown(results())


def test_two_load_generators_are_compared_by_the_shares_that_they_find() -> None:
    said = results()
    costs = {"relay": (10.0, 12.0), "ws": (20.0, 20.0)}
    said["systems"] = [{"key": key, "title": key, "version": "1"} for key in costs]
    for key, both in costs.items():
        for shape, cost in zip(CHECKS[:2], both, strict=True):
            figures = {"cpu_message": cost}
            said["samples"].append({"system": key, "shape": shape.key, "round": 0, "figures": figures, "failures": []})
    assert "| ws, 50 × 2, 4,000 messages/s | 20 | 20 | 0.5 | 0.6 | 20% |" in markdown(said)


def test_missing_results_are_named() -> None:
    assert "- Nchan: not installed here: apt-get" in markdown(results())


def test_the_load_generators_share_is_reported() -> None:
    assert "at most 50% of the time" in markdown(results())


def test_a_table_without_rows_is_left_out() -> None:
    assert table(("", "a"), []) == ""
    assert "Scaling" not in markdown(results())


def test_a_dialect_becomes_options_in_its_order() -> None:
    script = (("send", "40"), ("await", "sid"))
    dialect = Dialect("/x", publish="m", script=script, reply="2=3", post="/y", echo=True)
    options = ["--path", "/x", "--publish", "m", "--send", "40", "--await", "sid", "--reply", "2=3"]
    assert dialect.arguments() == [*options, "--post", "/y", "--echo"]


def test_a_run_in_pieces_is_one_run() -> None:
    first, second = results(), results()
    second["shapes"] = [{"key": "1x200", "title": "1 × 200", "kind": "flood", "only": []}]
    second["samples"] = [{**first["samples"][0], "shape": "1x200", "round": number} for number in (0, 1)]
    text = markdown(joined([first, second]))
    assert "| Relay | 10 | 10 |" in text
    assert "medians of 1 interleaved rounds (2 of 1 × 200), of 5 s each" in text
