"""`nl2code feedback` tells, takes along and deletes what the log holds."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from fakes.rows import candidate_row, event_row, request_row
from nl2code_server.cli import feedback as command
from nl2code_server.errors import Nl2CodeError
from nl2code_server.feedback.events import SCHEMA_VERSION
from nl2code_server.feedback.identity import project_id
from nl2code_server.feedback.store import Store

NOW = time.time()
DAY = 86400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Fill a store with three requests: ten days old, two days old and new."""
    path = tmp_path / "data" / "feedback.db"
    with Store(path) as store:
        for number, age in ((1, 10 * DAY), (2, 2 * DAY), (3, 0.0)):
            project = project_id(tmp_path / f"project{min(number, 2)}")
            store.add(
                [
                    request_row(
                        f"r{number}", time=NOW - age, project_id=project, instruction=f"write [gcd] {number}"
                    ),
                    candidate_row(f"c{number}", f"r{number}", text=f"def gcd{number}(): ..."),
                    event_row("offered", f"c{number}", f"r{number}", time=NOW - age + 1),
                ]
            )
        store.add([event_row("accepted", "c1", "r1", time=NOW - 9 * DAY)])
        store.add([event_row("rejected", "c3", "r3", time=NOW + 2, cause="wrong")])
    return path


def run(*arguments: str, stdin: str | None = None) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return CliRunner().invoke(app, ["feedback", *arguments], input=stdin)


def read(*arguments: str) -> Any:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_list_gives_events_oldest_first(path: Path) -> None:
    events = read("list", "--json")
    assert [(event["event"], event["suggestion_id"], event["request_id"]) for event in events] == [
        ("offered", "c1", "r1"),
        ("accepted", "c1", "r1"),
        ("offered", "c2", "r2"),
        ("offered", "c3", "r3"),
        ("rejected", "c3", "r3"),
    ]
    assert events[0]["source"] == "client"
    assert events[0]["time"] == NOW - 10 * DAY + 1
    assert (events[0]["instruction"], events[0]["text"]) == ("write [gcd] 1", "def gcd1(): ...")
    assert (events[4]["cause"], events[4]["kind"], events[4]["surface"]) == ("wrong", "comment", "inline")


def test_list_without_code(path: Path) -> None:
    result = run("list", "--json", "--no-code")
    assert "gcd" not in result.stdout
    assert len(json.loads(result.stdout)) == 5
    assert "gcd" not in run("list", "--no-code").stdout


def test_list_filters(path: Path) -> None:
    assert [
        event["event"] for event in read("list", "--json", "--event", "accepted", "--event", "rejected")
    ] == [
        "accepted",
        "rejected",
    ]
    assert len(read("list", "--json", "--since", "3d")) == 3
    assert [event["event"] for event in read("list", "--json", "--limit", "2")] == ["offered", "rejected"]
    assert len(read("list", "--json", "--suggestion", "c1")) == 2


def test_list_for_people(path: Path) -> None:
    result = run("list")
    assert result.exit_code == 0
    assert "rejected" in result.stdout
    assert "--limit 0" in run("list", "--limit", "1").stdout
    assert "No such events" in run("list", "--event", "edited").stdout


def test_stats(path: Path) -> None:
    stats = read("stats", "--json")
    assert (stats["requests"], stats["offered"], stats["accepted"], stats["rejected"]) == (3, 3, 1, 1)
    assert stats["acceptance_rate"] == pytest.approx(1 / 3)
    assert stats["by_kind"]["comment"]["requests"] == 3
    assert set(stats) >= {"by_kind", "by_model", "by_surface", "by_day", "shown", "partially_accepted"}
    assert read("stats", "--json", "--since", "3d")["requests"] == 2
    shown = run("stats").stdout
    assert "accepted" in shown
    assert "33%" in shown


def test_export_is_one_line_for_each_request(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    assert run("export", str(target)).exit_code == 0
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [line["request"]["request_id"] for line in lines] == ["r1", "r2", "r3"]
    assert [event["event"] for event in lines[0]["events"]] == ["offered", "accepted"]
    assert lines[0]["schema_version"] == SCHEMA_VERSION
    assert lines[0]["candidates"][0]["text"] == "def gcd1(): ..."
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    again = run("export", str(target))
    assert isinstance(again.exception, Nl2CodeError)
    assert "--force" in again.exception.fix
    assert run("export", "--force", "--no-code", str(target)).exit_code == 0
    assert "gcd" not in target.read_text()
    assert len(run("export", "-", "--since", "3d").stdout.splitlines()) == 2


def test_purge(path: Path, tmp_path: Path) -> None:
    asked = run("purge")
    assert asked.exit_code == 2
    assert "--yes" in asked.output
    assert len(read("list", "--json")) == 5
    assert run("purge", "--yes", "--suggestion", "nobody").exit_code == 1
    assert run("purge", "--yes", "--suggestion", "c1", "--all").exit_code == 2
    done = run("purge", "--yes", "--before", "5d")
    assert done.exit_code == 0
    assert "1 request, 1 suggestion, 2 events" in done.stdout
    assert run("purge", "--yes", "--project", str(tmp_path / "project2")).exit_code == 0
    assert read("list", "--json") == []
    assert b"gcd" not in path.read_bytes()


def test_purge_asks_in_a_terminal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_asks", lambda: True)
    assert run("purge", stdin="n\n").exit_code == 1
    assert len(read("list", "--json")) == 5
    assert run("purge", stdin="y\n").exit_code == 0
    assert read("list", "--json") == []


def test_no_store_is_no_fault_and_makes_none(tmp_path: Path) -> None:
    assert read("list", "--json") == []
    stats = read("stats", "--json")
    assert (stats["requests"], stats["acceptance_rate"], stats["by_kind"]) == (0, None, {})
    assert run("export", "-").stdout == ""
    assert "No feedback yet" in run("list").stdout + run("stats").stdout
    assert run("purge", "--yes").exit_code == 0
    assert not (tmp_path / "data").exists()


def test_wrong_usage_and_unusable_store_are_told_in_one_line(path: Path) -> None:
    assert run("list", "--event", "eaten").exit_code == 2
    assert run("list", "--since", "yesterdayish").exit_code == 2
    path.unlink()
    path.mkdir()
    result = run("stats")
    assert isinstance(result.exception, Nl2CodeError)
    assert "\n" not in str(result.exception)


def test_damaged_store_is_told_on_stderr(path: Path) -> None:
    path.write_bytes(b"no store" * 1000)
    result = run("list", "--json")
    assert json.loads(result.stdout) == []
    assert "set aside" in " ".join(result.stderr.split())
