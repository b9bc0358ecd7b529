"""Nothing that runs in the sandbox reaches the machine, blocks the server or takes it down."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nl2code_server.suggest.sandbox import Limits, Result, Sandbox

QUICK = Limits(seconds=0.3, memory=32 << 20, output=10_000, deadline=4)


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    await sandbox.close()


async def one(sandbox: Sandbox, code: str, expression: str = "1", limits: Limits = QUICK) -> Result:
    (result,) = await sandbox.run(code, [expression], limits=limits)
    return result


def workers() -> list[int]:
    """Return the ids of the sandbox's processes that this process started."""
    listed = subprocess.run(
        ["pgrep", "-P", str(os.getpid()), "monty"], check=False, capture_output=True, text=True
    )
    return [int(line) for line in listed.stdout.split()]


async def test_expressions_see_the_code_and_each_other(sandbox: Sandbox) -> None:
    code = "def double(x):\n    return 2 * x\n"
    results = await sandbox.run(
        code, ["double(4)", "(got := double('a'))", "got == 'aa'", "double(a)", "double(1)"]
    )
    assert [result.outcome for result in results] == ["value", "value", "value", "raised", "value"]
    assert [result.text for result in results] == [
        "8",
        "'aa'",
        "True",
        "NameError: name 'a' is not defined",
        "2",
    ]
    assert results[3].exception == "NameError"


async def test_every_run_is_a_fresh_world(sandbox: Sandbox) -> None:
    await one(sandbox, "leaked = 1")
    assert (await one(sandbox, "", "leaked")).exception == "NameError"


async def test_code_cannot_shadow_what_the_sandbox_uses(sandbox: Sandbox) -> None:
    assert (await one(sandbox, "def repr(x):\n    return 'lie'", "[1]")).text == "[1]"


@pytest.mark.parametrize(
    ("code", "expression", "text"),
    [
        ("def f(x):\n    raise ValueError('no ' + x)", "f('way')", "ValueError: no way"),
        ("def f():\n    raise NotImplementedError", "f()", "NotImplementedError"),
        ("def f():\n    raise TimeoutError('limit exceeded')", "f()", "TimeoutError: limit exceeded"),
        (
            "def f():\n    raise PermissionError('Permission denied: x')",
            "f()",
            "PermissionError: Permission denied: x",
        ),
        ("class A:\n    pass", "A().b", "AttributeError: 'A' object has no attribute 'b'"),
        ("", "'a'.nothing", "AttributeError: 'str' object has no attribute 'nothing'"),
        ("", "None.nothing", "AttributeError: 'NoneType' object has no attribute 'nothing'"),
        ("", "1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(n):\n    return f(n + 1)", "f(0)", "RecursionError: maximum recursion depth exceeded"),
    ],
)
async def test_mistakes_of_the_code(sandbox: Sandbox, code: str, expression: str, text: str) -> None:
    result = await one(sandbox, code, expression)
    assert (result.outcome, result.text) == ("raised", text)


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n    yield 1\nlist(f())",
        "class A(list):\n    pass",
        "class A:\n    @property\n    def x(self):\n        return 1",
        "import heapq",
        "import numpy as np",
        "from collections import nothing_like_it",
        "import sys\nsys.getsizeof(1)",
        "input()",
        "[1].__contains__(1)",
        "next(x for x in [1])",
        "a = [1]\na += (2,)",
        "def f(:",
        "(" * 3000 + ")" * 3000,
        "x = '\ud800'",
    ],
)
async def test_what_the_sandbox_lacks_is_no_mistake_of_the_code(sandbox: Sandbox, code: str) -> None:
    result = await one(sandbox, code)
    assert result.outcome == "unrunnable"
    assert result.text


async def test_no_files_network_processes_or_environment(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NL2CODE_SECRET", "hunter2")
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    target = tmp_path / "written"
    attempts = [
        f"open({str(secret)!r}).read()",
        f"open({str(target)!r}, 'w').write('x')",
        f"import pathlib\npathlib.Path({str(secret)!r}).read_text()",
        f"import pathlib\npathlib.Path({str(target)!r}).write_text('x')",
        f"import os\nos.listdir({str(tmp_path)!r})",
        f"import os\nos.remove({str(secret)!r})",
        "import os\nos.environ['NL2CODE_SECRET']",
        "import os\nos.getenv('NL2CODE_SECRET')",
        "import os\nos.system('true')",
        "import os\nos.fork()",
        "import os\nos.kill(1, 0)",
        "import subprocess",
        "import socket",
        "import urllib.request",
        "import http.client",
        "import ctypes",
        "import importlib",
        "__import__('os').system('true')",
        "eval('__import__')",
        "exec('import socket')",
        "().__class__.__base__.__subclasses__()",
        "(lambda: 0).__globals__",
        "(lambda: 0).__code__",
        "breakpoint()",
    ]
    for attempt in attempts:
        result = await one(sandbox, attempt)
        assert result.outcome in ("unrunnable", "raised"), attempt
        assert "hunter2" not in result.text
    assert secret.read_text() == "hunter2"
    assert not target.exists()


@pytest.mark.parametrize(
    "code",
    [
        "while True:\n    pass",
        "sum(range(10 ** 12))",
        "x = [0] * 10 ** 9",
        "x = 'a'\nwhile True:\n    x += x",
        "x = []\nwhile True:\n    x.append(x)",
        "x = 9 ** 9 ** 9",
        "while True:\n    print('x' * 1000)",
        "import time\ntime.sleep(60)",
        "try:\n    while True:\n        pass\nexcept BaseException:\n    pass\nwhile True:\n    pass",
    ],
)
async def test_limits_stop_code_and_the_loop_stays_free(sandbox: Sandbox, code: str) -> None:
    await one(sandbox, "")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    start = time.perf_counter()
    result = await one(sandbox, code)
    took = time.perf_counter() - start
    ticking.cancel()
    assert result.outcome == "stopped", result
    assert took < 3
    assert ticks > took / 0.01 / 4 - 2
    assert (await one(sandbox, "", "1 + 1")).text == "2"


async def test_output_goes_nowhere(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert (await one(sandbox, "print('to the wire')\nimport sys\nprint('x', file=sys.stderr)")).text == "1"
    assert capfd.readouterr() == ("", "")


async def test_a_long_value_is_cut(sandbox: Sandbox) -> None:
    text = (await one(sandbox, "", "'x' * 100_000")).text
    assert text == "'" + "x" * 399 + "…"


async def test_a_stopped_expression_ends_the_run(sandbox: Sandbox) -> None:
    code = "def f():\n    while True:\n        pass\n"
    results = await sandbox.run(code, ["1", "f()", "2"], limits=QUICK)
    assert [result.outcome for result in results] == ["value", "stopped", "unrunnable"]


async def test_a_killed_worker_is_replaced(sandbox: Sandbox) -> None:
    await one(sandbox, "")
    for worker in workers():
        os.kill(worker, signal.SIGKILL)
    assert (await one(sandbox, "", "1 + 1")).outcome in ("value", "unrunnable")
    assert (await one(sandbox, "", "1 + 1")).text == "2"


async def test_a_worker_killed_while_it_runs(sandbox: Sandbox) -> None:
    await one(sandbox, "")
    running = asyncio.create_task(one(sandbox, "while True:\n    pass", limits=Limits(seconds=3)))
    await asyncio.sleep(0.1)
    for worker in workers():
        os.kill(worker, signal.SIGKILL)
    assert await running == Result("unrunnable", "the sandbox's process died")
    assert (await one(sandbox, "", "1 + 1")).text == "2"


async def test_a_worker_that_hangs_is_given_up_at_the_deadline(sandbox: Sandbox) -> None:
    await one(sandbox, "")
    for worker in workers():
        os.kill(worker, signal.SIGSTOP)
    start = time.perf_counter()
    result = await one(sandbox, "", limits=Limits(seconds=5, deadline=0.5))
    assert result == Result("unrunnable", "the sandbox did not answer within 0.5 s")
    assert time.perf_counter() - start < 2
    assert (await one(sandbox, "", "1 + 1")).text == "2"


async def test_cancelling_stops_the_work(sandbox: Sandbox) -> None:
    await one(sandbox, "")
    before = workers()
    running = asyncio.create_task(
        one(sandbox, "while True:\n    pass", limits=Limits(seconds=30, deadline=30))
    )
    await asyncio.sleep(0.1)
    running.cancel()
    start = time.perf_counter()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert time.perf_counter() - start < 1
    assert (await one(sandbox, "", "1 + 1")).text == "2"
    assert workers() != before


async def test_many_runs_at_once(sandbox: Sandbox) -> None:
    runs = [one(sandbox, f"x = {number}", "x * sum(range(1000))") for number in range(20)]
    assert [result.text for result in await asyncio.gather(*runs)] == [str(n * 499_500) for n in range(20)]
    assert len(workers()) <= 2


@pytest.mark.parametrize("binary", ["/nonexistent/monty", "/bin/true", "/bin/cat", "/etc/passwd"])
async def test_a_worker_program_that_is_none(binary: str) -> None:
    sandbox = Sandbox(binary=Path(binary))
    results = await sandbox.run("x = 1", ["x", "x"], limits=QUICK)
    assert [result.outcome for result in results] == ["unrunnable", "unrunnable"]
    await sandbox.close()


async def test_without_the_package_code_does_not_run(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydantic_monty", None)
    assert await one(sandbox, "x = 1", "x") == Result(
        "unrunnable", "the sandbox (pydantic-monty) is not installed"
    )


async def test_without_the_worker_program_code_does_not_run(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    decoy = tmp_path / "monty"
    decoy.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    decoy.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda *_: str(tmp_path / "elsewhere"))
    result = await one(sandbox, "x = 1", "x")
    assert (result.outcome, "not installed" in result.text) == ("unrunnable", True)
    assert not (tmp_path / "ran").exists()


async def test_close_ends_the_workers_and_a_later_run_starts_them_again(sandbox: Sandbox) -> None:
    await one(sandbox, "")
    assert workers()
    await sandbox.close()
    assert not workers()
    assert (await one(sandbox, "", "3")).text == "3"


def test_the_package_is_imported_at_the_first_run() -> None:
    code = "import sys, nl2code_server.suggest.verify; assert 'pydantic_monty' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
