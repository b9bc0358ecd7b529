"""Every candidate is put into the file as the product would put it there, and tested; ODEX is read as published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nl2code_model.evaluate import judging
from nl2code_model.evaluate.isolate import Isolation, Verdict
from nl2code_model.evaluate.judging import Judge, own_imports
from nl2code_model.evaluate.references import check
from nl2code_model.evaluate.tasks import Problem, read
from nl2code_model.evaluate.transplant import FORMS, case
from nl2code_server.errors import Nl2CodeError
from nl2code_server.feedback.events import CandidateRow

TASK = Problem(
    "7", "mbpp", "Write a function for the root of a number.", "root", "def root(x):", "assert root(9) == 3",
    ("assert root(9) == 3", "assert root(2) > 1.41", "assert root(0) == 0"), shown=1,
)  # fmt: skip
BODY = "def root(x):\n    return math.sqrt(x)"


def row(text: str, raw: str = "", **fields: Any) -> CandidateRow:
    given: dict[str, Any] = {
        "candidate_id": text, "request_id": "r", "choice_index": 0, "rank": 0, "n_candidates": 1, "status": "valid",
        "n_tokens": 9, **fields,
    }  # fmt: skip
    return CandidateRow(raw=raw or text, text=text, **given)


class Counted(Isolation):
    runs = 0

    def run(self, *arguments: Any, **options: Any) -> Verdict:
        self.runs += 1
        return super().run(*arguments, **options)


@pytest.fixture(scope="module")
def isolation() -> Iterator[Counted]:
    with Counted() as made:
        yield made


def test_each_candidate_has_its_verdict_and_each_program_is_run_once(isolation: Counted) -> None:
    judge = Judge(case(TASK), isolation, seconds=5)
    rows = [
        row("def root(x):\n    return 3", status="verified"),
        row("def root(x):\n    return -x", status="failed", rank=-1, origin="sample",
            verdicts=[{"check": "syntax", "ok": True}, {"check": "examples", "ok": False}]),
        row("def root(x):\n    return 3", origin="sample"),
        row("def root(x):\n    return x ** 0.5", origin="sample", status="verified"),
        row("", "I cannot.", origin="sample", status="failed", rank=-1),
    ]  # fmt: skip
    before = isolation.runs
    found = judge.candidates(rows, "", "")
    assert [one["origin"] for one in found] == ["greedy", *["sample"] * 4]
    assert [one["passed"] for one in found] == [False, False, False, True, False]
    # The first and third pass what is shown, not what is hidden.
    assert [one["example"] for one in found] == [True, False, True, True, None]
    assert [one["hidden"] for one in found] == [False, False, False, True, False]
    assert found[1]["checks"] == ["examples"]
    assert isolation.runs - before == 3


def test_imports_are_added_as_on_acceptance(isolation: Counted) -> None:
    judge = Judge(case(TASK), isolation, seconds=5)
    bare, written = row(BODY), row(BODY, f"import math\n\n\n{BODY}\n```\nimport this is prose")
    assert judge.accepted(bare).startswith("import math\n")
    assert judge.accepted(bare, missing=False).count("import") == 0
    assert judge.accepted(written, missing=False) == judge.accepted(bare)
    # As it came it does not run; what the product makes of it does.
    [found] = judge.candidates([bare], "", "")
    assert (found["as_it_came"], found["passed"]) == (False, True)
    [found] = judge.candidates([written], "", "")
    assert (found["as_it_came"], found["passed"]) == (True, True)


def test_import_lines_of_an_answer() -> None:
    raw = (
        "from a import (\n    b,\n    c,\n)\nimport d\ndef f():\n    import e\n# import f\nimport of goods\n"
    )
    assert own_imports(raw) == ["from a import (\n    b,\n    c,\n)", "import d", "import e"]


def test_the_accepted_file_counts_for_the_candidate_that_was_offered(isolation: Counted) -> None:
    judge = Judge(case(TASK), isolation, seconds=5)
    offered = row("def root(x):\n    return 1")
    after = f"{case(TASK).text}def root(x):\n    return x ** 0.5\n"
    assert judge.candidates([offered], offered.candidate_id, after)[0]["passed"] is True


def test_what_is_called_verified_is_run_again(isolation: Counted) -> None:
    placed = case(TASK)
    judge = Judge(placed, isolation, seconds=5)
    claimed = [{"call": "root(9)", "expected": "3", "got": "3", "ok": True}]
    assert judge.holds(f"{placed.text}def root(x):\n    return 3\n", claimed) is True
    assert judge.holds(f"{placed.text}def root(x):\n    return 4\n", claimed) is False
    assert judge.holds(f"{placed.text}def root(x):\n    return 4\n", []) is False
    silent = case(TASK, example=False)
    assert Judge(silent, isolation, seconds=5).holds(f"{silent.text}def root(x):\n    return 4\n", []) is None


@pytest.mark.parametrize("form", FORMS)
def test_examples_can_be_run_in_every_form(form: str, isolation: Counted) -> None:
    placed = case(TASK, form)
    judge = Judge(placed, isolation, seconds=5)
    code = "def root(x):\n    return x ** 0.5"
    if form == "class":
        code = "@staticmethod\n" + code
    for text, holds in ((code, True), (code.replace("0.5", "2"), False)):
        made = row("return x ** 0.5" if holds else "return x ** 2") if form == "stub" else row(text)
        assert judge.holds(judge.accepted(made), []) is holds, judge.accepted(made)


def test_an_example_may_raise(isolation: Counted) -> None:
    task = Problem(
        "8",
        "own",
        "Write a function.",
        "f",
        "def f(x):",
        "f(-1) raises ValueError",
        ("assert f(1) == 1",),
        shown=0,
    )
    placed = case(task)
    judge = Judge(placed, isolation, seconds=5)
    assert judge.examples[0].raises == "ValueError"
    assert judge.holds(f"{placed.text}def f(x):\n    raise ValueError\n", []) is True
    assert judge.holds(f"{placed.text}def f(x):\n    return x\n", []) is False


def test_a_candidate_that_never_ends_costs_little(
    isolation: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "UNOFFERED_SECONDS", 0.3)
    judge = Judge(case(TASK), isolation, seconds=60)
    [found] = judge.candidates([row("def root(x):\n    while True:\n        pass")], "", "")
    assert found["passed"] is False


# ODEX

ODEX: list[dict[str, Any]] = [
    {
        "task_id": 5, "prompt": "def f_5(lst, n):\n\treturn ", "suffix": "", "canonical_solution": "lst * n",
        "test_start": "\nLIMIT = 3\ndef helper(): return 1\n\ndef check(candidate):",
        "test": ["\n    assert candidate([1], 2) == [1, 1]\n", "\n    assert candidate([], LIMIT) == []\n"],
        "entry_point": "f_5", "intent": "¿Cómo repetir  la lista `lst` `n` veces?", "library": [],
    },
    {
        "task_id": 5, "prompt": "def f_5(lst, n):\n\treturn ", "suffix": "", "canonical_solution": "lst * n",
        "test_start": "\nimport math\n\ndef check(candidate):", "test": ["\n    assert candidate([1], 1) == [1]\n"],
        "entry_point": "f_5", "intent": "Repetir la lista.", "library": ["math"],
    },
]  # fmt: skip


def test_odex_rows(tmp_path: Path, isolation: Counted) -> None:
    path = tmp_path / "es_test.jsonl"
    path.write_text("\n".join(map(json.dumps, ODEX)))
    first, second = read(path)
    assert isinstance(first, Problem)
    assert isinstance(second, Problem)
    assert (first.id, second.id, first.set) == ("es-5", "es-5-2", "odex")
    assert (first.libraries, second.libraries) == ((), ("math",))
    placed = case(first)
    assert placed.text == "# ¿Cómo repetir la lista `lst` `n` veces? f_5(lst, n)\n"
    assert case(second).text == "# Repetir la lista: f_5(lst, n)\n"
    assert (placed.natural_language, placed.example, placed.shown) == ("es", False, 0)
    for code, passes in (
        ("def f_5(lst, n):\n    return lst * n", True),
        # What their tests define, an answer may use; what they import, it may not.
        ("def f_5(lst, n):\n    return lst * n * helper()", True),
        ("def f_5(lst, n):\n    return lst * n * LIMIT", False),
        ("def f_5(lst, n):\n    pass", False),
    ):
        judge = Judge(placed, isolation, seconds=5)
        assert judge.file(judge.accepted(row(code))).passed is passes, code


def test_a_set_is_looked_at_without_a_model(tmp_path: Path) -> None:
    path = tmp_path / "es_test.jsonl"
    always = {**ODEX[1], "task_id": 6, "test": ["\n    candidate([1], 1)\n"]}
    wrong = {**ODEX[1], "task_id": 7, "canonical_solution": "lst + n"}
    path.write_text("\n".join(map(json.dumps, [*ODEX, always, wrong])))
    found = check(read(path), seconds=5)
    assert (found["tasks"], found["references_pass"], found["given_away"]) == (4, 3, ["es-6"])
    assert list(found["failing"]) == ["es-7"]
    assert "TypeError" in found["failing"]["es-7"]


def test_odex_without_a_head_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ja_test.jsonl"
    path.write_text(json.dumps({**ODEX[0], "prompt": "x = "}))
    with pytest.raises(Nl2CodeError, match="has no head"):
        read(path)


@pytest.mark.parametrize("shown", ["share(2, 3) -> 0.67", "input 2 and 3, output 0.67"])
def test_an_example_holds_as_the_product_understands_it(shown: str, isolation: Counted) -> None:
    task = Problem(
        "9",
        "own",
        "Write a function.",
        "share",
        "def share(a, b):",
        shown,
        ("assert share(1, 1) == 1",),
        shown=0,
    )
    placed = case(task)
    judge = Judge(placed, isolation, seconds=5)
    assert len(judge.examples) == 1
    rounded, exact, wrong = "round(a / b, 2)", "a / b", "a * b"
    ways = (rounded, exact, wrong) if judge.examples[0].tolerance else (rounded, wrong)
    found = [judge.holds(f"{placed.text}def share(a, b):\n    return {way}\n", []) for way in ways]
    assert found == [True] * (len(ways) - 1) + [False]
