"""What `nl2code eval` prints can be read at 100 columns and leaves nothing out."""

from __future__ import annotations

import io

from rich.console import Console

from fakes.records import record
from nl2code_model.cli.eval_table import WIDTH, show
from nl2code_model.evaluate.score import report


def printed(records: list[dict[str, object]], arms: list[str]) -> str:
    console = Console(file=io.StringIO(), highlight=False)
    show({"tasks_version": "9.9"} | report(records, arms), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def made(passed: bool) -> dict[str, object]:
    return {
        "origin": "greedy", "status": "valid", "rank": 0, "tokens": 9, "checks": [], "passed": passed,
        "hidden": passed, "example": None, "code": "x", "as_it_came": passed,
    }  # fmt: skip


def test_all_tables_fit() -> None:
    ours, other = "nl2code context=project", "nl2code context=none"
    records = [
        record(str(n), arm, passed=n % 3 > 0, kind=kind, natural_language=language, project=n % 2 == 0,
               raw="x\n```\nsaid", code="x", model="m" if arm != "chat" else "another", tokens=123456,
               **({} if arm == "chat" else {"candidates": [made(n % 3 > 0)]}))
        for n, (kind, language) in enumerate([("web", "ja"), ("regex", "ru"), ("web", "en"), ("stub", "ja")])
        for arm in (ours, other, "chat")
    ]  # fmt: skip
    text = printed(records, [ours, other, "chat"])
    assert max(map(len, text.splitlines())) <= WIDTH
    for said in (
        "anchors 9.9: another, m",
        "model",
        "Where the gain comes from",
        "verification and sampling",
        "Passed, by group",
        "another",
        "threads and the load",
        f"{ours} / {other}: +0.0 points on 4 tasks",
    ):
        assert said in " ".join(text.split()), said
    # Two products differ in settings, not in stages.
    assert text.count("Where the gain comes from") == 1
    row = next(line for line in text.splitlines() if "│ ja " in line)
    assert row.split("│")[3].strip() == "2"
    assert row.count("0 (0%)") == 3


def test_nothing_at_all_is_printed_without_a_word_too_much() -> None:
    text = printed([record("1", "chat", offered=False, passed=False)], ["chat"])
    assert "Passed, by group" not in text
    assert "nan" not in text
    assert "None" not in text
