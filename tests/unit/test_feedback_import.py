"""Exported feedback comes back: once, whole, or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from fakes.history import fill
from fakes.rows import candidate_row, event_row, request_row
from nl2code_server.cli import feedback as command
from nl2code_server.errors import Nl2CodeError
from nl2code_server.feedback.events import SCHEMA_VERSION
from nl2code_server.feedback.store import Store
from nl2code_server.feedback.transfer import LONGEST

Change = Callable[[dict[str, Any]], object]


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return CliRunner().invoke(app, ["feedback", *arguments], input=stdin)


def line(number: int = 1, **values: Any) -> dict[str, Any]:
    """Make a line as an export has it."""
    request, candidate = f"r{number}", f"c{number}"
    kept = event_row(
        "kept", candidate, request, checkpoint="save", kept_ratio=0.5, final_text="def gcd(): ..."
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "request": asdict(request_row(request)),
        "candidates": [asdict(candidate_row(candidate, request))],
        "events": [asdict(event_row("offered", candidate, request)), asdict(kept)],
    } | values


def written(path: Path, *lines: dict[str, Any] | bytes) -> str:
    texts = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines]
    path.write_bytes(b"\n".join(texts) + b"\n")
    return str(path)


def content(database: Path) -> list[Any]:
    with Store(database) as store:
        return list(store.records())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "data" / "feedback.db"


def test_an_export_comes_back_as_it_was_and_twice_changes_nothing(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 60, now=time.time())
    before, export = content(database), tmp_path / "out.jsonl"
    assert run("export", str(export)).exit_code == 0
    monkeypatch.setenv("NL2CODE_HOME", str(tmp_path / "other"))
    first = json.loads(run("import", str(export), "--json").stdout)
    assert first["requests"] == 60
    assert first["events"] == sum(len(one.events) for one in before)
    other = tmp_path / "other" / "data" / "feedback.db"
    assert content(other) == before
    assert set(json.loads(run("import", str(export), "--json").stdout).values()) == {0}
    assert content(other) == before


@pytest.mark.parametrize("option", [[], ["--anonymise"], ["--no-code"]], ids=str)
def test_an_export_of_this_store_brings_nothing_new(
    database: Path, tmp_path: Path, option: list[str]
) -> None:
    fill(database, 40, now=time.time())
    before, export = content(database), tmp_path / "out.jsonl"
    assert run("export", str(export), *option).exit_code == 0
    assert set(json.loads(run("import", str(export), "--json").stdout).values()) == {0}
    assert content(database) == before


def test_what_is_missing_is_added_and_what_is_there_stays(database: Path, tmp_path: Path) -> None:
    with Store(database) as store:
        store.add([request_row("r1", instruction="mine"), candidate_row("c1", "r1")])
        store.add([event_row("offered", "c1", "r1")])
    file = written(tmp_path / "in.jsonl", line(1), line(2))
    assert json.loads(run("import", file, "--json").stdout) == {"requests": 1, "suggestions": 1, "events": 3}
    one, two = content(database)
    assert (one.request.instruction, [event.event for event in one.events]) == ("mine", ["offered", "kept"])
    assert two.request.request_id == "r2"


def test_standard_input_and_blank_lines(database: Path) -> None:
    text = json.dumps(line(1)).encode() + b"\n\n" + json.dumps(line(2)).encode()
    assert "Added 2 requests" in run("import", "-", stdin=text).stdout


def test_an_older_line_gets_what_the_migration_gives(database: Path, tmp_path: Path) -> None:
    drawn, likeliest = line(1, schema_version=1), line(2, schema_version=1)
    for one, temperature in ((drawn, 0.8), (likeliest, 0.0)):
        del one["candidates"][0]["origin"]
        one["candidates"][0]["temperature"] = temperature
    assert run("import", written(tmp_path / "in.jsonl", drawn, likeliest)).exit_code == 0
    assert [one.candidates[0].origin for one in content(database)] == ["sample", "greedy"]


def test_secrets_are_taken_out_and_no_code_holds(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    one = line(1)
    one["request"]["instruction"] = one["candidates"][0]["text"] = f"token = '{secret}'"
    file = written(tmp_path / "in.jsonl", one)
    assert run("import", file).exit_code == 0
    assert secret.encode() not in database.read_bytes()
    assert set(json.loads(run("import", file, "--json").stdout).values()) == {0}
    monkeypatch.setenv("NL2CODE_FEEDBACK", "no-code")
    monkeypatch.setenv("NL2CODE_HOME", str(tmp_path / "other"))
    assert run("import", file).exit_code == 0
    assert content(tmp_path / "other" / "data" / "feedback.db")[0].candidates[0].text == ""
    monkeypatch.setenv("NL2CODE_FEEDBACK", "off")
    assert isinstance(run("import", file).exception, Nl2CodeError)


def request(name: str, value: object) -> Change:
    return lambda one: one["request"].update({name: value})


def candidate(name: str, value: object) -> Change:
    return lambda one: one["candidates"][0].update({name: value})


def event(name: str, value: object) -> Change:
    return lambda one: one["events"][0].update({name: value})


WRONG: dict[str, tuple[Change, str]] = {
    "newer": (lambda one: one.update(schema_version=SCHEMA_VERSION + 1), "newer nl2code"),
    "version": (lambda one: one.update(schema_version=True), "no version"),
    "key": (lambda one: one.update(more=1), "wants an object"),
    "field": (request("<script>", 1), "no field '<script>'"),
    "missing": (lambda one: one["request"].pop("model"), "request.model"),
    "type": (request("instruction", 3), "request.instruction"),
    "number": (request("n", True), "request.n"),
    "large": (request("seed", 2**63), "too large"),
    "time": (request("time", 1e18), "request.time"),
    "past": (event("time", -1), "events.time"),
    "message": (request("messages", [{"role": 1}]), "request.messages"),
    "context": (request("context", []), "request.context"),
    "id": (lambda one: one["request"].update(request_id="../\x1b[2J"), "request.request_id"),
    "status": (candidate("status", "perfect"), "candidates.status"),
    "verdicts": (candidate("verdicts", ["x"]), "candidates.verdicts"),
    "list": (lambda one: one.update(candidates={}), "`candidates` is no list"),
    "object": (lambda one: one.update(events=[1]), "holds no object"),
    "event": (event("event", "eaten"), "events.event"),
    "ratio": (event("kept_ratio", "1"), "events.kept_ratio"),
    "stranger": (event("suggestion_id", "c9"), "no candidate of the line"),
    "owner": (candidate("request_id", "r9"), "another request"),
    "double": (lambda one: one["candidates"].append(one["candidates"][0]), "two candidates"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_line_is_named_and_nothing_is_imported(database: Path, tmp_path: Path, name: str) -> None:
    change, told = WRONG[name]
    bad = line(2)
    change(bad)
    refused(run("import", written(tmp_path / "in.jsonl", line(1), bad)), told, database)


GOOD = json.dumps(line(2))
BYTES = {
    "long": (b'{"schema_version": "' + b"x" * (LONGEST + 9) + b'"}', "longer than"),
    "nan": (GOOD.replace('"kept_ratio": 0.5', '"kept_ratio": NaN').encode(), "NaN"),
    "infinity": (GOOD.replace('"kept_ratio": 0.5', '"kept_ratio": 1e999').encode(), "too large"),
    "digits": (GOOD.replace('"kept_ratio": 0.5', f'"kept_ratio": {"9" * 9999}').encode(), "too large"),
    "twice": (GOOD.replace('"context": {}', '"context": {"a": 1, "a": 2}').encode(), "a key twice"),
    "deep": (b'{"request": ' + b"[" * 200_000, "nested too deeply"),
    "deep enough": (
        GOOD.replace('"context": {}', '"context": {"a": ' + "[" * 200 + "]" * 200 + "}").encode(),
        "nested too deeply",
    ),
    "half": (GOOD[:-40].encode(), "no JSON"),
    "list": (b"[]", "wants an object"),
    "bytes": (b'{"\xff": 1}', "not UTF-8"),
}


@pytest.mark.parametrize("name", BYTES)
def test_bad_bytes_are_named_and_nothing_is_imported(database: Path, tmp_path: Path, name: str) -> None:
    bad, told = BYTES[name]
    refused(run("import", written(tmp_path / "in.jsonl", line(1), bad)), told, database)


def test_a_suggestion_of_another_request_rolls_all_back(database: Path, tmp_path: Path) -> None:
    with Store(database) as store:
        store.add([request_row("r9"), candidate_row("c2", "r9")])
    result = run("import", written(tmp_path / "in.jsonl", line(1), line(2, events=[])))
    assert isinstance(result.exception, Nl2CodeError)
    assert "line 2" in str(result.exception)
    assert [one.request.request_id for one in content(database)] == ["r9"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert isinstance(run("import", str(tmp_path / "no.jsonl")).exception, Nl2CodeError)
    assert isinstance(run("import", str(tmp_path)).exception, Nl2CodeError)


def refused(result: Result, told: str, database: Path) -> None:
    assert isinstance(result.exception, Nl2CodeError), result.exception
    message = str(result.exception)
    assert "line 2" in message
    assert told in message
    assert "\n" not in message
    assert len(message) < 200
    assert content(database) == []
