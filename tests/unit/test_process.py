"""Finding, starting, sharing and stopping the local model host, with real processes in the host's place."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from fakes.endpoint import FakeEndpoint
from fakes.host import CODE, calls, fake_interpreter
from nl2code_server.config import Settings
from nl2code_server.endpoint import ChatRequest, Delta, Endpoint, Message, process, runtime
from nl2code_server.endpoint.client import ChatClient
from nl2code_server.endpoint.process import (
    ensure_host,
    host_status,
    log_file,
    pull_model,
    stop_host,
)
from nl2code_server.errors import EndpointUnavailable, HostError, ModelFileError, ModelMissing
from nl2code_server.platform import FileLock, paths, private_folder, process_alive, write_private

KEY = runtime.key("auto", "auto", "auto")


@pytest_asyncio.fixture(autouse=True)
async def _no_host_is_left(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(process, "BACKOFF", 0.05)
    process._started.clear()
    yield
    for record in runtime.records():
        if process._is_host(record.pid):
            os.kill(record.pid, signal.SIGKILL)
    for child in list(process._children.values()):
        child.kill()
        child.wait()
    process._children.clear()


def settings_of(tmp_path: Path, **script: object) -> Settings:
    return Settings(python=fake_interpreter(tmp_path / "fake", **script))  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it waits for other processes
            await asyncio.sleep(0.01)


async def start(settings: Settings) -> Endpoint:
    return await ensure_host(settings, on_status=lambda _: None)


def served(tmp_path: Path) -> int:
    return sum(call.startswith("serve") for call in calls(tmp_path / "fake"))


async def answer(endpoint: Endpoint) -> str:
    client = ChatClient(endpoint, request_timeout=5)
    request = ChatRequest((Message(role="user", content="gcd"),))
    return "".join([piece.text async for piece in client.stream(request) if isinstance(piece, Delta)])


async def test_a_configured_endpoint_is_taken_and_nothing_is_started(tmp_path: Path) -> None:
    settings = Settings(
        endpoint="http://gpu:1/v1", api_key="k", python=fake_interpreter(tmp_path / "fake"), model="big"
    )
    assert await start(settings) == Endpoint("http://gpu:1/v1", "k", "big")
    assert (await start(Settings(endpoint="http://gpu:1/v1"))).model == ""
    assert calls(tmp_path / "fake") == []


async def test_a_host_is_started_and_then_shared(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    told: list[str] = []
    endpoint = await ensure_host(settings, on_status=told.append)
    assert told == ["starting the model host", "loading the model"]
    assert endpoint.local and endpoint.api_key
    assert await answer(endpoint) == CODE
    assert await ensure_host(settings, on_status=told.append) == endpoint
    assert len(told) == 2
    assert calls(tmp_path / "fake") == [
        "model path auto --json",
        "serve --engine auto --model auto --device auto --threads 0 --idle-exit 1800",
    ]


async def test_many_who_ask_at_once_make_one_host(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, serve="slow: 0.3")
    endpoints = await asyncio.gather(*(start(settings) for _ in range(8)))
    assert len(set(endpoints)) == 1
    assert served(tmp_path) == 1


async def test_two_programs_that_start_at_once_make_one_host(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, serve="slow: 0.3")
    program = (
        "import asyncio, sys\n"
        "from nl2code_server.config import Settings\n"
        "from nl2code_server.endpoint.process import ensure_host\n"
        "settings = Settings(python=sys.argv[1])\n"
        "print(asyncio.run(ensure_host(settings, on_status=lambda _: None)).url)\n"
    )
    programs = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, settings.python, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(3)
    ]
    urls = {(await running.communicate())[0] for running in programs}
    assert len(urls) == 1 and all(urls)
    assert served(tmp_path) == 1
    assert (await start(settings)).url.encode() in urls.pop()  # it outlives those who started it


async def test_a_start_goes_on_when_the_one_who_asked_gives_up(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, serve="slow: 0.5")
    first = asyncio.create_task(start(settings))
    await until(lambda: served(tmp_path) > 0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await start(settings)).local
    assert served(tmp_path) == 1


async def test_a_host_whose_starter_died_is_waited_for(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, serve="slow: 0.5")
    pid = process._spawn(settings, KEY)
    told: list[str] = []
    await ensure_host(settings, on_status=told.append)
    assert told == ["loading the model"]
    record = runtime.read(KEY)
    assert record is not None and record.pid == pid
    assert served(tmp_path) == 1


async def test_a_missing_model_is_named_with_its_size_and_nothing_is_started(tmp_path: Path) -> None:
    settings = Settings(python=fake_interpreter(tmp_path / "fake", present=False), model="smollm2-135m")
    with pytest.raises(ModelMissing) as caught:
        await start(settings)
    assert (caught.value.model, caught.value.size) == ("smollm2-135m", 98362432)
    assert caught.value.fix == "run: nl2code model pull smollm2-135m"
    assert served(tmp_path) == 0


async def test_a_host_that_dies_at_once_is_told_with_its_reason_and_not_started_in_a_loop(
    tmp_path: Path,
) -> None:
    settings = settings_of(tmp_path, serve="die: out of memory")
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(HostError, match="ended before it was ready: out of memory"):
            await start(settings)
    assert time.monotonic() - started > 0.15  # 0.05 s and 0.1 s between them
    for _ in range(5):
        with pytest.raises(HostError, match=r"ended 3 times within 60 s: out of memory \(Try again in \d+ s"):
            await start(settings)
    assert served(tmp_path) == 3


async def test_the_breaker_closes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BREAKER", (1, 60.0))
    settings = settings_of(tmp_path, serve="die: x")
    for reason in ("before it was ready", "1 times within"):
        with pytest.raises(HostError, match=reason):
            await start(settings)
    process._started[KEY] = [process._started[KEY][0] - 60]
    settings = settings_of(tmp_path)
    assert (await start(settings)).local


async def test_the_next_request_after_a_kill_gets_a_new_host(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    first = await start(settings)
    record = runtime.read(KEY)
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    second = await start(settings)
    assert second.url != first.url
    assert await answer(second) == CODE


async def test_a_kill_in_mid_answer_is_told_and_the_next_request_gets_a_new_host(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, replies=("x y z " * 100_000,))  # more than any buffer holds
    first = await start(settings)
    record = runtime.read(KEY)
    assert record is not None
    client = ChatClient(first, request_timeout=20)
    pieces = 0
    with pytest.raises(EndpointUnavailable, match="broke"):
        async for _ in client.stream(ChatRequest((Message(role="user", content="gcd"),))):
            pieces += 1
            if pieces == 2:
                os.kill(record.pid, signal.SIGKILL)
    assert pieces >= 2
    await client.close()
    second = await start(settings)
    assert second.url != first.url
    assert process_alive(record.pid) is False


async def test_a_stopped_process_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "HEALTH_TIMEOUT", 0.3)
    monkeypatch.setattr(process, "STOP_TIMEOUT", 0.2)
    settings = settings_of(tmp_path)
    await start(settings)
    record = runtime.read(KEY)
    assert record is not None
    os.kill(record.pid, signal.SIGSTOP)
    endpoint = await start(settings)
    assert await answer(endpoint) == CODE
    assert not process._alive(record.pid)


async def test_a_record_whose_number_belongs_to_another_program_harms_nobody(tmp_path: Path) -> None:
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    runtime.write(
        runtime.Record("http://127.0.0.1:9/v1", "t", bystander.pid, "e", "m", runtime.PROTOCOL, KEY, 1.0)
    )
    try:
        endpoint = await start(settings_of(tmp_path))
        assert await answer(endpoint) == CODE
        assert bystander.returncode is None and process_alive(bystander.pid)
    finally:
        bystander.kill()
        await bystander.wait()


async def test_a_program_at_a_host_s_old_port_is_not_taken_for_it(tmp_path: Path) -> None:
    with FakeEndpoint(owned_by="somebody") as other:
        runtime.write(runtime.Record(other.url, "t", os.getpid(), "e", "m", runtime.PROTOCOL, KEY, 1.0))
        endpoint = await start(settings_of(tmp_path))
        assert endpoint.url != other.url


async def test_a_host_of_another_protocol_is_not_used(tmp_path: Path) -> None:
    with FakeEndpoint(owned_by="nl2code") as other:
        runtime.write(runtime.Record(other.url, "", os.getpid(), "e", "m", runtime.PROTOCOL + 1, KEY, 1.0))
        assert (await start(settings_of(tmp_path))).url != other.url


async def test_a_host_that_is_never_ready_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "START_TIMEOUT", 0.5)
    settings = settings_of(tmp_path, serve="slow: 60")
    with pytest.raises(HostError, match=r"not ready within 0.5 s: no reason given \(Choose a smaller model"):
        await start(settings)
    (child,) = process._children.values()
    assert child.wait(2) == -signal.SIGKILL


async def test_a_start_that_another_program_never_finishes_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "START_TIMEOUT", 0.2)
    lock = FileLock(private_folder(paths().runtime) / f"host-{KEY}.lock")
    assert lock.acquire()
    told: list[str] = []
    try:
        with pytest.raises(HostError, match="Another program has been starting the model host for too long"):
            await ensure_host(settings_of(tmp_path), on_status=told.append)
    finally:
        lock.release()
    assert told == ["waiting for the model host, which another program starts"]


async def test_without_the_model_half_the_fix_is_named(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text('#!/bin/sh\necho "/usr/bin/python: No module named nl2code_server" >&2\nexit 1\n')
    bare.chmod(0o755)
    with pytest.raises(HostError) as caught:
        await start(Settings(python=str(bare)))
    assert caught.value.fix == f"run: {bare} -m pip install 'nl2code[local]'"
    settings = settings_of(tmp_path, serve="die: ModuleNotFoundError: No module named 'xllamacpp'")
    with pytest.raises(HostError, match=r"No module named 'xllamacpp' .*pip install 'nl2code\[local\]'"):
        await start(settings)


async def test_an_interpreter_that_does_not_exist_is_named() -> None:
    with pytest.raises(
        HostError,
        match=r"/no/python cannot be run: No such file or directory \(Check python in the settings\)",
    ):
        await start(Settings(python="/no/python"))


async def test_a_project_folder_offers_no_modules_and_the_host_gets_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (tmp_path, paths().runtime, paths().logs):
        (folder / "nl2code_server").mkdir(parents=True)
        (folder / "nl2code_server/__init__.py").write_text("raise SystemExit('imported from the project')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NL2CODE_API_KEY", "secret")
    script = tmp_path / "python"
    told = "import os, nl2code_server as n; print('key', 'NL2CODE_API_KEY' in os.environ, n.__version__)"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$1" -c "{told}"\n')
    script.chmod(0o755)
    with pytest.raises(HostError, match=r"key False \d"):
        await start(Settings(python=str(script)))


async def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    paths().runtime.write_text("a file in the folder's place")
    with pytest.raises(
        HostError, match=rf"cannot be started: {paths().runtime}: File exists \(Set NL2CODE_HOME"
    ):
        await start(settings_of(tmp_path))


async def test_a_host_that_the_system_kills_while_it_loads_is_told_so(tmp_path: Path) -> None:
    task = asyncio.create_task(start(settings_of(tmp_path, serve="slow: 60")))
    await until(lambda: served(tmp_path) > 0)
    (child,) = process._children.values()
    child.kill()
    with pytest.raises(HostError, match="ended before it was ready: killed by SIGKILL"):
        await task


async def test_hosts_are_listed_and_stopped(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert await host_status(settings) == []
    await start(settings)
    other = Settings(python=settings.python, model="smollm2-135m")
    await start(other)
    first, second = await host_status(other)
    assert (first.answers, first.current, second.answers, second.current) == (True, False, True, True)
    assert second.record.model == "smollm2-135m" and second.log == log_file(second.record.key)
    await stop_host(first.record)
    assert [status.record for status in await host_status(other)] == [second.record]
    assert not process._alive(first.record.pid)


async def test_a_host_that_will_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STOP_TIMEOUT", 0.3)
    settings = settings_of(tmp_path, serve="stubborn")
    await start(settings)
    (status,) = await host_status(settings)
    await stop_host(status.record)
    assert not process._alive(status.record.pid)
    assert await host_status(settings) == []


async def test_a_pull_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    await pull_model(settings_of(tmp_path), "m", on_progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 100), (50, 100), (100, 100)]
    assert calls(tmp_path / "fake") == ["model pull m --json"]


async def test_a_pull_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        await pull_model(settings_of(tmp_path, pull="fail: no space"), "m", on_progress=lambda *_: None)
    assert (caught.value.message, caught.value.fix) == ("no space", "make room")
    with pytest.raises(HostError, match="The download of m ended: Killed"):
        await pull_model(settings_of(tmp_path, pull="Killed"), "m", on_progress=lambda *_: None)


async def test_a_pull_that_is_cancelled_ends_with_all_that_it_started(tmp_path: Path) -> None:
    task = asyncio.create_task(
        pull_model(settings_of(tmp_path, pull="hang"), "m", on_progress=lambda *_: None)
    )
    files = [tmp_path / "fake/pull.pid", tmp_path / "fake/child.pid"]
    await until(lambda: all(file.exists() and file.read_text() for file in files))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not any(process_alive(int(file.read_text())) for file in files))


async def test_a_pull_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "STALL_TIMEOUT", 0.5)
    with pytest.raises(HostError, match=r"said nothing for 0\.5 s"):
        await pull_model(settings_of(tmp_path, pull="hang"), "m", on_progress=lambda *_: None)


async def test_a_stale_note_of_a_start_is_ignored(tmp_path: Path) -> None:
    for note in ("", "[]", "{}", f"[{os.getpid()}, {time.time()}]", "[1, 5]"):
        write_private(paths().runtime / f"host-{KEY}.pid", note)
        assert process._coming_up(KEY) == 0
