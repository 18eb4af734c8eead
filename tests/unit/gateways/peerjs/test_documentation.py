"""The table of PeerServer's own tests in docs/gateways/peerjs.md."""

from tests.documentation import ROOT, marked, rows


def test_each_case_names_a_test_that_exists() -> None:
    files = ("integration/test_peerjs.py", "unit/test_cross_origin.py", *(
        f"unit/gateways/peerjs/test_{name}.py" for name in ("codec", "gateway", "routes", "waiting")
    ))  # fmt: skip
    code = "\n".join((ROOT / "tests" / file).read_text() for file in files)
    cells = [row[2].strip("`") for row in rows(marked("docs/gateways/peerjs.md", "peerserver"))]
    assert len(cells) == 12
    assert [name for name in cells if f"def {name}(" not in code] == []
