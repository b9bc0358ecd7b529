"""The runtime file: private, forgotten with its process, and never somebody else's."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nl2code_server.endpoint import runtime
from nl2code_server.endpoint.runtime import Record
from nl2code_server.platform import paths, write_private

KEY = runtime.key("auto", "auto", "cpu")
HERE = Record("http://127.0.0.1:8/v1", "s3cret", os.getpid(), "llamacpp", "m", runtime.PROTOCOL, KEY, 5.5)


def file_of(key: str) -> Path:
    return paths().runtime / f"host-{key}.json"


def test_a_record_is_read_as_it_was_written() -> None:
    assert runtime.read(KEY) is None and runtime.records() == []
    runtime.write(HERE)
    assert runtime.read(KEY) == HERE
    assert runtime.read(runtime.key("torch", "auto", "cpu")) is None
    newer = replace(HERE, url="http://127.0.0.1:9/v1", started=6)
    runtime.write(newer)
    assert runtime.read(KEY) == newer


def test_only_its_user_can_read_it() -> None:
    paths().runtime.mkdir(mode=0o755)
    runtime.write(HERE)
    assert stat.S_IMODE(file_of(KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(paths().runtime.stat().st_mode) == 0o700


def test_the_token_is_not_shown() -> None:
    assert "s3cret" not in repr(HERE) and "127.0.0.1:8" in repr(HERE)


def test_records_are_listed_oldest_first() -> None:
    for index, started in enumerate((3.0, 1.0, 2.0)):
        runtime.write(replace(HERE, key=f"k{index}", started=started))
    assert [record.started for record in runtime.records()] == [1.0, 2.0, 3.0]


def test_a_record_goes_with_its_process() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    runtime.write(replace(HERE, pid=child.pid))
    assert runtime.read(KEY) is None and runtime.records() == []


def test_a_host_removes_its_own_record_and_not_its_successor_s() -> None:
    runtime.write(HERE)
    runtime.remove(KEY, HERE.pid + 1)
    assert runtime.read(KEY) == HERE
    runtime.remove(KEY, HERE.pid)
    assert not file_of(KEY).exists()
    runtime.remove(KEY, HERE.pid)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", "{}", "\ufffd", json.dumps({**asdict(HERE), "pid": "1"}),
     json.dumps({name: value for name, value in asdict(HERE).items() if name != "token"})],
)  # fmt: skip
def test_a_damaged_record_counts_as_none_and_can_be_removed(content: str) -> None:
    write_private(file_of(KEY), content)
    assert runtime.read(KEY) is None and runtime.records() == []
    runtime.remove(KEY, 1)
    assert not file_of(KEY).exists()


def test_fields_of_a_later_version_are_ignored() -> None:
    write_private(file_of(KEY), json.dumps({**asdict(HERE), "later": 1}))
    assert runtime.read(KEY) == HERE


def test_a_record_of_another_user_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.write(HERE)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert runtime.read(KEY) is None


def test_a_link_to_a_record_is_not_followed(tmp_path: Path) -> None:
    runtime.write(HERE)
    file_of(KEY).rename(tmp_path / "record")
    file_of(KEY).symlink_to(tmp_path / "record")
    assert runtime.read(KEY) is None


def test_the_key_tells_apart_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [
        ("auto", "auto", "auto"),
        ("auto", "auto", "cpu"),
        ("autoa", "uto", "cpu"),
        ("torch", "auto", "cpu"),
    ]
    keys = [runtime.key(*values) for values in asked]
    assert len(set(keys)) == 4 and runtime.key(*asked[1]) == KEY
    assert all(key.isalnum() for key in keys)
    monkeypatch.setattr(runtime, "__version__", "9")
    assert runtime.key(*asked[1]) != KEY
