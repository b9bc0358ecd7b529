"""Folders, file modes, locks, detached processes and limits of the operating system we are on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from nl2code_server import platform
from nl2code_server.platform import (
    FileLock,
    command_line,
    end_group,
    end_process,
    free_bytes,
    lock,
    owned,
    paths,
    physical_cores,
    private_folder,
    process_alive,
    spawn_detached,
    total_memory,
    write_private,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_home_moves_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = paths()
    folders = [
        found.config,
        found.data,
        found.cache,
        found.runtime,
        found.models,
        found.logs,
        found.config_file,
    ]
    assert len(set(folders)) == 7
    assert all(folder.is_relative_to(tmp_path) for folder in folders)
    assert not any(folder.exists() for folder in folders)
    monkeypatch.setenv("NL2CODE_MODELS", str(tmp_path / "elsewhere"))
    assert paths().models == tmp_path / "elsewhere"
    assert paths().cache == found.cache


def test_without_home_the_folders_are_the_user_s_and_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NL2CODE_HOME")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = paths()
    assert all(folder.is_relative_to(tmp_path) for folder in (found.config, found.data, found.cache))
    assert found.runtime.name == "nl2code"


def test_a_runtime_folder_that_somebody_else_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> str:
        raise PermissionError("owned by another user")

    monkeypatch.delenv("NL2CODE_HOME")
    monkeypatch.setattr(platformdirs.PlatformDirs, "user_runtime_dir", property(refuse))
    assert paths().runtime == paths().cache / "run"


def test_a_private_folder_is_the_user_s_alone(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    assert private_folder(folder) == folder
    assert mode(folder) == 0o700
    folder.chmod(0o755)
    assert mode(private_folder(folder)) == 0o700


def test_a_folder_that_is_not_the_user_s_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(PermissionError, match="belongs to another user"):
        private_folder(tmp_path / "link")
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert not owned(tmp_path)
    with pytest.raises(PermissionError, match="belongs to another user"):
        private_folder(tmp_path)


def test_a_private_file_is_the_user_s_alone_and_its_folder_too(tmp_path: Path) -> None:
    file = tmp_path / "new/secret"
    old = os.umask(0)
    try:
        write_private(file, "geheim é")
    finally:
        os.umask(old)
    assert file.read_bytes() == "geheim é".encode()
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    file.chmod(0o644)
    write_private(file, b"\x00")
    assert (mode(file), file.read_bytes()) == (0o600, b"\x00")


def test_the_mode_of_a_folder_that_was_there_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    write_private(tmp_path / "file", "x")
    assert mode(tmp_path) == 0o755


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    write_private(file, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_private(file, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "old"


def test_a_lock_is_held_by_one_and_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "new/lock"
    with lock(path, timeout=1):
        started = time.monotonic()
        with pytest.raises(TimeoutError, match="locked by another process"), lock(path, timeout=0.1):
            pass
        assert 0.1 <= time.monotonic() - started < 1
    with lock(path, timeout=0):
        assert mode(path) == 0o600


def test_a_lock_is_released_when_what_it_guards_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock(tmp_path / "lock", timeout=0):
        raise KeyError
    with lock(tmp_path / "lock", timeout=0):
        pass


def _hold(path: Path, ready: Any) -> None:
    with lock(path, timeout=5):
        ready.set()
        time.sleep(60)


def test_a_lock_is_released_when_its_holder_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(path, ready))
    holder.start()
    try:
        assert ready.wait(20)
        assert not FileLock(path).acquire()
    finally:
        holder.kill()
        holder.join(5)
    with lock(path, timeout=5):
        pass


def test_a_lock_is_not_inherited_by_what_its_holder_starts(tmp_path: Path) -> None:
    with lock(tmp_path / "lock", timeout=0):
        child = spawn_detached(["sleep", "60"], tmp_path / "log")
    try:
        with lock(tmp_path / "lock", timeout=0):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_detached_process_has_a_session_of_its_own_and_no_pipe(tmp_path: Path) -> None:
    program = (
        "import os, sys;"
        "print(os.getsid(0) == os.getpid(), os.environ['X'], os.getcwd(), sys.stdin.read() == '')"
    )
    log = tmp_path / "logs/child.log"
    environment = {**os.environ, "X": "1"}
    for _ in range(2):
        child = spawn_detached([sys.executable, "-c", f"{program}; sys.exit('last words')"], log, environment)
        assert child.wait(20) == 1
    assert log.read_text() == f"True 1 {log.parent} True\nlast words\n" * 2
    assert (mode(log), mode(log.parent)) == (0o600, 0o700)


def test_a_detached_process_outlives_its_parent(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from nl2code_server.platform import spawn_detached;"
        "print(spawn_detached(['sleep', '60'], Path(sys.argv[1]) / 'log').pid, flush=True);"
        "os.killpg(0, 9)"
    )
    parent = subprocess.run(
        [sys.executable, "-c", program, tmp_path],
        capture_output=True,
        check=False,
        start_new_session=True,
        timeout=20,
    )
    assert parent.returncode == -signal.SIGKILL
    pid = int(parent.stdout)
    assert process_alive(pid)
    end_process(pid, force=True)


def test_a_command_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        spawn_detached([str(tmp_path / "none")], tmp_path / "log")


def test_a_process_is_alive_until_it_ends_even_unwaited_for() -> None:
    child = subprocess.Popen(["sleep", "60"])
    assert process_alive(child.pid)
    end_process(child.pid)
    deadline = time.monotonic() + 5
    while process_alive(child.pid) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert child.returncode is None and not process_alive(child.pid)  # a zombie
    assert child.wait() == -signal.SIGTERM
    end_process(child.pid)
    assert process_alive(os.getpid()) and process_alive(1)
    assert not any(process_alive(pid) for pid in (0, -1, 1 << 40, 1 << 70))


def test_a_group_is_ended_with_all_that_it_started() -> None:
    for force in (False, True):
        child = subprocess.Popen(
            ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True
        )
        assert child.stdout is not None
        grandchild = int(child.stdout.readline())
        # A shell without job control shields what it starts in the background from an interrupt.
        end_group(child.pid, force=force)
        assert child.wait(5) == -(signal.SIGKILL if force else signal.SIGINT)
        end_group(child.pid, force=True)
        child.stdout.read()  # ends when nobody holds the pipe any more
        child.stdout.close()
        deadline = time.monotonic() + 5  # a process lets go of its files shortly before it is over
        while process_alive(grandchild) and time.monotonic() < deadline:
            time.sleep(0.005)
        assert not process_alive(grandchild)


def test_the_command_line_of_a_process() -> None:
    assert "pytest" in command_line(os.getpid())
    assert command_line(1 << 22) == ""


def test_priority_is_lowered_and_never_raised() -> None:
    program = (
        "import os; from nl2code_server.platform import lower_priority; os.nice(int(__import__('sys').argv[1]));"
        "lower_priority(); print(os.getpriority(os.PRIO_PROCESS, 0))"
    )
    own = os.getpriority(os.PRIO_PROCESS, 0)
    for extra, expected in ((0, max(5, own)), (12, own + 12)):
        shown = subprocess.run(
            [sys.executable, "-c", program, str(extra)], capture_output=True, check=True, timeout=20
        )
        assert int(shown.stdout) == min(19, expected)


def test_free_space_is_that_of_the_disk_where_a_folder_would_be(tmp_path: Path) -> None:
    assert 0 < free_bytes(tmp_path / "not/there/yet") <= free_bytes(Path("/")) * 1000


def test_cores_and_memory_are_within_those_of_the_machine() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
    assert 64 << 20 < total_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.skipif(sys.platform != "linux", reason="affinity is Linux's")
def test_cores_follow_affinity() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from nl2code_server.platform import physical_cores; print(physical_cores())"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=20)
    assert int(shown.stdout) == 1


@pytest.mark.parametrize(
    ("limits", "cores"),
    [
        ({"cpu.max": ["max 100000"]}, 4),
        ({"cpu.max": ["200000 100000"]}, 2),
        ({"cpu.max": ["max 100000", "150000 100000"]}, 1),
        ({"cpu.max": ["20000 100000"]}, 1),
        ({"cpu/cpu.cfs_quota_us": ["-1"], "cpu/cpu.cfs_period_us": ["100000"]}, 4),
        ({"cpu/cpu.cfs_quota_us": ["300000"], "cpu/cpu.cfs_period_us": ["100000"]}, 3),
        ({"cpu.max": ["nonsense"]}, 4),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_cores_follow_the_quota_and_count_hyper_threads_once(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, list[str]], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(platform, "_core_of", lambda cpu: str(cpu % 4))
    monkeypatch.setattr(platform, "_cgroup_values", lambda name, legacy: limits.get(name or legacy, []))
    assert physical_cores() == cores


def test_memory_follows_the_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "_cgroup_values", lambda name, legacy: ["max", str(1 << 27)])
    assert total_memory() == 1 << 27
