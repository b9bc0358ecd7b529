"""What was acknowledged is in the log, whatever happens to servers, disk, file and clock."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from e2e import kills, namespaces
from fakes.rows import candidate_row, event_row, request_row
from nl2code_server.feedback.log import FeedbackLog, unfinished
from nl2code_server.feedback.store import Store

DAY = 86400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "feedback.db"


def requests(path: Path) -> list[str]:
    with Store(path) as store:
        return [record.request.request_id for record in store.records()]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("mode", ["plain", "encrypted", "converting"])
def test_killed_servers_lose_nothing_that_was_acknowledged(
    tmp_path: Path, mode: kills.Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NL2CODE_ENCRYPTION_KEY_FILE", "")  # the run sets it for its processes
    result = kills.run(6 if mode == "plain" else 2, tmp_path, mode)
    assert (result.conversions > 0) is (mode == "converting")
    assert result.acknowledged >= result.kills
    assert (result.missing, result.incomplete, result.integrity, result.notice) == (0, 0, "ok", "")
    assert result.reads > 0 or mode == "converting"  # a short run may be over before the reader has its turn


def test_a_full_and_a_read_only_disk_stop_no_suggestion_and_lose_no_row(tmp_path: Path) -> None:
    if not namespaces.allowed("-rm", "mount", "-t", "tmpfs", "none", "/mnt"):
        pytest.skip("this machine lets nobody mount a disk in a namespace of their own")
    told = namespaces.told("-rm", "e2e.disk", tmp_path)
    assert (told["before"], told["while full"], told["while read-only"]) == (1, 3, 2)
    assert told["logged while full"] == 1
    (full,) = told["warnings of the full disk"]
    assert "The disk is full" in full
    assert "Free some space" in full
    (read_only,) = told["warnings of the read-only disk"]
    assert "cannot be used" in read_only
    assert told["integrity"] == "ok"


async def test_damage_while_two_servers_write_is_told_and_costs_no_new_row(path: Path) -> None:
    told: list[str] = []
    logs = [FeedbackLog(path, redact=False, on_problem=told.append) for _ in range(2)]
    for number, log in enumerate(logs):
        log.record_request(request_row(f"before-{number}"))
        assert await log.flush(20)
    content = b"neither here nor there" * 2000
    await asyncio.to_thread(path.write_bytes, content)
    for number, log in enumerate(logs):
        log.record_request(request_row(f"after-{number}"))
        assert await log.flush(20)
    await asyncio.sleep(0)
    assert sorted(requests(path)) == ["after-0", "after-1"]
    with Store(path) as store:
        (aside,) = store.set_aside_files()
    assert aside.read_bytes() == content
    assert [aside.name in one for one in told] == [True]  # by the one who did it, once
    for log in logs:
        assert await log.close(20)


@pytest.mark.parametrize("what", ["set aside", "deleted"])
def test_a_file_that_is_taken_away_is_not_written_to_any_more(path: Path, what: str) -> None:
    with Store(path) as store:
        store.add([request_row("first")])
        other = path.with_name("elsewhere")
        path.rename(other)
        if what == "set aside":
            Store(path).close()
        assert store.add([request_row("second")]) == []
        assert [record.request.request_id for record in store.records()] == ["second"]
    assert requests(path) == ["second"]
    assert requests(other) == ["first"]


async def test_a_clock_that_was_set_forward_deletes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    with Store(path) as store:
        store.add([request_row("young", time=real() - DAY)])
    log = FeedbackLog(path, redact=False, retention_days=30)
    monkeypatch.setattr(time, "time", lambda: real() + 400 * DAY)
    log.record_request(request_row("now", time=time.time()))
    assert await log.close(20)
    assert requests(path) == ["young", "now"]
    monkeypatch.undo()
    late = FeedbackLog(path, redact=False, retention_days=30)  # the next server keeps what was promised
    with Store(path) as store:
        store.add([request_row("old", time=real() - 40 * DAY)])
    late.record_request(request_row("then", time=real()))
    assert await late.close(20)
    assert requests(path) == ["young", "then", "now"]


def test_a_clock_that_was_set_back_keeps_every_event_once(path: Path) -> None:
    with Store(path) as store:
        store.add([request_row(time=5 * DAY), candidate_row()])
        store.add([event_row("offered", time=5 * DAY), event_row("accepted", time=4 * DAY)])
        store.add([event_row("accepted", time=5 * DAY)])  # told again when the clock is right again
        assert [logged.event.event for logged in store.events()] == ["accepted", "offered"]
        assert [record.request.request_id for record in store.records(since=4.5 * DAY)] == ["r1"]


def test_what_was_accepted_in_the_future_is_followed_by_nobody_and_breaks_nothing(path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(20)
    with Store(path) as store:
        store.add([request_row(), candidate_row()])
        store.add([event_row("accepted", time=time.time() + DAY, data={"pid": gone.pid})])
    (found,) = unfinished(path)
    assert found.accepted.time > time.time()
