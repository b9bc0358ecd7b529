"""What watches the network sees what tries to leave, and that nothing of ours does."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

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
