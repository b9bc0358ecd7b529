"""The benchmark of our own: every task can be found, solved, and not solved by doing nothing."""

from __future__ import annotations

import ast
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nl2code_model.evaluate import judging, tasks
from nl2code_model.evaluate.isolate import Isolation
from nl2code_model.evaluate.tasks import Anchor, read
from nl2code_model.evaluate.transplant import Case, case
from nl2code_server.lang.instruction import at
from nl2code_server.lang.names import insert_imports
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import apply, inline, splice

ANCHORS = [task for task in read() if isinstance(task, Anchor)]
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)
OTHERS = {"ja", "ru", "es", "de", "fr"}


def spliced(placed: Case, code: str, imports: tuple[str, ...] = ()) -> str:
    found = at(placed.snapshot, placed.line, attention="cursor")
    assert found is not None
    edits = splice(placed.snapshot, found, place(placed.snapshot, found), code)
    return apply(placed.snapshot, (*insert_imports(placed.snapshot, imports), *edits))


def wrong(task: Anchor) -> str:
    """Return code of the right form that does nothing."""
    definitions = [node for node in ast.parse(task.reference).body if isinstance(node, DEFINITIONS)]
    for node in definitions:
        methods = [inner for inner in node.body if isinstance(inner, ast.FunctionDef)]
        node.decorator_list = []
        if isinstance(node, ast.ClassDef) and methods:
            for method in methods:
                if method.name != "__init__":
                    method.body = [ast.Pass()]
        else:
            node.body = [ast.Pass()]
    return "\n\n".join(map(ast.unparse, definitions)) or "pass"


def test_the_set_is_as_large_and_varied_as_it_says() -> None:
    assert len(ANCHORS) >= 120
    assert len({task.id for task in ANCHORS}) == len(ANCHORS)
    assert sum(task.project for task in ANCHORS) >= 40
    assert all(task.project == (len(task.files) > 1) for task in ANCHORS)
    languages = Counter(task.natural_language for task in ANCHORS)
    assert languages["zh"] >= 20
    assert sum(languages[name] for name in OTHERS) >= 20
    assert all(languages[name] >= 4 for name in OTHERS)
    kinds = Counter(task.kind for task in ANCHORS)
    assert set(kinds) == {
        "function", "class", "method", "statements", "stub", "test", "database", "web", "regex",
    }  # fmt: skip
    assert min(kinds.values()) >= 5
    assert min(Counter(task.kind for task in ANCHORS if task.project)[kind] for kind in kinds) >= 3
    shown = sum("example" in task.tags for task in ANCHORS)
    assert 0.4 <= shown / len(ANCHORS) <= 0.6


@pytest.mark.parametrize("task", ANCHORS, ids=lambda task: task.id)
def test_the_instruction_is_found_and_can_be_answered_there(task: Anchor) -> None:
    placed = case(task)
    snapshot = placed.snapshot
    found = at(snapshot, task.line, attention="cursor")
    assert found is not None
    assert found.fires, found.reason
    end = (task.line, len(snapshot.line(task.line)))
    assert inline(snapshot, found, place(snapshot, found), "pass", end) is not None


def solved(tasks: list[Anchor]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Return the tasks whose references fail, with the reasons, and those that code passes that does nothing."""
    unsolved, given_away = {}, []
    with Isolation() as isolation:
        for task in tasks:
            placed = case(task)
            right = spliced(placed, task.reference, task.imports)
            files = {**placed.files, placed.target: right}
            verdict = isolation.run(files, judging.tests(placed, right), seconds=5)
            if not verdict.passed:
                unsolved[task.id] = verdict.reasons
            nothing = spliced(placed, wrong(task))
            ast.parse(nothing)
            files[placed.target] = nothing
            if isolation.run(files, judging.tests(placed, nothing), seconds=5).passed:
                given_away.append(task.id)
    return unsolved, given_away


def test_references_pass_and_doing_nothing_does_not() -> None:
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(solved, (ANCHORS[::2], ANCHORS[1::2]))) == [({}, [])] * 2


def test_the_readme_says_what_there_is() -> None:
    readme = Path(tasks.__file__).with_name("README.md").read_text(encoding="utf-8")
    kinds = Counter(task.kind for task in ANCHORS)
    assert f"Version {tasks.VERSION} of the set. `anchors.jsonl` holds {len(ANCHORS)} tasks" in readme
    assert f"\n- **{tasks.VERSION}**: " in readme
    for kind, words in (
        ("function", "function"),
        ("stub", "stub body"),
        ("test", "test for an existing function"),
    ):
        assert f"{words} {kinds[kind]}" in readme
    assert f"each kind at least three times | {sum(task.project for task in ANCHORS)} |" in readme
    assert f"| {sum(task.natural_language != 'en' for task in ANCHORS)} |" in readme
    assert f"例如 …) | {sum('example' in task.tags for task in ANCHORS)} |" in readme
