import ast
from pathlib import Path

import pytest

from tests.checks import rules
from tests.checks.rules import Module, Rule


def violations(rule: Rule, root: Path = Path("/nowhere"), **sources: str) -> list[str]:
    """The findings of a rule in modules of these names; `__` in a name stands for a dot."""
    modules = {}
    for key, source in sources.items():
        name = key.replace("__", ".")
        modules[name] = Module(name.replace(".", "/") + ".py", name, ast.parse(source))
    return list(rule(modules, root))


def test_two_public_classes_of_one_name() -> None:
    found = violations(
        rules.class_names_are_unique, relay__a="class X: ...\nclass _Y: ...", relay__b="\nclass X: ...\nclass _Y: ..."
    )
    assert found == ["relay/b.py:2: class X has the name of the class in relay/a.py"]


def test_logic_without_a_test_file(tmp_path: Path) -> None:
    logic = "def f(x):\n    if x:\n        return 1\n"
    assert violations(rules.logic_has_a_test_file, tmp_path, relay__a__b=logic) == [
        "relay/a/b.py:1: has no test file tests/unit/a/test_b.py"
    ]
    (tmp_path / "tests/unit/a").mkdir(parents=True)
    (tmp_path / "tests/unit/a/test_b.py").touch()
    assert violations(rules.logic_has_a_test_file, tmp_path, relay__a__b=logic) == []


@pytest.mark.parametrize(
    "source", ["X = max(1, 2)", "class P:\n    def f(self) -> int: ...", "def f(self):\n    return self._x"]
)
def test_declarations_need_no_test_file(source: str) -> None:
    assert violations(rules.logic_has_a_test_file, relay__a=source) == []


def test_imports_for_types_only() -> None:
    source = "from typing import TYPE_CHECKING, Any"
    assert len(violations(rules.no_imports_for_types_only, relay__a=source, relay__b="import typing")) == 1


def test_import_cycles_also_inside_functions() -> None:
    found = violations(
        rules.no_import_cycles,
        relay__a="from relay.b import X",
        relay__b="def f():\n    from relay import c",
        relay__c="import relay.a",
        relay__d="from relay import a, b, c",
    )
    assert len(found) == 1
    assert {"relay.a", "relay.b", "relay.c"} == set(found[0].partition("import cycle: ")[2].split(" → "))


@pytest.mark.parametrize(
    ("text", "passes"), [("See `X.y`.", False), ("See `X`", False), ("Close it. See `X.y`.", True)]
)
def test_docstrings_that_only_refer(text: str, passes: bool) -> None:
    found = violations(rules.docstrings_say_something, relay__a=f'def f():\n    """{text}"""')
    assert (found == []) is passes


def test_this_project_has_no_cycles() -> None:
    root = Path(__file__).parents[3]
    assert list(rules.no_import_cycles(rules.read_modules(root), root)) == []


def test_only_a_gateway_imports_itself() -> None:
    found = violations(
        rules.only_a_gateway_imports_itself,
        relay__gateways__x__declaration="",
        relay__gateways__x__routes="from relay.gateways.x import declaration",
        relay__gateways__y__declaration="from relay.gateways.x.routes import X",
        relay__gateways__base__session="from relay.gateways import x",
        relay__app="from relay import gateways\nfrom relay.gateways import composition",
        relay__http="import relay.gateways.x.routes",
    )
    assert [one.partition(":")[0] for one in found] == [
        "relay/gateways/y/declaration.py",
        "relay/gateways/base/session.py",
        "relay/http.py",
    ]


@pytest.mark.parametrize(
    "code",
    ["x = '/socket.io/'", "x = b'socketio'", "class MySocketIO: ...", "def f(socketio_events): ...", "f(socketio=1)",
     "from socketio import x", "x.socketIo", "protocol = 'native'", "NativeGateway()"],
)  # fmt: skip
def test_code_that_names_a_gateway_outside_its_folder(code: str) -> None:
    assert len(violations(rules.only_a_gateway_names_itself, relay__http__cors=code)) >= 1
    inside = {"relay__gateways__socketio__a": code, "relay__gateways__native__a": code}
    assert len(violations(rules.only_a_gateway_names_itself, **inside)) >= 1


@pytest.mark.parametrize("code", ["'As Socket.IO does.'", "# native\nx = 1", "alternative = 1", "x = 'websocket, io'"])
def test_prose_may_name_a_gateway(code: str) -> None:
    assert violations(rules.only_a_gateway_names_itself, relay__http__cors=code) == []


def test_pages_and_scripts_name_no_gateway_either(tmp_path: Path) -> None:
    for path, text in (
        ("relay/pages/home.html", "<p>\nSocket.IO"),
        ("relay/pages/client.js", "// As Socket.IO does.\nx = 1"),
        ("relay/gateways/socketio/snippets.html", "Socket.IO"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    found = violations(rules.only_a_gateway_names_itself, tmp_path)
    assert found == ["relay/pages/home.html:2: names the gateway socketio"]
