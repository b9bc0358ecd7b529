"""From the loop to the disk: the rows' contract, the log that never waits, and ids that say nothing."""

# ruff: noqa: ASYNC240  (a test may wait for the disk)

from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fakes.rows import candidate_row, event_row, request_row
from fakes.secrets import planted
from nl2code_server.config import Settings
from nl2code_server.errors import StoreError
from nl2code_server.feedback import identity, schema, store
from nl2code_server.feedback.events import SCHEMA_VERSION, CandidateRow, EventRow, RequestRow
from nl2code_server.feedback.log import FeedbackLog, database
from nl2code_server.feedback.rows import AnyRow
from nl2code_server.feedback.store import Store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "feedback.db"


def record(log: FeedbackLog, number: int = 1, **values: Any) -> None:
    log.record_request(request_row(f"r{number}", **values))
    log.record_candidates([candidate_row(f"c{number}", f"r{number}")])
    log.record_event(event_row("offered", f"c{number}", f"r{number}"))


def ids(path: Path) -> list[str]:
    with Store(path) as opened:
        return [found.request.request_id for found in opened.records()]


# --- the contract -------------------------------------------------------------------------------------------------


def test_every_field_has_its_column(path: Path) -> None:
    assert len(schema.MIGRATIONS) == SCHEMA_VERSION
    with Store(path) as opened:
        for table, row, extra in (
            ("requests", RequestRow, set()),
            ("candidates", CandidateRow, set()),
            ("events", EventRow, {"id", "identity"}),
        ):
            columns = {found[1] for found in opened._connection.execute(f"PRAGMA table_info({table})")}
            assert columns == {field.name for field in fields(row)} | extra


def test_what_cannot_be_rebuilt_later_is_logged() -> None:
    logged = {field.name for row in (RequestRow, CandidateRow, EventRow) for field in fields(row)}
    assert logged >= {
        *(
            "request_id",
            "candidate_id",
            "choice_index",
            "n_candidates",
            "order_propensity",
            "messages",
            "template_hash",
        ),
        *(
            "text",
            "model",
            "adapter",
            "temperature",
            "top_p",
            "seed",
            "logprob_sum",
            "n_tokens",
            "visible_ms",
            "event",
        ),
        *("time", "final_text", "checkpoint", "file_id", "project_id", "prompt_version", "prompt_hash"),
    }


# --- the log ------------------------------------------------------------------------------------------------------


async def test_rows_reach_the_disk(path: Path) -> None:
    log = FeedbackLog(path)
    record(log)
    assert await log.flush()
    with Store(path) as opened:
        (found,) = opened.records()
    assert (found.request, found.candidates) == (request_row(), [candidate_row()])
    assert found.events == [event_row("offered")]
    assert await log.close()


async def test_close_writes_what_is_left(path: Path) -> None:
    log = FeedbackLog(path)
    for number in range(250):
        record(log, number)
    assert await log.close(timeout=20)
    assert len(ids(path)) == 250


async def test_nothing_is_made_until_there_is_something_to_write(path: Path) -> None:
    log = FeedbackLog(path)
    assert await log.flush()
    assert await log.close()
    off = FeedbackLog(path, level="off")
    record(off)
    assert await off.flush()
    assert await off.close()
    assert not path.parent.exists()


async def test_planted_secrets_appear_nowhere_in_the_bytes_unless_redaction_is_off(
    path: Path, tmp_path: Path
) -> None:
    secrets = planted()
    assert len(secrets) == 18
    comment = "".join(
        f"# use this for {kind}: {secret}\n" for kind, secret in secrets.items() if "password" not in kind
    )
    comment += f"# connect to {secrets['url password']}\n# the password is {secrets['prose password']}\n"
    context = "".join(f"value_{i} = {secret!r}\n" for i, secret in enumerate(secrets.values()))
    needles = [
        line.encode() for secret in secrets.values() for line in secret.splitlines() if "-----" not in line
    ]

    async def write(target: Path, *, redact: bool) -> bytes:
        log = FeedbackLog(target, redact=redact)
        for number in range(3):
            log.record_request(
                request_row(
                    f"r{number}",
                    instruction=comment,
                    messages=[
                        {"role": "system", "content": "x"},
                        {"role": "user", "content": context + comment},
                    ],
                )
            )
            log.record_candidates([candidate_row(f"c{number}", f"r{number}", raw=context, text=context)])
            log.record_event(event_row("edited", f"c{number}", f"r{number}", final_text=context))
        assert await log.close(timeout=20)
        with Store(target) as opened:  # pages freed by a deletion are part of the file too
            opened._connection.execute("DELETE FROM requests WHERE request_id = 'r1'")
        return b"".join(file.read_bytes() for file in target.parent.iterdir())

    plain = await write(tmp_path / "plain" / "feedback.db", redact=False)
    assert [needle for needle in needles if needle not in plain] == []
    clean = await write(path, redact=True)
    assert [needle for needle in needles if needle in clean] == []
    assert b"SECRET:github-token" in clean


async def test_secret_of_the_request_is_known_in_later_rows(path: Path) -> None:
    word = "hunter" + "2"
    log = FeedbackLog(path)
    log.record_request(request_row(instruction=f"log in, the password is {word}"))
    await log.flush()
    log.record_candidates([candidate_row(text=f"login('me', {word!r})")])
    log.record_event(event_row("edited", final_text=f"go({word!r})"))
    assert await log.close()
    assert word.encode() not in path.read_bytes()


async def test_level_no_code_keeps_what_is_needed_to_count(path: Path) -> None:
    code = "def unmistakable(): ..."
    log = FeedbackLog(path, level="no-code")
    log.record_request(
        request_row(instruction=code, messages=[{"role": "user", "content": code}], reason=code)
    )
    verdict = {"check": "parses", "ok": False, "detail": code}
    log.record_candidates([candidate_row(raw=code, text=code, verdicts=[verdict], examples=[{"call": code}])])
    log.record_event(event_row("edited", final_text=code, kept_ratio=0.5))
    assert await log.close()
    assert b"unmistakable" not in path.read_bytes()
    with Store(path) as opened:
        (found,) = opened.records()
    assert found.request.prompt_hash == "ab" * 32
    assert found.candidates[0].verdicts == [{"check": "parses", "ok": False}]
    assert found.events[0].kept_ratio == 0.5


async def test_full_disk_gives_one_warning_and_writing_resumes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(path).close()
    connect = Store._connect
    full = threading.Event()
    full.set()

    def with_little_space(self: Store) -> sqlite3.Connection:
        connection = connect(self)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        if full.is_set():
            connection.execute(f"PRAGMA max_page_count = {pages + 1}")
        return connection

    monkeypatch.setattr(Store, "_connect", with_little_space)
    problems: list[str] = []
    log = FeedbackLog(path, on_problem=problems.append)
    log.record_request(request_row("big", instruction="x " * 50_000))
    assert not await log.flush(1.2)
    record(log, 2)
    assert len(problems) == 1
    assert "disk is full" in problems[0]
    full.clear()
    assert await log.flush(10)
    assert ids(path) == ["big", "r2"]
    assert len(problems) == 1
    assert await log.close()


async def test_store_that_cannot_be_opened_costs_nobody_anything(path: Path) -> None:
    path.mkdir(parents=True)
    problems: list[str] = []
    log = FeedbackLog(path, on_problem=problems.append, capacity=30)
    start = time.perf_counter()
    for number in range(100):
        record(log, number)
    assert time.perf_counter() - start < 0.5
    assert not await log.flush(0.3)
    assert len(problems) == 1
    assert "it is a folder" in problems[0]
    start = time.perf_counter()
    assert not await log.close(timeout=0.5)
    assert time.perf_counter() - start < 3
    record(log, 200)


async def test_a_disk_that_hangs_holds_up_neither_loop_nor_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    monkeypatch.setattr(Store, "add", lambda self, rows: free.wait(20) and [])
    log = FeedbackLog(path)
    late = 0.0

    async def pulse() -> None:
        nonlocal late
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            late = max(late, time.perf_counter() - before)

    beating = asyncio.create_task(pulse())
    record(log)
    assert not await log.flush(0.3)
    assert not await log.close(0.3)
    beating.cancel()
    free.set()
    assert late < 1.0


async def test_what_was_lost_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free, taken = threading.Event(), threading.Event()
    add = Store.add

    def wait(self: Store, rows: list[AnyRow]) -> list[store.Refused]:
        taken.set()
        free.wait(20)
        return add(self, rows)

    monkeypatch.setattr(Store, "add", wait)
    problems: list[str] = []
    log = FeedbackLog(path, on_problem=problems.append, capacity=3)
    log.record_request(request_row("r1"))
    assert await asyncio.to_thread(taken.wait, 10)
    for number in range(2, 11):
        log.record_request(request_row(f"r{number}"))
    free.set()
    assert await log.flush()
    assert problems == ["6 rows of feedback were lost because they could not be written in time"]
    assert ids(path) == ["r1", "r2", "r3", "r4"]
    assert await log.close()


async def test_refused_rows_are_logged_by_id(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = FeedbackLog(path)
    with caplog.at_level(logging.WARNING):
        log.record_event(event_row("accepted", "nobody"))
        assert await log.flush()
    assert "accepted nobody: no such suggestion" in caplog.text
    assert await log.close()


async def test_row_that_cannot_be_cleaned_loses_its_text(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr("nl2code_server.feedback.redact.redact_row", fail)
    log = FeedbackLog(path)
    log.record_request(request_row(instruction="unmistakable"))
    assert await log.close()
    assert ids(path) == ["r1"]
    assert b"unmistakable" not in path.read_bytes()


async def test_old_rows_go_after_their_time(path: Path) -> None:
    now = time.time()
    with Store(path) as opened:
        opened.add([request_row("old", time=now - 40 * 86400), request_row("young", time=now - 20 * 86400)])
    log = FeedbackLog(path, retention_days=30)
    record(log, 1, time=now)
    assert await log.close(timeout=10)
    assert ids(path) == ["young", "r1"]


async def test_damaged_store_is_told(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a store" * 999)
    problems: list[str] = []
    log = FeedbackLog(path, on_problem=problems.append)
    record(log)
    assert await log.flush()
    await asyncio.sleep(0)
    assert len(problems) == 1
    assert "set aside" in problems[0]
    assert await log.close()


def test_log_works_without_an_event_loop(path: Path) -> None:
    problems: list[str] = []
    log = FeedbackLog(path, on_problem=problems.append)
    record(log)
    assert log.close_now(10)
    assert ids(path) == ["r1"]
    assert problems == []


def test_settings_name_the_store(tmp_path: Path) -> None:
    assert database(Settings()) == tmp_path / "data" / "feedback.db"
    assert database(Settings(database=str(tmp_path / "x.db"))) == tmp_path / "x.db"


def test_importing_the_log_is_cheap() -> None:
    code = "import sys, nl2code_server.feedback.log, nl2code_server.feedback.identity; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    loaded = set(done.stdout.split())
    assert not loaded & {
        "sqlite3",
        "detect_secrets",
        "requests",
        "nl2code_server.feedback.detect",
        "rich",
        "typer",
    }


def test_detection_asks_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    from nl2code_server.feedback.redact import redact

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    text = "\n".join(f"# {secret}" for secret in planted().values())
    assert redact(text).findings


# --- ids ----------------------------------------------------------------------------------------------------------


def test_ids_are_unique_short_and_sorted_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [identity.new_id() for _ in range(5000)]
    assert len(set(made)) == 5000
    assert made == sorted(made)
    assert {len(name) for name in made} == {17}
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert identity.new_id() > made[-1]


def test_files_and_projects_have_keyed_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    identity._key.cache_clear()
    first = identity.file_id("/src/a b.py")
    assert first == identity.file_id(Path("/src/a b.py")) == identity.file_id("file:///src/a%20b.py")
    assert len({first, identity.file_id("/src/b.py"), identity.project_id("/src/a b.py")}) == 3
    assert identity.project_id("/src/") == identity.project_id("/src")
    assert identity.project_id("") == ""
    key = tmp_path / "data" / "identity.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    identity._key.cache_clear()
    assert identity.file_id("/src/a b.py") == first
    monkeypatch.setenv("NL2CODE_HOME", str(tmp_path / "another user"))
    assert identity.file_id("/src/a b.py") != first


def test_ids_hold_for_the_process_where_no_key_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("a file")
    monkeypatch.setenv("NL2CODE_HOME", str(tmp_path / "home"))
    assert identity.file_id("/src/a.py") == identity.file_id("/src/a.py") != ""


def test_store_error_has_a_fix(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreError) as caught:
        Store(path)
    assert caught.value.fix
