"""Finds the local model host that all of a user's programs share, starts it where there is none, and stops it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Settings
from ..errors import EndpointError, HostError, ModelFileError, ModelMissing
from ..platform import (
    FileLock,
    command_line,
    end_group,
    end_process,
    paths,
    private_folder,
    process_alive,
    spawn_detached,
    write_private,
)
from . import Endpoint, runtime
from .client import ChatClient

START_TIMEOUT = 180.0  # s, for a big model from a slow disk
HEALTH_TIMEOUT = 10.0  # s; a busy machine must not make a host look dead
STOP_TIMEOUT = 5.0  # s
ASK_TIMEOUT = 60.0  # s, for a command of the model half that only looks something up
STALL_TIMEOUT = 600.0  # s without a word from a download
POLL = 0.05  # s
BREAKER = (3, 60.0)  # so many starts within so many seconds are enough
BACKOFF = 1.0  # s before the second start; doubled for each further one

OnStatus = Callable[[str], None]

_starting: dict[str, asyncio.Task[Endpoint]] = {}
_started: dict[str, list[float]] = defaultdict(list)
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A model host on this machine."""

    record: runtime.Record
    answers: bool
    current: bool
    """Whether it is the one that the settings in force ask for."""
    log: Path


async def ensure_host(settings: Settings, *, on_status: OnStatus) -> Endpoint:
    """Return the endpoint in force; without a configured one, the local host's, started if need be."""
    if settings.endpoint:
        model = "" if settings.model == "auto" else settings.model
        return Endpoint(settings.endpoint, settings.api_key, model)
    key = _key(settings)
    if (record := runtime.read(key)) and await _answers(record):
        return _endpoint(record)
    task = _starting.get(key)
    if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
        task = asyncio.create_task(_start_locked(settings, key, record, on_status))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        _starting[key] = task
    else:
        on_status("waiting for the model host")
    # Whoever gives up waiting leaves the start to those who ask next.
    return await asyncio.shield(task)


async def running_host(settings: Settings) -> Endpoint | None:
    """Return the local host if one is needed and answers; starts none."""
    record = None if settings.endpoint else await asyncio.to_thread(runtime.read, _key(settings))
    return _endpoint(record) if record and await _answers(record) else None


async def host_status(settings: Settings) -> list[HostStatus]:
    """Return the model hosts that run on this machine, oldest first."""
    records = runtime.records()
    answers = await asyncio.gather(*(_answers(record) for record in records))
    return [
        HostStatus(record, answer, record.key == _key(settings), log_file(record.key))
        for record, answer in zip(records, answers, strict=True)
    ]


async def stop_host(record: runtime.Record) -> None:
    """End a host. A process that is not provably one is left alone and its record forgotten."""
    if _is_host(record.pid) or await _answers(record):
        end_process(record.pid)
        if not await _gone(record.pid, STOP_TIMEOUT):
            end_process(record.pid, force=True)
            if not await _gone(record.pid, STOP_TIMEOUT):
                raise HostError(f"The model host, process {record.pid}, does not end", "End it by hand")
    runtime.remove(record.key, record.pid)


async def require_model(settings: Settings) -> str:
    """Return where the model's file is; raise `ModelMissing` if it is not on this machine."""
    last_words, told = "", None
    async with _model_half(settings, "model", "path", settings.model, "--json") as child:
        while line := await _line(child, ASK_TIMEOUT):
            told, last_words = _object(line) or told, line
    if told is None:
        raise _explained(settings, f"The model {settings.model} cannot be found", last_words)
    if not told["present"]:
        size = int(told["bytes"])
        raise ModelMissing(
            f"The model {told['id']} is not on this machine yet ({size / 1e6:.0f} MB)",
            f"run: nl2code model pull {told['id']}",
            model=told["id"],
            size=size,
        )
    return str(told["path"])


async def pull_model(settings: Settings, model: str, *, on_progress: Callable[[int, int], None]) -> None:
    """Fetch a model's file; `on_progress` is told bytes done and in all. Cancelling ends the download."""
    last_words, done = "", False
    async with _model_half(settings, "model", "pull", model, "--json") as child:
        while line := await _line(child, STALL_TIMEOUT):
            event = _object(line) or {}
            match event.get("event"):
                case "progress":
                    on_progress(int(event["done"]), int(event["total"]))
                case "error":
                    raise ModelFileError(str(event["message"]), str(event.get("fix", "")))
                case "done":
                    done = True
                case _:
                    last_words = line
    if not done:
        raise _explained(settings, f"The download of {model} ended", last_words)


def log_file(key: str) -> Path:
    """Return where a host's log is."""
    return paths().logs / f"host-{key}.log"


def _key(settings: Settings) -> str:
    return runtime.key(settings.engine, settings.model, settings.device)


def _endpoint(record: runtime.Record) -> Endpoint:
    return Endpoint(record.url, record.token, local=True, adapter=record.adapter)


def adapter_in_force(settings: Settings) -> str:
    """Return the adapter that the local host serves now; what it answered under another one is out of date."""
    record = None if settings.endpoint else runtime.read(_key(settings))
    return record.adapter if record else ""


async def _answers(record: runtime.Record) -> bool:
    """Ask a host who it is: another program may have come by its port, or its process be stopped."""
    if record.protocol != runtime.PROTOCOL:
        return False
    client = ChatClient(_endpoint(record), request_timeout=HEALTH_TIMEOUT)
    try:
        return (await client.capabilities()).server == "nl2code"
    except EndpointError:
        return False
    finally:
        await client.close()


async def _start_locked(
    settings: Settings, key: str, failed: runtime.Record | None, on_status: OnStatus
) -> Endpoint:
    """Start a host unless another program has meanwhile; `failed` is one that does not answer."""
    try:
        return await _start(settings, key, failed, on_status)
    except OSError as error:
        raise _unusable(settings, error) from error


async def _start(
    settings: Settings, key: str, failed: runtime.Record | None, on_status: OnStatus
) -> Endpoint:
    folder = private_folder(paths().runtime)
    deadline = time.monotonic() + START_TIMEOUT
    async with _locked(FileLock(folder / f"host-{key}.lock"), deadline, on_status):
        if record := runtime.read(key):
            if record != failed and await _answers(record):
                return _endpoint(record)
            await stop_host(record)
        pid = _coming_up(key)
        if not pid:
            await require_model(settings)
            await _back_off(key)
            on_status("starting the model host")
            pid = _spawn(settings, key)
        on_status("loading the model")
        return _endpoint(await _ready(settings, key, pid, deadline))


@asynccontextmanager
async def _locked(lock: FileLock, deadline: float, on_status: OnStatus) -> AsyncIterator[None]:
    told = False
    while not lock.acquire():
        if not told:
            told = True
            on_status("waiting for the model host, which another program starts")
        if time.monotonic() > deadline:
            raise HostError(
                "Another program has been starting the model host for too long", f"See {paths().logs}"
            )
        await asyncio.sleep(POLL)
    try:
        yield
    finally:
        lock.release()


def _coming_up(key: str) -> int:
    """Return the process that a program started and did not live to see ready; 0 if there is none."""
    try:
        pid, started = json.loads((paths().runtime / f"host-{key}.pid").read_text())
    except (OSError, ValueError, TypeError):
        return 0
    fresh = 0 <= time.time() - started < START_TIMEOUT
    return int(pid) if fresh and _alive(pid) and _is_host(pid) and not runtime.read(key) else 0


async def _back_off(key: str) -> None:
    """Wait before starting again what has ended too soon; after a few times, refuse for a while."""
    most, period = BREAKER
    now = time.monotonic()
    recent = _started[key] = [start for start in _started[key] if now - start < period]
    if len(recent) >= most:
        wait = round(recent[0] + period - now)
        raise HostError(
            f"The model host ended {len(recent)} times within {period:g} s: {_reason(key)}",
            f"Try again in {wait} s; its log is {log_file(key)}",
        )
    if recent:
        await asyncio.sleep(recent[-1] + BACKOFF * 2 ** (len(recent) - 1) - now)


def _spawn(settings: Settings, key: str) -> int:
    log = log_file(key)
    if log.exists():
        log.replace(log.with_suffix(".old.log"))
    asked = {
        "--engine": settings.engine,
        "--model": settings.model,
        "--device": settings.device,
        "--threads": str(settings.threads),
        "--idle-exit": str(settings.idle_exit),
    }
    arguments = [part for option in asked.items() for part in option]
    child = spawn_detached(_command(settings, "serve", *arguments), log, _environment())
    _started[key].append(time.monotonic())
    _children[child.pid] = child
    write_private(paths().runtime / f"host-{key}.pid", json.dumps([child.pid, time.time()]))
    return child.pid


async def _ready(settings: Settings, key: str, pid: int, deadline: float) -> runtime.Record:
    """Wait until a host that was started answers."""
    while time.monotonic() < deadline:
        alive = _alive(pid)
        if (record := runtime.read(key)) and await _answers(record):
            return record
        if not alive:
            raise _explained(
                settings, "The model host ended before it was ready", _killed(pid) or _reason(key)
            )
        await asyncio.sleep(POLL)
    end_process(pid, force=True)
    raise HostError(
        f"The model host was not ready within {START_TIMEOUT:g} s: {_reason(key)}",
        f"Choose a smaller model; its log is {log_file(key)}",
    )


def _alive(pid: int) -> bool:
    child = _children.get(pid)
    return process_alive(pid) if child is None else child.poll() is None


def _is_host(pid: int) -> bool:
    """Say whether a process is a host for certain: a number in a file may be another program's by now."""
    return bool(re.search(r"nl2code(_server\.cli)? serve\b", command_line(pid)))


async def _gone(pid: int, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while _alive(pid):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL)
    return True


def _killed(pid: int) -> str:
    """Name the signal that ended a process of ours, if one did: the system's, for want of memory, say."""
    status = _children[pid].returncode if pid in _children else None
    return f"killed by {signal.Signals(-status).name}" if status is not None and status < 0 else ""


def _reason(key: str) -> str:
    """Return the last line of a host's log."""
    try:
        with log_file(key).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return "no reason given"
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last[:300] or "no reason given"


def _explained(settings: Settings, what: str, last_words: str) -> HostError:
    """Say why the model half failed, judging by the last thing it said."""
    if re.search(r"No such command|No module named", last_words):
        python = f"{settings.python} -m " if settings.python else ""
        return HostError(f"{what}: {last_words}", f"run: {python}pip install 'nl2code[local]'")
    return HostError(f"{what}: {last_words or 'no reason given'}", f"Logs are in {paths().logs}")


def _unusable(settings: Settings, error: OSError) -> HostError:
    """Say which file stands in the way: the interpreter, or one of those that are written."""
    reason = error.strerror or str(error)
    if error.filename == (settings.python or sys.executable):
        return HostError(f"{error.filename} cannot be run: {reason}", "Check python in the settings")
    where = f"{error.filename}: " if error.filename else ""
    return HostError(
        f"The model host cannot be started: {where}{reason}",
        "Set NL2CODE_HOME to a folder of yours, with room",
    )


def _command(settings: Settings, *arguments: str) -> list[str]:
    # -P: a folder of the user's project must not offer modules to import.
    return [settings.python or sys.executable, "-P", "-m", "nl2code_server.cli", *arguments]


def _environment() -> dict[str, str]:
    """The host has no use for the key of another endpoint."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in ("NL2CODE_API_KEY", "NL2CODE_ENDPOINT")
    }


@asynccontextmanager
async def _model_half(settings: Settings, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command of the model half; it ends with the block, and so does all that it started."""
    options: dict[str, Any] = {} if sys.platform == "win32" else {"start_new_session": True}
    try:
        child = await asyncio.create_subprocess_exec(
            *_command(settings, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=private_folder(paths().runtime),
            env=_environment(),
            limit=1 << 20,
            **options,
        )
    except OSError as error:
        raise _unusable(settings, error) from error
    try:
        yield child
    finally:
        await _end(child)


async def _end(child: asyncio.subprocess.Process) -> None:
    assert child.stdout is not None
    if child.stdout.at_eof():
        with suppress(TimeoutError):
            await asyncio.wait_for(child.wait(), 3)
    for force in (False, True):
        if child.returncode is None or not child.stdout.at_eof():
            end_group(child.pid, force=force)
            with suppress(TimeoutError):
                await asyncio.wait_for(child.communicate(), 3)


async def _line(child: asyncio.subprocess.Process, timeout: float) -> str:
    """Read a line that is not blank; nothing at the end."""
    assert child.stdout is not None
    while True:
        try:
            raw = await asyncio.wait_for(child.stdout.readline(), timeout)
        except TimeoutError:
            raise HostError(
                f"The model half said nothing for {timeout:g} s", "Check the network, try again"
            ) from None
        except ValueError:
            continue  # a line longer than any of ours
        if not raw or raw.strip():
            return raw.decode(errors="replace").strip()


def _object(line: str) -> dict[str, Any] | None:
    """Read a line of JSON; other lines are what libraries print."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
