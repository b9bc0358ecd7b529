"""Runs code that nobody has read, behind walls: a program of its own, started with -I by `isolate`, never imported.

Each line on stdin is one job, each line on stdout what became of it. A job runs in a fork that has, on Linux, a
network, process table and file system of its own (everything read-only but an empty folder in memory); elsewhere it
has the limits and the hook alone, which stop mistakes but no attacker.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

NEW_SPACES = 0x10000000 | 0x40000000 | 0x00020000 | 0x20000000 | 0x08000000  # user, net, mount, pid, ipc
PRIVATE, NOSUID, NODEV = 0x40000 | 0x4000, 2, 4
MOUNT_SETATTR, HERE, RECURSIVE, READ_ONLY = 442, -100, 0x8000, 1
DISK = 64 << 20  # bytes that a job may write
DEATH_SIGNAL = 1

REFUSED = {
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo",
    "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system", "subprocess.Popen",
    "os.kill", "os.killpg", "os.startfile", "pty.spawn",
}  # fmt: skip
WRITES = {
    "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.rmtree",
    "os.rename", "os.link", "os.symlink",
}  # fmt: skip


def main() -> None:
    """Answer jobs until stdin ends."""
    walls = "namespaces" if separable() else "limits"
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), walls)), flush=True)


def separable() -> bool:
    """Try out whether the system gives a process spaces of its own."""
    with tempfile.TemporaryDirectory(prefix="nl2code-eval-") as folder:
        child = os.fork()
        if child == 0:
            try:
                os._exit(0 if separate(folder) else 1)
            except OSError:
                os._exit(1)
        return os.waitpid(child, 0)[1] == 0


def answer(job: dict[str, Any], walls: str) -> dict[str, Any]:
    """Run one job in a fork and return a reason for each of its tests, empty where it passed."""
    with tempfile.TemporaryDirectory(prefix="nl2code-eval-", ignore_cleanup_errors=True) as folder:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            guard(job, folder, walls, writing)
        os.close(writing)
        told = read_until(reading, time.monotonic() + job["seconds"] + 3)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
    lines = [json.loads(line) for line in told.decode("utf-8", "replace").splitlines() if line.endswith("]")]
    reasons = [value for key, value in lines if key == "test"]
    end = next((value for key, value in lines if key == "end"), "it ended the process")
    missing = len(job["tests"]) - len(reasons)
    return {"walls": walls, "reasons": reasons + [end] * missing}


def read_until(reading: int, deadline: float) -> bytes:
    """Read a pipe to its end, or to the deadline."""
    told = b""
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([reading], [], [], left)
        piece = os.read(reading, 1 << 16) if ready else b""
        if not piece or len(told) > 1 << 20:
            break
        told += piece
    return told


def tell(writing: int, key: str, value: str) -> None:
    """Send one line to whoever counts."""
    os.write(writing, f"{json.dumps([key, value[:300]])}\n".encode())


def guard(job: dict[str, Any], folder: str, walls: str, writing: int) -> NoReturn:
    """Put up the walls, run the job inside them, and end it in time."""
    os.setsid()
    if walls == "namespaces":
        separate(folder)
    child = os.fork()
    if child == 0:
        try:
            confine(job, folder, walls)
            work(job, folder, writing)
        except BaseException as error:
            tell(writing, "end", f"could not be run: {error!r}")
        finally:
            os._exit(0)
    end = time.monotonic() + job["seconds"]
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > end:
            # The first process of the space takes all others with it.
            os.kill(child, signal.SIGKILL)
            tell(writing, "end", f"no result within {job['seconds']:g} s")
            break
        time.sleep(0.002)
    os._exit(0)


def separate(folder: str) -> bool:
    """Give this process and its children spaces of their own; say whether the system lets us."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(NEW_SPACES):
        return False
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    read_only = (ctypes.c_uint64 * 4)(READ_ONLY, 0, 0, 0)
    done = [
        libc.mount(b"none", b"/", None, PRIVATE, None),
        libc.syscall(MOUNT_SETATTR, ctypes.c_long(HERE), b"/", RECURSIVE, ctypes.byref(read_only), 32),
        libc.mount(b"tmpfs", folder.encode(), b"tmpfs", NOSUID | NODEV, f"size={DISK}".encode()),
    ]
    return not any(done)


def confine(job: dict[str, Any], folder: str, walls: str) -> None:
    """Limit what this process can use up, and make it deaf and dumb."""
    os.chdir(folder)
    for name, text in job["files"].items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
    seconds = int(job["seconds"]) + 1
    limits = {
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_FSIZE: (DISK, DISK),
        resource.RLIMIT_NOFILE: (128, 128),
        resource.RLIMIT_CORE: (0, 0),
    }
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGKILL)  # nobody outlives the guard
        limits[resource.RLIMIT_AS] = (job["memory"], job["memory"])
        if walls == "namespaces":  # elsewhere it would count the user's other processes
            limits[resource.RLIMIT_NPROC] = (64, 64)
    for limit, value in limits.items():
        resource.setrlimit(limit, value)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.environ.clear()
    os.environ.update(PATH="/usr/bin:/bin", HOME=folder, TMPDIR=folder, LANG="C.UTF-8")
    tempfile.tempdir = None
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True


def work(job: dict[str, Any], folder: str, writing: int) -> None:
    """Run the tests one after another, each in names of its own."""
    root = os.path.realpath(folder)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in REFUSED:
            raise PermissionError(f"{event} is not allowed here")
        if event in WRITES or (event == "open" and writes(arguments)):
            paths = [one for one in arguments[:2] if isinstance(one, str | bytes | os.PathLike)]
            if event == "open":
                paths = paths[:1]
            for path in paths:
                real = os.path.realpath(os.fsdecode(path))
                if real not in (os.devnull, root) and not real.startswith(root + os.sep):
                    raise PermissionError(f"{event} outside the folder is not allowed")

    sys.addaudithook(watch)
    for number, source in enumerate(job["tests"]):
        reason = ""
        try:
            exec(compile(source, f"<test {number + 1}>", "exec"), {"__name__": "hidden_test"})  # noqa: S102
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
        tell(writing, "test", reason)


def writes(arguments: tuple[Any, ...]) -> bool:
    """Say whether an `open` event is one that could change something."""
    mode, flags = arguments[1], arguments[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


if __name__ == "__main__":
    main()
