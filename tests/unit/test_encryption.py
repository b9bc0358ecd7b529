"""An encrypted store shows nothing without its key, loses nothing there and back, and says what it lacks."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail

from fakes.keyrings import Drawer, Locked, Sieve, key_file
from fakes.rows import candidate_row, event_row, request_row
from nl2code_server.cli import feedback_encryption as command
from nl2code_server.errors import Nl2CodeError, StoreError
from nl2code_server.feedback import convert, database, keys
from nl2code_server.feedback.log import FeedbackLog
from nl2code_server.feedback.rows import AnyRow
from nl2code_server.feedback.store import Store

SIGN = "unmistakable"


@pytest.fixture(autouse=True)
def drawer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drawer]:
    """Have a keyring of this test's own."""
    monkeypatch.setattr(keys, "_known", {})
    monkeypatch.setattr(keys, "_refused", {})
    before, drawer = keyring.get_keyring(), Drawer()
    keyring.set_keyring(drawer)
    yield drawer
    keyring.set_keyring(before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "feedback.db"


def forget() -> None:
    """Be a process that has just begun."""
    keys._known.clear()
    keys._refused.clear()


def fill(path: Path, n: int = 40, *, encrypt: bool = False) -> None:
    rows: list[AnyRow] = []
    for i in range(n):
        rows += [request_row(f"r{i}", time=float(i), instruction=f"{SIGN} {i} " + "x" * 800)]
        rows += [candidate_row(f"c{i}", f"r{i}", text=SIGN), event_row("offered", f"c{i}", f"r{i}")]
    with Store(path, encrypt=encrypt) as store:
        assert store.add(rows) == []


def requests(path: Path) -> list[str]:
    with Store(path) as store:
        assert store.integrity() == "ok"
        found = list(store.records())
    assert all(len(one.candidates) == len(one.events) == 1 for one in found if one.request.time < 1000)
    return [one.request.request_id for one in found]


def everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


# --- what is seen without the key ---------------------------------------------------------------------------------


@pytest.mark.parametrize("encrypted", [True, False])
def test_neither_file_nor_journal_shows_anything(path: Path, encrypted: bool) -> None:
    fill(path, encrypt=encrypted)
    with Store(path) as store:
        store._connection.execute("BEGIN IMMEDIATE")
        store._connection.execute("UPDATE requests SET instruction = 'changed'")
        journal = path.with_name(f"{path.name}-journal").read_bytes()
        assert len(journal) > 4096
        store._connection.execute("ROLLBACK")
    assert (SIGN.encode() in journal) is not encrypted  # the plain one is the control
    content = everything(path)
    assert (SIGN.encode() in content) is not encrypted
    assert (b"SQLite format 3" in content) is not encrypted
    assert (b"CREATE TABLE" in content) is not encrypted
    if encrypted:
        with pytest.raises(sqlite3.DatabaseError, match="not a database"):
            sqlite3.connect(path).execute("SELECT * FROM requests")


def test_the_key_is_in_the_keyring_alone(path: Path, drawer: Drawer) -> None:
    fill(path, encrypt=True)
    ((service, name), key) = next(iter(drawer.kept.items()))
    assert (service, len(key)) == (keys.SERVICE, 64)
    content = everything(path)
    assert key.encode() not in content and bytes.fromhex(key) not in content
    assert keys.key_name(path) == name
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_every_reader_opens_it_and_asks_for_the_key_once(path: Path, drawer: Drawer) -> None:
    fill(path, encrypt=True)
    forget()
    asked = drawer.asked
    assert [requests(path) for _ in range(3)] == [[f"r{i}" for i in range(40)]] * 3
    assert drawer.asked == asked + 1


# --- there and back -----------------------------------------------------------------------------------------------


def test_there_and_back_keeps_every_row(path: Path) -> None:
    fill(path)
    with Store(path) as store:
        before = list(store.records())
    assert convert.encrypt(path)
    assert not convert.encrypt(path)
    assert SIGN.encode() not in everything(path)
    with Store(path) as store:
        assert list(store.records()) == before
    assert convert.decrypt(path)
    assert not convert.decrypt(path)
    assert not keys.marker(path).exists()
    with Store(path) as store:
        assert list(store.records()) == before
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "feedback.db",
        "feedback.db.gate",
        "feedback.db.lock",
    ]


def test_who_has_it_open_goes_on_with_the_new_file(path: Path) -> None:
    fill(path, 450)
    with Store(path) as writer, Store(path) as reader:
        records = reader.records()
        assert next(records).request.request_id == "r0"
        for number, rewrite in enumerate((convert.encrypt, convert.decrypt, convert.encrypt)):
            assert rewrite(path)
            assert writer.add([request_row(f"late-{number}", time=9000.0 + number)]) == []
        assert len(list(records)) == 449 + 3
        assert writer.notice == reader.notice == ""
        assert writer.set_aside_files() == []
    assert len(requests(path)) == 453


def test_the_old_file_is_overwritten(path: Path) -> None:
    fill(path)
    with path.open("rb") as old:
        assert SIGN.encode() in old.read()
        convert.encrypt(path)
        old.seek(0)
        assert not old.read().strip(b"\0")


async def test_the_log_encrypts_what_it_finds_and_what_it_begins(path: Path) -> None:
    fill(path, 3)
    for target, expected in ((path, 4), (path.with_name("new.db"), 1)):
        log = FeedbackLog(target, encrypt=True)
        log.record_request(request_row("late", time=5000.0, instruction=SIGN))
        assert await log.close(30)
        assert keys.key_name(target)
        assert len(requests(target)) == expected
    assert SIGN.encode() not in everything(path)


def test_one_that_was_begun_anew_is_encrypted_like_the_one_before(path: Path) -> None:
    fill(path, encrypt=True)
    with Store(path) as store:
        path.unlink()
        assert store.add([request_row("new", instruction=SIGN)]) == []
    assert SIGN.encode() not in path.read_bytes()
    assert requests(path) == ["new"]


@pytest.mark.parametrize("moment", ["draft", "marked", "plain again"])
def test_a_conversion_that_was_killed_leaves_a_store_that_opens(path: Path, moment: str) -> None:
    fill(path, encrypt=moment == "plain again")
    if moment == "draft":
        path.with_name(f"{path.name}.converting").write_bytes(b"half of it")
    elif moment == "marked":
        keys.mark(path, keys.new_key())
    else:
        note = keys.marker(path).read_text()
        convert.decrypt(path)
        keys.marker(path).write_text(note)
    with Store(path) as store:
        assert store.notice == ""
        assert len(list(store.records())) == 40
    assert not keys.marker(path).exists()
    assert not convert.unfinished(path)
    fill(path, 41, encrypt=True)
    assert len(requests(path)) == 41
    assert SIGN.encode() not in everything(path)


# --- files and disks that are not as they should be ----------------------------------------------------------------


@pytest.mark.parametrize("damage", ["text", "salt", "head", "middle", "cut"])
def test_a_damaged_one_is_set_aside_as_it_is(path: Path, damage: str) -> None:
    fill(path, encrypt=True)
    content = bytearray(path.read_bytes())
    noise = random.Random(1).randbytes(4096)
    if damage == "text":
        content = bytearray(b"these are not the rows you look for\n" * 100)
    elif damage == "middle":
        for place in range(4096, len(content), 8192):
            content[place : place + 4096] = noise
    elif damage == "cut":
        del content[len(content) // 2 :]
    else:
        size = 16 if damage == "salt" else 4096
        content[:size] = noise[:size]
    path.write_bytes(content)
    with Store(path) as store:
        assert "damaged" in store.notice
        (aside,) = store.set_aside_files()
        store.add([request_row("new", instruction=SIGN)])
    assert aside.read_bytes() == content
    assert SIGN.encode() not in everything(path)


def test_damage_that_comes_while_open_loses_no_new_row(path: Path) -> None:
    fill(path, encrypt=True)
    with Store(path) as store:
        path.write_bytes(b"not a database" * 1000)
        assert store.add([request_row("late")]) == []
        assert "damaged" in store.notice
    assert requests(path) == ["late"]


def test_a_full_disk_keeps_earlier_rows_and_says_so(path: Path) -> None:
    fill(path, 5, encrypt=True)
    with Store(path) as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match="disk is full"):
            store.add([request_row("big", instruction="x" * 100_000)])
        store._connection.execute("PRAGMA max_page_count = 100000")
        assert store.add([request_row("big", instruction="x" * 100_000)]) == []
    assert len(requests(path)) == 6


def test_a_disk_that_fills_up_during_the_conversion_leaves_the_store_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path)
    before = path.read_bytes()
    connect = database.connect

    def small(file: Path, key: bytes | None = None) -> sqlite3.Connection:
        connection = connect(file, key)
        if key:
            connection.execute("PRAGMA max_page_count = 12")
        return connection

    monkeypatch.setattr(convert, "connect", small)
    with pytest.raises(StoreError, match="disk is full"):
        convert.encrypt(path)
    assert path.read_bytes() == before
    assert not keys.key_name(path) and not convert.unfinished(path)
    assert len(requests(path)) == 40


def test_a_newer_schema_is_left_alone(path: Path) -> None:
    fill(path, encrypt=True)
    with Store(path) as store:
        store._connection.execute("PRAGMA user_version = 99")
    content = path.read_bytes()
    with pytest.raises(StoreError, match="newer nl2code"):
        Store(path)
    assert path.read_bytes() == content


# --- keys that are not there ---------------------------------------------------------------------------------------


def refused(path: Path, match: str) -> StoreError:
    """Open it, which must fail, lose nothing, and say in one line what to do."""
    forget()
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(StoreError, match=match) as caught:
        Store(path)
    assert caught.value.fix and "\n" not in str(caught.value)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before
    return caught.value


def test_a_key_that_is_gone_or_another_loses_nothing(path: Path, drawer: Drawer) -> None:
    fill(path, encrypt=True)
    kept = dict(drawer.kept)
    drawer.kept.clear()
    assert "keyring set" in refused(path, "not in this keyring").fix
    drawer.kept.update(dict.fromkeys(kept, "ab" * 32))
    refused(path, "not in this keyring")
    drawer.kept.update(dict.fromkeys(kept, "no key"))
    refused(path, "not in this keyring")
    drawer.kept.update(kept)
    forget()
    assert len(requests(path)) == 40


def test_a_key_in_a_file_where_there_is_no_keyring(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawer: Drawer
) -> None:
    right, wrong = key_file(tmp_path), key_file(tmp_path, "6b")
    monkeypatch.setenv("NL2CODE_ENCRYPTION_KEY_FILE", str(right))
    fill(path, encrypt=True)
    assert (drawer.kept, drawer.asked) == ({}, 0)
    forget()
    assert len(requests(path)) == 40
    monkeypatch.setenv("NL2CODE_ENCRYPTION_KEY_FILE", str(wrong))
    refused(path, "another key than that in")
    monkeypatch.setenv("NL2CODE_ENCRYPTION_KEY_FILE", str(tmp_path / "nowhere"))
    assert "openssl rand" in refused(path, "cannot be read").fix
    wrong.write_text("short")
    monkeypatch.setenv("NL2CODE_ENCRYPTION_KEY_FILE", str(wrong))
    refused(path, "64 hexadecimal digits")
    right.chmod(0o644)
    monkeypatch.setenv("NL2CODE_ENCRYPTION_KEY_FILE", str(right))
    if os.name == "posix":
        assert "chmod 600" in refused(path, "Others may read").fix


@pytest.mark.parametrize(
    ("backend", "match"),
    [(fail.Keyring, "there is none here"), (Sieve, "does not keep"), (Locked, "has not answered")],
)
def test_a_keyring_that_is_of_no_use_leaves_a_plain_store_plain(
    path: Path, monkeypatch: pytest.MonkeyPatch, backend: type[KeyringBackend], match: str
) -> None:
    fill(path)
    before = path.read_bytes()
    keyring.set_keyring(backend())
    monkeypatch.setattr(keys, "_PATIENCE", 0.2)
    with pytest.raises(StoreError, match=match) as caught:
        Store(path, encrypt=True)
    assert "encryption_key_file" in caught.value.fix
    assert path.read_bytes() == before
    assert not keys.key_name(path)


def test_a_keyring_that_refused_is_not_asked_at_every_try(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, encrypt=True)
    forget()
    locked = Locked()
    keyring.set_keyring(locked)
    monkeypatch.setattr(keys, "_PATIENCE", 0.05)
    for _ in range(5):
        with pytest.raises(StoreError, match="has not answered"):
            Store(path)
    assert locked.asked == 1


@pytest.mark.parametrize("package", ["sqlcipher3", "keyring"])
def test_without_the_packages_it_says_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    fill(path, encrypt=True)
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'nl2code[encrypted]'" in refused(path, "needs more packages").fix


async def test_a_log_without_its_key_warns_once_and_writes_when_it_is_back(
    path: Path, drawer: Drawer
) -> None:
    fill(path, 2, encrypt=True)
    kept = dict(drawer.kept)
    drawer.kept.clear()
    forget()
    told: list[str] = []
    log = FeedbackLog(path, on_problem=told.append)
    log.record_request(request_row("late", time=5000.0))
    assert not await log.flush(1.5)
    drawer.kept.update(kept)
    assert await log.flush(20)
    assert await log.close(20)
    assert len(told) == 1 and "not in this keyring" in told[0]
    assert requests(path)[-1] == "late"


# --- the commands --------------------------------------------------------------------------------------------------


def test_the_commands_say_what_they_did(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(path, 2)
    command.encrypt()
    said = capsys.readouterr().out
    assert "is encrypted" in said and keys.key_name(path) in said and "encrypt = true" in said
    command.encrypt()
    assert "was encrypted already" in capsys.readouterr().out
    monkeypatch.setenv("NL2CODE_ENCRYPT", "true")
    with pytest.raises(Nl2CodeError, match="encrypt it again"):
        command.decrypt()
    monkeypatch.delenv("NL2CODE_ENCRYPT")
    command.decrypt()
    assert "no longer encrypted" in capsys.readouterr().out
    command.decrypt()
    assert "is not encrypted" in capsys.readouterr().out
    assert len(requests(path)) == 2
