"""The store keeps what it acknowledged, once, for its owner only; and when it cannot, it says why."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fakes import writer
from fakes.rows import candidate_row, event_row, request_row
from nl2code_server.errors import StoreError
from nl2code_server.feedback import schema
from nl2code_server.feedback.rows import AnyRow
from nl2code_server.feedback.store import Store

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX file modes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "feedback.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(path) as store:
        yield store


def fill(store: Store, n: int = 1) -> None:
    rows: list[AnyRow] = []
    for i in range(1, n + 1):
        rows += [request_row(f"r{i}", time=1000.0 * i), candidate_row(f"c{i}", f"r{i}")]
        rows.append(event_row("offered", f"c{i}", f"r{i}", time=1000.0 * i + 1))
    assert store.add(rows) == []


def test_rows_come_back_as_they_went_in(store: Store) -> None:
    request = request_row(
        instruction="请编写 gcd \U0001f40d",
        messages=[{"role": "system", "content": "a\r\n\0b"}, {"role": "user", "content": "\u2028"}],
        context={"sizes": {"outline": 3}, "lines": 7},
        seed=2**40,
        seconds=0.25,
        template_hash="cd" * 32,
        adapter="v2",
    )
    candidate = candidate_row(
        verdicts=[{"check": "parses", "ok": True, "detail": ""}],
        examples=[{"call": "gcd(12, 18)", "expected": "6", "got": "6", "ok": True}],
        logprob_sum=-1.5,
        status="verified",
        seed=3,
    )
    events = [
        event_row("offered"),
        event_row("accepted", time=1002.0),
        event_row(
            "kept", time=1032.0, checkpoint="30s", kept_ratio=0.5, final_text="x = 1", data={"saves": 1}
        ),
    ]
    assert store.add([request, candidate, *events]) == []
    (record,) = store.records()
    assert (record.request, record.candidates, record.events) == (request, [candidate], events)


def test_one_record_by_request_by_suggestion_and_the_newest(store: Store) -> None:
    assert store.record() is None
    fill(store, 3)
    for key in ("r2", "c2"):
        found = store.record(key)
        assert found is not None and found.request.request_id == "r2"
        assert [event.event for event in found.events] == ["offered"]
    newest = store.record()
    assert newest is not None and newest.request.request_id == "r3"
    assert store.record("nobody") is None


def test_lone_surrogate_is_kept_as_its_escape(store: Store) -> None:
    rows = [request_row(instruction="a\ud800b", messages=[{"role": "user", "content": "\udfff"}])]
    assert store.add([*rows, candidate_row(text="\ud83d")]) == []
    (record,) = store.records()
    assert record.request.instruction == "a\\ud800b"
    assert record.request.messages[0]["content"] == "\\udfff"
    assert record.candidates[0].text == "\\ud83d"


def test_writing_twice_is_writing_once(store: Store) -> None:
    rows: list[AnyRow] = [
        request_row(),
        candidate_row(),
        event_row("accepted"),
        event_row("partially_accepted", accepted_length=3),
    ]
    store.add(rows)
    store.add(rows)
    store.add([replace(event_row("accepted"), time=5000.0), replace(request_row(), model="other")])
    (record,) = store.records()
    assert record.request.model == "small"
    assert [event.event for event in record.events] == ["accepted", "partially_accepted"]
    store.add(
        [
            event_row("partially_accepted", accepted_length=9),
            event_row("kept", checkpoint="save", kept_ratio=1.0),
        ]
    )
    store.add([event_row("kept", checkpoint="save", kept_ratio=0.5)])
    assert len(next(store.records()).events) == 5


def test_clients_word_replaces_an_inference_and_not_the_reverse(store: Store) -> None:
    store.add(
        [request_row(), candidate_row(), event_row("accepted", source="inferred", cause="text appeared")]
    )
    store.add([event_row("accepted", source="client")])
    store.add([event_row("accepted", source="inferred", cause="text appeared")])
    (event,) = next(store.records()).events
    assert (event.source, event.cause) == ("client", "")


def test_event_for_an_unknown_suggestion_is_refused_with_a_reason(store: Store) -> None:
    fill(store, 2)
    refused = store.add(
        [
            event_row("accepted", "nobody"),
            event_row("accepted", "c1", "r2"),
            candidate_row("c9", "r9"),
            event_row("shown"),
        ]
    )
    assert [item.reason for item in refused] == [
        "no such suggestion",
        "the suggestion belongs to another request",
        "no such request",
    ]
    assert {logged.event.event for logged in store.events(suggestion="c1")} == {"offered", "shown"}
    # A server that was restarted knows the suggestion's id only.
    assert store.add([event_row("accepted", "c2", "")]) == []
    assert {logged.event.request_id for logged in store.events(suggestion="c2")} == {"r2"}


def test_accept_after_reject_and_a_clock_that_stepped_back_keep_both(store: Store) -> None:
    fill(store)
    store.add([event_row("rejected", time=2000.0, cause="wrong"), event_row("accepted", time=2000.0 - 86400)])
    assert {logged.event.event for logged in store.events()} == {"offered", "rejected", "accepted"}


def test_one_row_that_cannot_be_stored_does_not_keep_back_the_others(store: Store) -> None:
    refused = store.add(
        [request_row("big", seed=2**70), request_row("none", time=float("nan")), request_row("good")]
    )
    assert [item.row.request_id for item in refused] == ["big", "none"]
    assert [record.request.request_id for record in store.records()] == ["good"]


def test_events_are_filtered_and_paged_oldest_first(store: Store) -> None:
    fill(store, 450)
    times = [logged.event.time for logged in store.events()]
    assert len(times) == 450
    assert times == sorted(times)
    assert [logged.event.suggestion_id for logged in store.events(limit=2)] == ["c449", "c450"]
    assert [logged.event.suggestion_id for logged in store.events(since=449_500.0)] == ["c450"]
    assert list(store.events(kinds=["accepted"])) == []
    assert next(store.events(kinds=["offered", "shown"])).instruction == "write gcd"
    assert len(list(store.records())) == 450
    assert len(list(store.records(since=450_000.0))) == 1


def test_stats_count_suggestions_not_reports(store: Store) -> None:
    fill(store, 3)
    store.add(
        [
            request_row(
                "r4", kind="stub", model="big", adapter="v1", surface="action", outcome="nothing", time=9.0
            )
        ]
    )
    store.add(
        [event_row("accepted", "c1", "r1"), event_row("rejected", "c2", "r2"), event_row("shown", "c1", "r1")]
    )
    store.add([event_row("partially_accepted", "c3", "r3", accepted_length=n) for n in (1, 2)])
    total = store.stats()[""]
    assert (total.requests, total.offered, total.shown, total.accepted) == (4, 3, 1, 1)
    assert (total.partially_accepted, total.rejected) == (1, 1)
    assert total.acceptance_rate == pytest.approx(1 / 3)
    assert {kind: tally.requests for kind, tally in store.stats("kind").items()} == {"comment": 3, "stub": 1}
    assert set(store.stats("model")) == {"small", "big+v1"}
    assert set(store.stats("surface")) == {"inline", "action"}
    assert sum(tally.requests for tally in store.stats("day").values()) == 4
    assert store.stats(since=2500.0)[""].requests == 1


@posix
def test_file_and_folder_are_the_users_alone(path: Path) -> None:
    Store(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    Store(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_connection_is_set_up_for_safety(store: Store) -> None:
    def pragma(name: str) -> object:
        return store._connection.execute(f"PRAGMA {name}").fetchone()[0]

    assert pragma("journal_mode") == "delete"
    assert (pragma("synchronous"), pragma("secure_delete"), pragma("foreign_keys")) == (2, 1, 1)


# --- purging ------------------------------------------------------------------------------------------------------


def test_purged_text_is_gone_from_the_bytes(store: Store, path: Path) -> None:
    rows: list[AnyRow] = []
    for i in range(40):
        text = f"marker-{i:03}-" + "x" * 3000
        rows += [
            request_row(f"r{i}", time=float(i), instruction=text),
            candidate_row(f"c{i}", f"r{i}", raw=text),
        ]
        rows.append(event_row("edited", f"c{i}", f"r{i}", final_text=text, time=float(i)))
    store.add(rows)
    assert b"marker-003-" in path.read_bytes()
    size = path.stat().st_size
    purged = store.purge(before=30.0)
    assert (purged.requests, purged.suggestions, purged.events) == (30, 30, 30)
    content = path.read_bytes()
    assert not any(f"marker-{i:03}-".encode() in content for i in range(30))
    assert b"marker-030-" in content
    assert path.stat().st_size < size / 2
    assert not path.with_name(path.name + "-journal").exists()


def test_purge_of_one_project_one_suggestion_and_everything(store: Store, path: Path) -> None:
    fill(store, 3)
    store.add(
        [request_row("other", project_id="p2"), candidate_row("o1", "other"), candidate_row("o2", "other")]
    )
    assert store.purge(suggestion="o1").suggestions == 1
    assert len(list(store.records())) == 4
    assert store.purge(suggestion="o2").requests == 1
    assert store.purge(suggestion="nobody").suggestions == 0
    assert store.purge(project="p2").requests == 0
    assert store.purge(project="p1", before=2500.0).requests == 2
    path.with_name(path.name + ".damaged-1").write_text("old")
    purged = store.purge()
    assert (purged.requests, purged.files) == (1, 1)
    assert list(store.records()) == []
    assert not list(path.parent.glob("*.damaged-*"))


# --- files that are not as they should be --------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["text", "head", "middle", "cut"])
def test_damaged_file_is_set_aside_and_a_new_one_begun(path: Path, damage: str) -> None:
    with Store(path) as store:
        fill(store, 200)
    content = bytearray(path.read_bytes())
    noise = random.Random(1).randbytes(4096)
    if damage == "text":
        content = bytearray(b"these are not the rows you look for\n" * 100)
    elif damage == "head":
        content[:4096] = noise
    elif damage == "middle":
        for place in range(4096, len(content), 8192):
            content[place : place + 4096] = noise
    else:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    with Store(path) as store:
        assert "damaged" in store.notice
        fill(store)
        (aside,) = store.set_aside_files()
    assert aside.read_bytes() == content
    with Store(path) as store:
        assert store.notice == ""
        assert len(list(store.records())) == 1


def test_damage_that_comes_while_open_loses_no_new_row(path: Path) -> None:
    with Store(path) as store:
        fill(store, 100)
        path.write_bytes(b"not a database" * 1000)
        assert store.add([request_row("late")]) == []
        assert "damaged" in store.notice
        assert [record.request.request_id for record in store.records()] == ["late"]


def test_empty_file_becomes_a_store(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with Store(path) as store:
        fill(store)
        assert store.notice == ""


def test_newer_schema_is_left_alone(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(StoreError, match="newer nl2code") as caught:
        Store(path)
    assert "Update" in caught.value.fix
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name)")
    connection.close()
    content = path.read_bytes()
    with pytest.raises(StoreError, match="another program's database"):
        Store(path)
    assert path.read_bytes() == content


def test_folder_link_and_pipe_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder.db"
    folder.mkdir()
    with pytest.raises(StoreError, match="it is a folder"):
        Store(folder)
    link = tmp_path / "link.db"
    link.symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="it is a link"):
        Store(link)
    pipe = tmp_path / "pipe.db"
    os.mkfifo(pipe)
    with pytest.raises(StoreError, match="no plain file"):
        Store(pipe)
    with pytest.raises(StoreError, match="cannot be used"):
        Store(tmp_path / "link.db" / "below" / "feedback.db")


@posix
def test_file_and_folder_of_somebody_else_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).close()
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(StoreError, match="another user"):
        Store(path)
    elsewhere = path.parent.parent / "linked"
    elsewhere.symlink_to(path.parent)
    with pytest.raises(StoreError, match="another user"):
        Store(elsewhere / "feedback.db")


@posix
def test_read_only_folder_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).close()
    path.parent.chmod(0o500)
    if os.getuid() == 0:  # whom modes do not stop
        monkeypatch.setattr(os, "access", lambda *_: False)
    try:
        with pytest.raises(StoreError, match="read-only"):
            Store(path)
    finally:
        path.parent.chmod(0o700)


def test_full_disk_keeps_earlier_rows_and_takes_new_ones_when_there_is_space(store: Store) -> None:
    fill(store, 5)
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="disk is full"):
        store.add([request_row("big", instruction="x" * 100_000)])
    assert len(list(store.records())) == 5
    store._connection.execute("PRAGMA max_page_count = 100000")
    assert store.add([request_row("big", instruction="x" * 100_000)]) == []
    assert len(list(store.records())) == 6


# --- more than one -------------------------------------------------------------------------------------------------


def test_reader_and_writer_at_once(path: Path) -> None:
    with Store(path) as store:
        fill(store, 300)
        reader = store.records()
        next(reader)  # a reader that is in no hurry
        done = threading.Event()
        failures: list[str] = []

        def write() -> None:
            try:
                with Store(path) as other:
                    for i in range(50):
                        other.add([request_row(f"w{i}", time=1e9 + i)])
            except StoreError as error:
                failures.append(str(error))
            done.set()

        thread = threading.Thread(target=write)
        thread.start()
        assert done.wait(10)
        thread.join()
        assert not failures
        assert len(list(reader)) == 299 + 50


def _writer(path: Path, notes: Path, name: str, rounds: int, start: float = 0.0) -> subprocess.Popen[bytes]:
    tests = Path(writer.__file__).parents[1]
    return subprocess.Popen(
        [sys.executable, "-m", "fakes.writer", str(path), str(notes), name, str(rounds), str(start)],
        env=os.environ | {"PYTHONPATH": str(tests)},
    )


def test_processes_that_start_together_make_one_store(path: Path, tmp_path: Path) -> None:
    start = time.time() + 0.7
    writers = [_writer(path, tmp_path / f"notes-{i}", f"w{i}", 1, start) for i in range(4)]
    assert [process.wait(20) for process in writers] == [0] * 4
    with Store(path) as store:
        assert store.notice == ""
        assert len(list(store.records())) == 4


def test_migration_runs_once_and_all_or_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(path) as store:
        fill(store, 2)
    known = len(schema.MIGRATIONS)
    bad = ("ALTER TABLE requests ADD COLUMN mood TEXT", "THIS IS NOT SQL")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, bad))
    with pytest.raises(StoreError):
        Store(path)
    good = ("ALTER TABLE requests ADD COLUMN mood TEXT",)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:-1], good))
    with Store(path) as store, Store(path) as other:
        assert len(list(store.records())) == len(list(other.records())) == 2
        columns = [row["name"] for row in store._connection.execute("PRAGMA table_info(requests)")]
        assert columns.count("mood") == 1
        assert store._connection.execute("PRAGMA user_version").fetchone()[0] == known + 1


def test_a_store_of_version_1_is_brought_up_to_date_with_its_rows(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        for statement in schema.MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        rows: list[tuple[str, AnyRow]] = [
            ("requests", request_row()),
            ("candidates", candidate_row()),
            ("candidates", candidate_row("c2", choice_index=1, temperature=0.8)),
        ]
        for table, row in rows:
            values = {
                name: json.dumps(value) if isinstance(value, list | dict) else value
                for name, value in asdict(row).items()
                if name != "origin"
            }
            names = ", ".join(f'"{name}"' for name in values)
            marks = ", ".join("?" * len(values))
            connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(values.values()))
    connection.close()
    with Store(path) as store:
        (record,) = store.records()
        assert [candidate.origin for candidate in record.candidates] == ["greedy", "sample"]
        assert store.add([candidate_row("c3", origin="repair"), event_row("accepted", "c3")]) == []
        (record,) = store.records()
        assert record.candidates[0].origin == "greedy"
        assert {candidate.origin for candidate in record.candidates} == {"greedy", "sample", "repair"}
