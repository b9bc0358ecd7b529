"""A whole suggestion of the real model, with no way out of this machine, and nothing that looks for one."""

from __future__ import annotations

import pytest

from nl2code_server.cli.doctor_network import findings

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


def test_a_suggestion_leaves_this_machine_nowhere() -> None:
    found = list(findings())
    print(found)
    assert [state for _, state, _, _ in found] == ["ok", "ok"]
    assert "def gcd" in found[1][2]
