"""What is pointed out about a candidate, and what of it keeps a candidate back; and buffers made to do harm."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from fakes.secrets import planted
from nl2code_server.lang.context import collect
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.hidden import hidden
from nl2code_server.lang.instruction import at, find
from nl2code_server.lang.placement import place
from nl2code_server.lang.prompt import build, defuse
from nl2code_server.suggest import Job
from nl2code_server.suggest.judge import edits_for
from nl2code_server.suggest.warn import SOFT, warnings_of

ROOT = Path(__file__).parents[2]
BUFFERS = Path(os.environ.get("HOSTILE_BUFFERS", ROOT / "data" / "hostile" / "buffers.jsonl"))
ROW = "\n".join(f"    value_{n} = first[{n}] + second({n}, 'x')" for n in range(30))


def found(
    code: str, text: str = "# write f\n", *, raw: str = "", accepted: tuple[str, ...] = ()
) -> dict[str, bool]:
    """Return the warnings about code for the first comment of a text, each with whether it may be grey text."""
    snapshot = Snapshot.from_text(text)
    instruction = at(
        snapshot, next(n for n, line in enumerate(text.split("\n")) if "write" in line), attention="invoked"
    )
    assert instruction
    job = Job(snapshot, instruction, accepted=accepted)
    placement = place(snapshot, instruction)
    after = snapshot.edited(edits_for(job, placement, code, (), comment="keep"))
    checks = list(warnings_of(job, placement, after, code, (), raw or code))
    assert all(check.detail for check in checks)
    assert {check.check for check in checks if not check.ok} <= set(SOFT)
    return {check.check: check.ok for check in checks}


def test_ordinary_code_has_no_warnings() -> None:
    assert found("def f(x):\n    return x + 1\n") == {}


def test_each_warning_and_whether_it_keeps_code_back() -> None:
    run = "import os\n\n\ndef f(x):\n    os.system(x)\n"
    assert found(run) == {"risks": False}
    assert found(run, "# write f that runs a command\n") == {"risks": True}
    assert found("def f():\n    return 1", raw="def f():\n    return\u202e 1") == {"hidden": True}
    assert found("def f(p\u0430ypal):\n    return p\u0430ypal") == {"hidden": False}
    assert found("# Copyright (c) 2019 Somebody\ndef f():\n    return 1") == {"licence": False}
    copied = f"def f(first, second):\n{ROW}\n    return value_1"
    assert found(copied, accepted=(copied,)) == {"copy": True}
    assert found(copied, accepted=("def g(): ...",)) == {}
    token = planted()["github token"]
    assert found(f"def f():\n    return {token!r}") == {"secrets": True}
    assert found(f"def f():\n    return {token!r}", f"old = {token!r}\n\n\n# write f\n") == {}


@pytest.mark.skipif(not BUFFERS.exists(), reason="the buffers are not here; HOSTILE_BUFFERS names them")
def test_hostile_buffers_show_the_model_neither_hidden_text_nor_control_tokens() -> None:
    shown = 0
    for line in BUFFERS.read_text(encoding="utf-8").splitlines():
        buffer = json.loads(line)
        snapshot = Snapshot.from_text(buffer["text"].encode("utf-8", "replace").decode())
        for instruction in find(snapshot, "auto"):
            placement = place(snapshot, instruction)
            prompt = build(
                instruction.text, placement, collect(snapshot, instruction, placement, tokens=1000)
            )
            for part in [*(content for _, content in prompt.messages), prompt.prefill]:
                assert hidden(part) == (), buffer["name"]
                assert defuse(part) == part, buffer["name"]
            shown += 1
    assert shown > 20
