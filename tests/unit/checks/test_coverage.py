from tests.checks.coverage import Tally, table, tally


def report(*, lines: int, run: int, branches: int = 0, branches_run: int = 0) -> dict:
    counts = {"num_statements": lines, "covered_lines": run, "num_branches": branches, "covered_branches": branches_run}
    return {"summary": counts}


def test_sums_are_of_the_files_of_each_package() -> None:
    files = {
        "relay/model/a.py": report(lines=10, run=9, branches=4, branches_run=4),
        "relay/model/deep/b.py": report(lines=10, run=10, branches=4, branches_run=2),
        "relay/modelling.py": report(lines=10, run=0),
        "relay/wire/c.py": report(lines=1, run=1),
    }
    tallies = tally(files, ("relay/model", "relay/wire"))
    assert tallies["relay/model"].percentages == (95.0, 75.0)
    assert tallies["relay/wire"].percentages == (100.0, 100.0)


def test_the_table_marks_modules_below_the_threshold() -> None:
    lines = table({"relay/model": Tally(100, 95, 100, 94), "relay/wire": Tally(100, 95, 100, 95)}).splitlines()
    assert lines[1].endswith("94.0 % of 100   below 95 %")
    assert lines[2].endswith("95.0 % of 100")
