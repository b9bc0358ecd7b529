"""Candidates that give the same outputs for made-up inputs stand together."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from nl2code_server.lang import Edit
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.suggest import Job, agree
from nl2code_server.suggest.agree import agreed, inputs
from nl2code_server.suggest.generate import GREEDY, Answer
from nl2code_server.suggest.judge import Candidate
from nl2code_server.suggest.rank import order
from nl2code_server.suggest.sandbox import Limits, Result, Sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    await sandbox.close()


def job(text: str = "# write a function\n") -> Job:
    snapshot = Snapshot.from_text(text)
    found = at(snapshot, 0, attention="invoked")
    assert found is not None
    return Job(snapshot, found)


def candidates(*codes: str, status: Any = "valid") -> list[Candidate]:
    return [
        Candidate(
            f"{status}{number}",
            Answer(code, GREEDY, 10, -float(number), "unit", 0.1, True),
            code,
            edits=(Edit((1, 0), (1, 0), code + "\n"),),
            status=status,
            origin="sample",
        )
        for number, code in enumerate(codes)
    ]


ODD, SUM, SUM_TOO = (
    "def f(a, b):\n    return a * b",
    "def f(a, b):\n    return a + b",
    "def add(first, second):\n    return sum([first, second])",
)


async def test_the_biggest_group_comes_first(sandbox: Sandbox) -> None:
    found = await agreed(job(), (), candidates(ODD, SUM, SUM_TOO), sandbox)
    assert [one.agreement for one in found] == [0, 2, 2]
    assert [one.code for one in order(found)] == [SUM, SUM_TOO, ODD]


async def test_what_cannot_run_agrees_with_nobody(sandbox: Sandbox) -> None:
    lazy = "def f(a, b):\n    yield a"
    found = await agreed(job(), (), candidates(lazy, lazy, "x = 1", SUM, SUM_TOO), sandbox)
    assert [one.agreement for one in found] == [0, 0, 0, 2, 2]


async def test_failures_have_no_vote(sandbox: Sandbox) -> None:
    wrong = candidates(ODD, ODD, ODD, status="failed")
    found = await agreed(job(), (), [*wrong, *candidates(SUM, SUM_TOO)], sandbox)
    assert [one.agreement for one in found][:3] == [0, 0, 0]


async def test_endless_candidates_end_in_time(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agree, "SECONDS", 0.5)
    endless = candidates(*["def f(a):\n    while True:\n        pass"] * 6)
    assert [one.agreement for one in await agreed(job(), (), endless, sandbox)] == [0] * 6


class Missing:
    async def run(
        self, code: str, expressions: Sequence[str], *, limits: Limits | None = None
    ) -> tuple[Result, ...]:
        return (Result("unrunnable", "the sandbox is not installed"),) * len(expressions)

    async def close(self) -> None: ...


async def test_without_a_sandbox_nobody_agrees() -> None:
    found = await agreed(job(), (), candidates(SUM, SUM, SUM), Missing())
    assert [one.agreement for one in found] == [0, 0, 0]


@pytest.mark.parametrize(
    ("head", "first"),
    [
        ("def f(numbers)", "f([3, 1, 2])"),
        ("def f(n)", "f(0)"),
        ("def f(text, n)", "f('abc', 0)"),
        ("def f(words: list[str])", "f(['b', 'a', 'cc'])"),
        ("def f(x: Sequence[int])", "f([3, 1, 2])"),
        ("def f(x: dict[str, int])", "f({'a': 1, 'b': 2})"),
        ("def f(x: str | None)", "f('abc')"),
        ("def f(matrix)", "f([[1, 2], [3, 4]])"),
        ("def f(price, rate=0.2)", "f(0.5)"),
        ("def f(x=3)", "f(0)"),
        ("def f(self, n)", "f(0)"),
        ("def f()", "f()"),
    ],
)
def test_inputs_follow_annotations_then_names(head: str, first: str) -> None:
    made = list(inputs(ast.parse(f"{head}: ...").body[0], "f"))
    assert made[0] == first
    assert 1 <= len(made) <= 8
    assert len(set(made)) == len(made)
