"""How relay.js is joined from its modules and served."""

import gzip
import re
import subprocess
from pathlib import Path

import pytest

from relay import __version__
from relay.pages import script
from relay.pages.static import read
from tests.fleet import require
from tests.unit.http.conftest import MakeSite

README = (Path(__file__).parents[3] / "README.md").read_text()
CLIENT = Path(script.__file__).parent / "client"
PATHS = ("/relay.js", "/relay.mjs", "/relay.d.ts")


def test_every_module_is_in_the_script_once() -> None:
    assert sorted(f"{name}.js" for name in script.MODULES) == sorted(path.name for path in CLIENT.iterdir())
    for name in script.MODULES:
        needed = re.findall(r"from '\./(\w+)\.js'", read(f"client/{name}.js"))
        assert all(script.MODULES.index(other) < script.MODULES.index(name) for other in needed), name


@pytest.mark.parametrize(("name", "make"), [("relay.js", script.as_script), ("relay.mjs", script.as_module)])
def test_both_forms_are_valid_javascript_without_imports(tmp_path: Path, name: str, make) -> None:
    path = tmp_path / name
    path.write_text(make())
    subprocess.run([require("node"), "--check", path], check=True)
    exports = ["export { Relay, Room, Mesh, RelayError, RelayEvent };", "export default Relay;"]
    found = re.findall(r"^(?:import|export).*", make(), re.MULTILINE)
    assert found == ([] if name == "relay.js" else exports)
    assert make().startswith(f"// relay.js {__version__}")


def test_the_size_is_that_of_the_readme() -> None:
    (stated,) = re.findall(r"(\d+) KB compressed", README)
    size = len(gzip.compress(script.as_script().encode(), mtime=0)) / 1000
    assert int(stated) - 1 < size <= int(stated)


@pytest.mark.parametrize("path", PATHS)
async def test_pages_of_any_origin_may_load_and_cache_it(site: MakeSite, path: str) -> None:
    here = site(allowed_origins=("https://app.example",), pages="off")
    answer = await here.get(path, headers={"Origin": "https://elsewhere.example", "Accept-Encoding": "identity"})
    assert answer.status_code == 200
    kind = "text/plain" if path.endswith(".ts") else "text/javascript"
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["cache-control"] == "public, max-age=600"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "accept-encoding" in answer.headers["vary"].lower()


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_with_the_current_version_gets_304(site: MakeSite, path: str) -> None:
    here = site()
    plain = await here.get(path, headers={"Accept-Encoding": "br, gzip;q=0"})
    packed = await here.get(path, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in (await here.get(path, headers={"Accept-Encoding": "gzip; q=0.000"})).headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content
    assert plain.headers["etag"] != packed.headers["etag"]
    for tags in (plain.headers["etag"], f'"other", W/{packed.headers["etag"]}', "*"):
        again = await here.get(path, headers={"If-None-Match": tags})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"]
    assert (await here.get(path, headers={"If-None-Match": '"other"'})).status_code == 200
    assert (await here.request("HEAD", path)).headers["etag"] == packed.headers["etag"]
    assert (await here.request("POST", path)).status_code == 405
