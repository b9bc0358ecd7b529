"""Task sets are read as they are published, and their tasks stand in files as users would write them."""

from __future__ import annotations

import ast
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from nl2code_model.evaluate import chat, judging, measure
from nl2code_model.evaluate.isolate import Isolation
from nl2code_model.evaluate.tasks import Problem, read
from nl2code_model.evaluate.transplant import FORMS, Case, case
from nl2code_server.errors import Nl2CodeError
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import apply, splice

Row = dict[str, Any]

# Rows of our own in the published formats.
MBPP: Row = {
    "text": "Write a function to halve the numbers of a list.",
    "code": "def aid(x):\r\n  return x / 2\r\ndef halve_all(nums, *, up=False):\r\n  return [aid(n) for n in nums]",
    "task_id": 7,
    "test_setup_code": "",
    "test_list": ["assert halve_all([2, 4]) == [1, 2]", "assert halve_all([]) == []"],
    "challenge_test_list": [],
}  # fmt: skip
SANITIZED: Row = {
    "source_file": "own",
    "task_id": 8,
    "prompt": "Write a python function to find the distance of two numbers.",
    "code": "def gap(a, b):\n    return abs(a - b)",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(gap(1, 3), 2)", "assert gap(3, 1) == 2"],
}
HUMAN_EVAL: Row = {
    "task_id": "HumanEval/900",
    "prompt": (
        "from typing import List\n\n\ndef helper(x):\n    return x\n\n\n"
        "def count_ups(values: List[int]) -> int:\n"
        '    """ Count how often a value is larger than the one before.\n'
        "    For example:\n"
        "    >>> count_ups([1, 2, 1])\n"
        "    1\n"
        '    """\n'
    ),
    "entry_point": "count_ups",
    "canonical_solution": "    return sum(b > a for a, b in zip(values, values[1:]))\n",
    "test": (
        "METADATA = {}\n\n\ndef check(candidate):\n"
        "    assert candidate([1, 2, 1]) == 1\n    assert candidate([]) == 0\n"
    ),
}
SOLUTIONS = {
    "7": "def halve_all(nums):\n    return [n / 2 for n in nums]",
    "8": "def gap(a, b):\n    return abs(a - b)",
    "HumanEval-900": "def count_ups(values):\n    return sum(b > a for a, b in zip(values, values[1:]))",
}


def written(folder: Path, name: str, rows: list[Row]) -> Path:
    path = folder / name
    lines = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows)) + "\n"
    path.write_bytes(gzip.compress(lines.encode()) if name.endswith(".gz") else lines.encode())
    return path


@pytest.fixture
def problems(tmp_path: Path) -> list[Problem]:
    files = [("mbpp.jsonl", MBPP), ("sanitized-mbpp.json", SANITIZED), ("HumanEval.jsonl", HUMAN_EVAL)]
    found = [task for name, row in files for task in read(written(tmp_path, name, [row]))]
    return [task for task in found if isinstance(task, Problem)]


def test_mbpp_rows(problems: list[Problem]) -> None:
    full, sanitized, _ = problems
    assert (full.id, full.set, full.name) == ("7", "mbpp", "halve_all")
    assert full.signature == "def halve_all(nums, *, up=False):"
    assert full.example == full.tests[0] == "assert halve_all([2, 4]) == [1, 2]"
    assert full.shown == 1
    assert (sanitized.id, sanitized.name, sanitized.setup) == ("8", "gap", "import math")
    assert sanitized.text == "Write a python function to find the distance of two numbers."


def test_human_eval_rows(problems: list[Problem], tmp_path: Path) -> None:
    task = problems[2]
    assert (task.id, task.set, task.name) == ("HumanEval-900", "humaneval", "count_ups")
    assert task.signature == "def count_ups(values: List[int]) -> int:"
    assert task.text == "Count how often a value is larger than the one before."
    assert task.example == ">>> count_ups([1, 2, 1])\n1"
    assert task.preamble.endswith("return x")
    assert read(written(tmp_path, "HumanEval.jsonl.gz", [HUMAN_EVAL])) == [task]


def test_the_default_is_a_comment_with_the_first_assert(problems: list[Problem]) -> None:
    placed = case(problems[0])
    assert placed.text == (
        "# Write a function to halve the numbers of a list, e.g. assert halve_all([2, 4]) == [1, 2]\n"
    )
    assert (placed.line, placed.shown, placed.example) == (0, 1, True)


def test_without_the_example_the_head_is_given_and_no_test_is_shown(problems: list[Problem]) -> None:
    placed = case(problems[1], example=False)
    assert placed.text == "# Write a python function to find the distance of two numbers: gap(a, b)\n"
    assert (placed.shown, placed.example) == (0, False)
    human = case(problems[2], example=False).text
    assert ">>>" not in human
    assert human.endswith("the one before: count_ups(values: List[int]) -> int\n")


def accepted(placed: Case, code: str) -> str:
    found = at(placed.snapshot, placed.line, attention="cursor")
    assert found is not None
    assert found.fires, found.reason
    where = place(placed.snapshot, found)
    if where.place == "stub":
        body = ast.parse(code).body[0]
        assert isinstance(body, ast.FunctionDef)
        code = "\n".join(map(ast.unparse, body.body))
    return apply(placed.snapshot, splice(placed.snapshot, found, where, code))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("example", [True, False], ids=["example", "bare"])
def test_in_every_form_a_solution_passes_and_nothing_does_not(
    form: str, example: bool, problems: list[Problem]
) -> None:
    with Isolation() as isolation:
        for problem in problems:
            placed = case(problem, form, example=example)
            for code, passes in (
                (SOLUTIONS[problem.id], True),
                (f"def {problem.name}(*_):\n    return 7", False),
            ):
                after = accepted(placed, code)
                files = {placed.target: judging.runnable(placed, after)}
                verdict = isolation.run(files, judging.tests(placed, after))
                assert verdict.passed is passes, (problem.id, verdict.reasons, after)


def test_forms_are_what_they_are_called(problems: list[Problem]) -> None:
    made = {form: case(problems[0], form) for form in FORMS}
    assert made["function"].text.startswith("def build():\n    # Write")
    assert "\n\t# Write" in made["tabs"].text
    assert "e.g. assert Tools().halve_all([2, 4])" in made["class"].text
    assert made["stub"].text.startswith('def halve_all(nums, *, up=False):\n    """Write')
    assert not measure.parses(made["error"].text, "")
    crlf = made["crlf"].text
    assert crlf.count("\r\n") == crlf.count("\n") > 5


def test_a_method_may_take_self(problems: list[Problem]) -> None:
    placed = case(problems[1], "class")
    with Isolation() as isolation:
        for head in ("@staticmethod\ndef gap(a, b)", "def gap(self, a, b)", "def gap(a, b)"):
            after = accepted(placed, f"{head}:\n    return abs(a - b)")
            assert isolation.run({"task.py": after}, judging.tests(placed, after)).passed, head


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../up"},
        {"id": "a/b"},
        {"files": {"task.py": "#", "../x.py": ""}},
        {"line": 1},
        {"target": "b"},
    ],
)
def test_a_task_stays_in_its_folder(change: dict[str, Any], tmp_path: Path) -> None:
    row = {
        "id": "a", "kind": "function", "natural_language": "en", "project": False, "tags": [],
        "files": {"task.py": "# write"}, "target": "task.py", "line": 0, "reference": "", "tests": "",
    }  # fmt: skip
    assert len(read(written(tmp_path, "own.jsonl", [row]))) == 1
    with pytest.raises(Nl2CodeError, match="cannot be read"):
        read(written(tmp_path, "own.jsonl", [{**row, **change}]))


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a": 1}', "[1]", '{"target": "x"}', '{"test_list": [], "code": "x"}']
)
def test_what_is_no_task_set_is_told_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text(text)
    with pytest.raises(Nl2CodeError, match=r"set\.jsonl"):
        read(path)
    with pytest.raises(Nl2CodeError, match="cannot be read"):
        read(tmp_path / "none.jsonl")


# What can be said of code without running it


def test_the_new_one_is_the_definition_that_no_other_new_one_uses() -> None:
    before = "def old():\n    pass\n"
    after = before + "def main(x):\n    return help(x)\n\n\ndef help(x):\n    return x\n"
    assert measure.the_new_one(before, after) == "main"
    assert measure.the_new_one(before, before + "class A:\n    pass\n") == "A"
    assert measure.the_new_one(before, before) == ""


def test_names_of_the_project_that_do_not_exist_are_seen() -> None:
    files = {"shop.py": "class Item:\n    price = 1\n    def cost(self): return self.price\n", "task.py": ""}
    head = "import json\nfrom shop import Item\n"
    for code, names in (
        ("def f(item):\n    return item.price + item.cost()", []),
        ("def f(item):\n    return item.amount", ["amount"]),
        ("def f(text):\n    return json.loads(text).whatever, text.strip()", []),
        ("from shop import Order\ndef f():\n    return Order()", ["Order"]),
        ("def f(self):\n    self.seen = 1\n    return self.seen", []),
    ):
        assert measure.invented(files, "task.py", f"{head}{code}\n") == names, code


def test_annotations_are_asked_of_new_functions_alone() -> None:
    before = "def old(x): ...\n"
    assert measure.annotated(before, before + "def f(x: int) -> int: ...\n") is True
    assert measure.annotated(before, before + "def f(x) -> int: ...\n") is False
    assert measure.annotated(before, before + "class A:\n    def f(self, x: int): ...\n") is False
    assert measure.annotated(before, before + "x = 1\n") is None


# The baseline


def test_the_plain_question_is_the_text_alone_and_the_other_has_the_file(problems: list[Problem]) -> None:
    placed = case(problems[0], "crlf")
    asked = "Write a function to halve the numbers of a list, e.g. assert halve_all([2, 4]) == [1, 2]"
    assert chat.question(placed, "chat") == asked
    pasted = chat.question(placed, "file")
    assert 'return f"Hello, {who}"' in pasted
    assert asked in pasted
    assert "\r" not in pasted
    assert "def gap(a, b):" in chat.question(case(problems[1], "stub"), "chat")


@pytest.mark.parametrize("form", ["module", "function", "class", "stub", "crlf", "tabs"])
def test_a_chat_s_answer_gets_into_the_file(form: str, problems: list[Problem]) -> None:
    placed = case(problems[1], form)
    answer = (
        f"Of course!\n\n```python\n{SOLUTIONS['8']}\n```\n\nIt works.\n\n```python\nprint(gap(1, 2))\n```\n"
    )
    after = chat.into_file(placed, answer)
    with Isolation() as isolation:
        verdict = isolation.run({"task.py": after}, judging.tests(placed, after))
    assert verdict.passed, (verdict.reasons, after)
    assert "print" not in after


def test_an_answer_that_is_the_whole_file_replaces_it(problems: list[Problem]) -> None:
    placed = case(problems[1], "crlf")
    whole = 'NAME = "tools"\n\n\ndef greet(who):\n    return who\n\n\n' + SOLUTIONS["8"]
    assert chat.into_file(placed, f"```python\n{whole}\n```") == f"{whole}\n"


def test_the_first_block_of_an_answer() -> None:
    assert chat.block("a\n```py\nx = 1\n```\n```\ny\n```") == "x = 1"
    assert chat.block("```python\nx = 1") == "x = 1"
    assert chat.block("x = 1\n") == "x = 1"
