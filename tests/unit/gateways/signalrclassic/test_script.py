import subprocess
from pathlib import Path

from relay.gateways.signalrclassic.hubs import ClassicHubs
from relay.gateways.signalrclassic.script import ProxyScript
from tests.fleet import require


def test_each_hub_has_its_methods_by_their_declared_names() -> None:
    text = ProxyScript(ClassicHubs(["GeckoHub.SendToAll:broadcastMessage"])).below("/signalr").decode()
    assert """add('webRtcHub3', 'webRtcHub3', {"send":"Send"});""" in text
    assert """add('geckoHub', 'geckoHub', {"sendToAll":"SendToAll"});""" in text
    assert "Call the client hub method" in text
    assert ': "/signalr";' in text


def test_a_path_cannot_leave_its_text(tmp_path: Path) -> None:
    file = tmp_path / "hubs.js"
    script = ProxyScript(ClassicHubs([])).below("/rooms/</script>\"'\\/signalr")
    assert b"</script>" not in script
    file.write_bytes(script)
    subprocess.run([require("node"), "--check", str(file)], check=True)
