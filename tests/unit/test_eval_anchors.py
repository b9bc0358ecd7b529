"""The benchmark of our own: every task can be found, solved, and not solved by doing nothing."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nl2code_model.evaluate import tasks
from nl2code_model.evaluate.references import check
from nl2code_model.evaluate.tasks import Anchor, read
from nl2code_model.evaluate.transplant import case
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import inline

ANCHORS = [task for task in read() if isinstance(task, Anchor)]
OTHERS = {"ja", "ru", "es", "de", "fr"}


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


def test_references_pass_and_doing_nothing_does_not() -> None:
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(check, (ANCHORS[::2], ANCHORS[1::2])):
            assert (found["failing"], found["given_away"]) == ({}, [])
            assert found["references_pass"] == found["tasks"]


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
