"""Everything that depends on the operating system: folders, file modes, locks, detached processes, limits."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.platform == "win32":
    import ctypes
    import msvcrt
else:
    import fcntl

APP = "nl2code"
LOCK_POLL = 0.05  # s


@dataclass(frozen=True, slots=True)
class Paths:
    """The user's folders. `NL2CODE_HOME` moves all under one folder, `NL2CODE_MODELS` the models alone."""

    config: Path
    data: Path
    cache: Path
    runtime: Path

    @property
    def config_file(self) -> Path:
        """The one configuration file (`NL2CODE_CONFIG` names another)."""
        return _named_by("NL2CODE_CONFIG") or self.config / "config.toml"

    @property
    def models(self) -> Path:
        """Downloaded model files."""
        return _named_by("NL2CODE_MODELS") or self.cache / "models"

    @property
    def logs(self) -> Path:
        """Logs of detached processes."""
        return self.cache / "logs"


def paths() -> Paths:
    """Return the folders in force. None of them need exist."""
    if root := _named_by("NL2CODE_HOME"):
        return Paths(root / "config", root / "data", root / "cache", root / "run")
    import platformdirs

    dirs = platformdirs.PlatformDirs(APP, appauthor=False)
    with warnings.catch_warnings():
        # It warns when XDG_RUNTIME_DIR is unset, which is the normal state of a server without a desktop.
        warnings.simplefilter("ignore")
        try:
            runtime = Path(dirs.user_runtime_dir)
        except OSError:  # its last resort is under /tmp, where somebody else may have been first
            runtime = dirs.user_cache_path / "run"
    return Paths(dirs.user_config_path, dirs.user_data_path, dirs.user_cache_path, runtime)


def _named_by(variable: str) -> Path | None:
    named = os.environ.get(variable)
    return Path(named).expanduser().absolute() if named else None


def private_folder(path: Path) -> Path:
    """Make a folder that only its user may enter. Raise `PermissionError` if it belongs to somebody else."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not owned(path):
        raise PermissionError(f"{path} belongs to another user")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o700)
    return path


def owned(path: Path) -> bool:
    """Say whether a file or folder is the user's own, and not a link to somewhere else."""
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return False
    return sys.platform == "win32" or info.st_uid == os.getuid()


def write_private(path: Path, data: str | bytes) -> None:
    """Write a file that only its user may read. A reader finds the old content or the new, never half."""
    if not path.parent.exists():
        private_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


class FileLock:
    """A lock between processes that its holder's end releases, however it ends.

    Many may hold a shared one together, but on Windows, where each is its holder's alone.
    """

    def __init__(self, path: Path, *, shared: bool = False) -> None:
        self.path = path
        self.shared = shared
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free, without waiting."""
        if not self.path.parent.exists():
            private_folder(self.path.parent)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if sys.platform == "win32":
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(handle, (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(handle)
            return False
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        """Let the lock go. The file stays: removing it would let two processes lock two files of one name."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


@contextmanager
def lock(path: Path, *, timeout: float, shared: bool = False) -> Iterator[None]:
    """Hold the lock named by `path`; raise `TimeoutError` if it is not free within `timeout` seconds."""
    file_lock = FileLock(path, shared=shared)
    deadline = time.monotonic() + timeout
    while not file_lock.acquire():
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{path} is locked by another process")
        time.sleep(LOCK_POLL)
    try:
        yield
    finally:
        file_lock.release()


def spawn_detached(
    args: Sequence[str], log: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one and shares no pipe with it; what it prints is added to `log`."""
    if not log.parent.exists():
        private_folder(log.parent)
    options: dict[str, Any] = {}
    if sys.platform == "win32":
        options["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    else:
        options["start_new_session"] = True
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            list(args),
            stdin=subprocess.DEVNULL,
            stdout=handle,
            stderr=handle,
            # A folder of the user's project would stay busy, and could offer modules to import.
            cwd=log.parent,
            env=None if env is None else dict(env),
            **options,
        )
    finally:
        os.close(handle)


def process_alive(pid: int) -> bool:
    """Say whether a process runs. One that has ended, but was not yet waited for, does not."""
    if pid <= 0:
        return False
    if sys.platform == "win32":
        return _windows_process_alive(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    except OverflowError:
        return False
    try:
        # "pid (name) state ...", where the name may hold spaces and parentheses
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return True  # no procfs here


def end_process(pid: int, *, force: bool = False) -> None:
    """Ask a process to end; with `force`, end it."""
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            os.kill(pid, signal.SIGTERM)
        else:
            os.kill(pid, signal.SIGKILL if force else signal.SIGTERM)


def end_group(pid: int, *, force: bool = False) -> None:
    """Interrupt a process that leads a session, and all that it started; with `force`, end them."""
    with suppress(ProcessLookupError, PermissionError):  # the latter is what macOS says of a zombie
        if sys.platform == "win32":
            os.kill(pid, signal.SIGTERM)
        else:
            os.killpg(pid, signal.SIGKILL if force else signal.SIGINT)


def command_line(pid: int) -> str:
    """Return the command that a process runs, or nothing where that cannot be told."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        if sys.platform == "win32" or not Path("/bin/ps").exists():
            return ""
    shown = subprocess.run(
        ["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, timeout=5, check=False
    )
    return shown.stdout.strip()


def lower_priority() -> None:
    """Let the user's own programs go first."""
    if sys.platform == "win32":
        below_normal = 0x4000
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), below_normal)
    else:
        os.setpriority(os.PRIO_PROCESS, 0, max(5, os.getpriority(os.PRIO_PROCESS, 0)))


def confine(memory: int) -> None:
    """Take from this process what computing does not need: files to write, core dumps, boundless memory.

    `memory` is in bytes of address space. Windows has none of these limits, macOS does not hold the last.
    """
    if sys.platform == "win32":
        return
    import resource

    limits = ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 256))
    for limit, most in (*limits, (resource.RLIMIT_AS, memory)):
        _, hard = resource.getrlimit(limit)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with suppress(ValueError, OSError):  # what a system does not have
            resource.setrlimit(limit, (value, value))


def on_battery() -> bool:
    """Say whether this machine lives on its battery. One that does not tell is taken to be plugged in."""
    if sys.platform == "linux":
        supplies = [(_line(one / "type"), one) for one in Path("/sys/class/power_supply").glob("*")]
        plugged = [_line(one / "online") == "1" for kind, one in supplies if kind in ("Mains", "USB")]
        draining = any(
            kind == "Battery" and _line(one / "status") == "Discharging" and _line(one / "scope") != "Device"
            for kind, one in supplies
        )
        return draining and not any(plugged)
    if sys.platform == "darwin":
        shown = subprocess.run(["/usr/bin/pmset", "-g", "ps"], capture_output=True, timeout=5, check=False)
        return b"'Battery Power'" in shown.stdout
    if sys.platform == "win32":
        status = (ctypes.c_ubyte * 12)()
        return bool(ctypes.windll.kernel32.GetSystemPowerStatus(status)) and status[0] == 0
    return False


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def free_bytes(path: Path) -> int:
    """Return the free space on the disk where `path` (absolute) is, or would be made."""
    import shutil

    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def physical_cores() -> int:
    """Return how many cores this process may keep busy, by affinity and quota; hyper-threads count once."""
    if sys.platform == "linux":
        cores = {_core_of(cpu) for cpu in os.sched_getaffinity(0)}
        quota = _cgroup_cpu_quota()
        return max(1, min(len(cores), int(quota)) if quota else len(cores))
    if sys.platform == "darwin":
        # Efficiency cores slow down every step that all threads finish together, so they do not count.
        for name in ("hw.perflevel0.physicalcpu", "hw.physicalcpu"):
            if count := _sysctl(name):
                return count
    return max(1, (os.cpu_count() or 2) // 2)


def total_memory() -> int:
    """Return the bytes of memory that this process may use."""
    if sys.platform == "win32":
        return _windows_total_memory()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = _cgroup_values("memory.max", "memory/memory.limit_in_bytes")
    return min([memory, *(int(limit) for limit in limits if limit.isdigit())])


def available_memory() -> int:
    """Return the bytes of memory that can be had without swapping, as far as the system tells."""
    total = total_memory()
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min(total, int(line.split()[1]) * 1024)
    return total


def _core_of(cpu: int) -> str:
    """Name the core of a logical CPU by the CPUs that share it."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _cgroup_cpu_quota() -> float:
    """Return the tightest CPU quota of the control groups that this process is in; 0 if there is none."""
    quotas = []
    for value in _cgroup_values("cpu.max", ""):
        limit, _, period = value.partition(" ")
        if limit.isdigit() and period.isdigit() and int(period):
            quotas.append(int(limit) / int(period))
    for value, period in zip(
        _cgroup_values("", "cpu/cpu.cfs_quota_us"), _cgroup_values("", "cpu/cpu.cfs_period_us"), strict=False
    ):
        if value.isdigit() and period.isdigit() and int(period):
            quotas.append(int(value) / int(period))
    return min(quotas, default=0.0)


def _cgroup_values(name: str, legacy: str) -> list[str]:
    """Read one limit at every level above this process, in the unified hierarchy and in the legacy one."""
    root = Path("/sys/fs/cgroup")
    files: list[Path] = []
    if name:
        folder = root
        with suppress(OSError):
            for line in Path("/proc/self/cgroup").read_text().splitlines():
                if line.startswith("0::"):
                    folder = root / line[3:].lstrip("/")
        files = [level / name for level in (folder, *folder.parents) if level.is_relative_to(root)]
    if legacy:
        files.append(root / legacy)
    values = []
    for file in files:
        with suppress(OSError):
            values.append(file.read_text().strip())
    return values


def _sysctl(name: str) -> int:
    shown = subprocess.run(
        ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False
    )
    return int(shown.stdout) if shown.stdout.strip().isdigit() else 0


if sys.platform == "win32":

    def _windows_process_alive(pid: int) -> bool:
        kernel = ctypes.windll.kernel32
        synchronize = 0x0010_0000
        handle = kernel.OpenProcess(synchronize, False, pid)
        if not handle:
            return False
        still_running = 0x102
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == still_running)
        finally:
            kernel.CloseHandle(handle)

    def _windows_total_memory() -> int:
        class MemoryStatus(ctypes.Structure):
            _fields_ = [
                ("length", ctypes.c_ulong),
                ("load", ctypes.c_ulong),
                *((name, ctypes.c_ulonglong) for name in ("total", "free", "a", "b", "c", "d", "e")),
            ]

        status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
        ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
        return int(status.total)
