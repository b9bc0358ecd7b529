"""What watches the network sees what tries to leave, and that nothing of ours does."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e import namespaces
from e2e.door import COMMENT, GCD, MARK, door, fenced
from fakes.endpoint import FakeEndpoint
from nl2code_server.cli import doctor_network
from nl2code_server.cli.doctor_network import _judged, findings
from nl2code_server.platform import paths

SEEN: dict[str, Any] = {
    "hook_works": True,
    "processes": 4,
    "elsewhere": [],
    "counters": 0,
    "counters_work": True,
    "suggestion": "def gcd(a, b):",
    "reason": "",
}


def states(**changed: Any) -> list[str]:
    return [state for _, state, _, _ in _judged(SEEN | changed)]


def test_each_witness_counts_and_a_blind_one_is_no_witness() -> None:
    assert states() == ["ok", "ok"]
    assert states(elsewhere=["socket.connect 198.51.100.7"]) == ["fail"]
    assert states(counters=3) == ["fail"]
    assert states(hook_works=False) == ["fail"]
    assert states(counters_work=False) == ["fail"]
    assert states(suggestion="", reason="no model") == ["ok", "warn"]
    told = [detail for _, _, detail, _ in _judged(SEEN | {"counters": None, "counters_work": None})]
    assert "native code does is not proven" in told[0]


def test_a_server_without_a_model_leaves_this_machine_nowhere() -> None:
    """The same run as a user's; there are no weights in a test's folders, so no host is started."""
    assert not paths().models.exists()
    found = list(findings())
    assert [state for _, state, _, _ in found] == ["ok", "warn"], found
    assert "nothing tried to leave this machine" in found[0][2]
    assert "is not on this machine yet" in found[1][2]


def test_a_server_that_would_leave_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = (
        doctor_network._HOOK
        + "\nimport socket\ntry:\n    socket.getaddrinfo('models.example', 443)\nexcept OSError:\n    pass\n"
    )
    code = (
        "import sys\nfrom nl2code_server.cli import doctor_network as d\n"
        f"d._HOOK = {hook!r}\nsys.argv[1:] = ['shared']\nd.main()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=True
    )
    ((_, state, detail, _),) = _judged(json.loads(run.stdout))
    assert state == "fail"
    assert "socket.getaddrinfo models.example" in detail


def test_a_session_needs_no_network_but_loopback(tmp_path: Path) -> None:
    if not namespaces.allowed("-rn", "true"):
        pytest.skip("this machine gives nobody a network namespace of their own")
    told = namespaces.told("-rn", "e2e.alone", tmp_path / "home")
    assert told.pop("shut") is True
    assert GCD in told.pop("file")
    assert "Generate code" in told.pop("action")
    assert not told


# What Python's own modules and httpx2's backends call; `socket.connect` of the C module is behind all of them.
PATCH = """
import socket
_connect, _connect_ex, _sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
def _note(address):
    with open({record!r}, "a") as file:
        file.write(f"{{address[0] if isinstance(address, tuple) else 'unix'}}\\n")
class _Watched(socket.socket):
    def connect(self, address):
        _note(address)
        return _connect(self, address)
    def connect_ex(self, address):
        _note(address)
        return _connect_ex(self, address)
    def sendto(self, data, *more):
        _note(more[-1])
        return _sendto(self, data, *more)
socket.socket = _Watched
"""


async def test_every_connection_goes_to_loopback(tmp_path: Path) -> None:
    record = tmp_path / "connections"
    (tmp_path / "patch").mkdir()
    (tmp_path / "patch" / "sitecustomize.py").write_text(PATCH.format(record=str(record)))
    env = {"PYTHONPATH": str(tmp_path / "patch")}
    # The patch sees what it is there for.
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.9', 9))"
    tried = await asyncio.create_subprocess_exec(sys.executable, "-c", code, env={**os.environ, **env})
    assert await tried.wait() == 0
    assert record.read_text().split() == ["127.0.0.9"]
    record.unlink()
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, env=env) as editor:
            assert GCD in await editor.completed(f"{COMMENT}{MARK}\n")
    assert {*record.read_text().split()} == {"127.0.0.1"}
