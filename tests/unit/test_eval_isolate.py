"""Code that nobody has read does no harm: to the network, the files, the machine or the count of passes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nl2code_model.evaluate import isolate
from nl2code_model.evaluate.isolate import Isolation, Verdict


@pytest.fixture(scope="module")
def isolation() -> Iterator[Isolation]:
    with Isolation() as opened:
        yield opened


def tried(isolation: Isolation, solution: str, test: str = "import task", **limits: float) -> Verdict:
    return isolation.run({"task.py": solution}, [test], **{"seconds": 5, **limits})  # type: ignore[arg-type]


def test_tests_are_told_apart(isolation: Isolation) -> None:
    tests = ["from task import f\nassert f(2) == 4", "from task import f\nassert f(2) == 5", "import nothing"]
    verdict = isolation.run({"task.py": "def f(x):\n    return 2 * x\n"}, tests)
    assert verdict.reasons[0] == ""
    assert verdict.reasons[1].startswith("AssertionError")
    assert verdict.reasons[2].startswith("ModuleNotFoundError")
    assert not verdict.passed


def test_each_run_has_a_folder_of_its_own(isolation: Isolation) -> None:
    files = {"pkg/__init__.py": "", "pkg/a.py": "X = 'ä'\n"}
    tests = ["from pkg.a import X\nassert X == 'ä'\nopen('left', 'w').write('x')", "open('left').read()"]
    assert isolation.run(files, tests).passed
    assert not isolation.run(files, ["open('left').read()"]).passed


def test_no_tests_are_no_pass(isolation: Isolation) -> None:
    assert not isolation.run({}, []).passed


def test_a_socket_reaches_nobody(isolation: Isolation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        port = listening.getsockname()[1]
        verdict = tried(isolation, f"import socket\nsocket.create_connection(('127.0.0.1', {port}))\n")
        assert not verdict.passed
        with pytest.raises(TimeoutError):
            listening.accept()


@pytest.mark.parametrize("way", ["os.fork()", "subprocess.run(['true'])", "os.system('true')"])
def test_no_other_process_is_started(isolation: Isolation, way: str) -> None:
    assert "PermissionError" in tried(isolation, f"import os, subprocess\n{way}\n").reasons[0]


def test_what_gets_past_the_hook_ends_with_the_test(isolation: Isolation) -> None:
    # `_posixsubprocess` is what `subprocess` stands on; it tells no hook.
    solution = (
        "import _posixsubprocess, os\n"
        "r, w = os.pipe()\n"
        "_posixsubprocess.fork_exec([b'sleep', b'77.125'], [b'/usr/bin/sleep', b'/bin/sleep'], True, (w,), None,"
        " None, -1, -1, -1, -1, -1, -1, r, w, False, True, -1, None, None, None, -1, None, True)\n"
    )
    verdict = tried(isolation, solution)
    if verdict.walls != "namespaces":
        pytest.skip("this system gives no namespaces")
    time.sleep(0.1)
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(b"77.125" in line for line in lines)


def test_memory_is_limited(isolation: Isolation) -> None:
    started = time.monotonic()
    verdict = tried(isolation, "x = []\nwhile True:\n    x.append(bytearray(1 << 24))\n", memory=1 << 28)
    assert not verdict.passed
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("loop", ["while True:\n    pass\n", "import time\ntime.sleep(60)\n"])
def test_time_is_limited(isolation: Isolation, loop: str) -> None:
    started = time.monotonic()
    verdict = tried(isolation, loop, seconds=0.5)
    assert verdict.reasons == ("no result within 0.5 s",)
    assert time.monotonic() - started < 4


def test_files_outside_stay_as_they_are(isolation: Isolation, tmp_path: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    for way in (
        f"os.remove({str(precious)!r})",
        f"open({str(precious)!r}, 'w')",
        f"open('../../../../../..{precious}', 'a')",
        f"shutil.rmtree({str(tmp_path)!r})",
        f"os.rename({str(precious)!r}, 'taken')",
        f"os.truncate({str(precious)!r}, 0)",
        f"pathlib.Path({str(tmp_path / 'new')!r}).mkdir()",
        f"os.symlink({str(tmp_path)!r}, 'link') or open('link/precious.txt', 'w')",
    ):
        assert not tried(isolation, f"import os, pathlib, shutil\n{way}\n").passed, way
    assert precious.read_text() == "mine"
    assert os.listdir(tmp_path) == ["precious.txt"]  # noqa: PTH208


@pytest.mark.parametrize(
    "solution", ["import os\nos._exit(0)\n", "raise SystemExit(0)\n", "import sys\nsys.exit()\n", "def f(:\n"]
)
def test_leaving_early_is_no_pass(isolation: Isolation, solution: str) -> None:
    assert not tried(isolation, solution, "import task\nassert True").passed


def test_output_and_input_go_nowhere(isolation: Isolation) -> None:
    assert tried(isolation, "print('x' * 1000000)\nimport sys\nassert sys.stdin.read() == ''\n").passed


def test_nothing_of_the_environment_is_seen(isolation: Isolation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NL2CODE_API_KEY", "secret")
    with Isolation() as fresh:
        assert tried(fresh, "import os\nassert 'secret' not in str(os.environ)\n").passed


def test_it_goes_on_after_its_process_died(isolation: Isolation) -> None:
    with Isolation() as mine:
        assert tried(mine, "X = 1\n").passed
        assert mine._process is not None
        mine._process.kill()
        mine._process.wait()
        assert tried(mine, "X = 1\n").passed


def test_without_namespaces_the_hook_and_the_limits_are_left(
    isolation: Isolation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = Path(isolate.__file__).with_name("inside.py").read_text()
    assert "if libc.unshare(NEW_SPACES):" in source
    refused = source.replace("if libc.unshare(NEW_SPACES):", "if True:")
    (tmp_path / "inside.py").write_text(refused)
    monkeypatch.setattr(isolate, "__file__", str(tmp_path / "isolate.py"))
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with Isolation() as poor:
        assert tried(poor, "X = 1\nopen('own', 'w').write('x')\n").walls == "limits"
        assert tried(poor, "X = 1\nopen('own', 'w').write('x')\n").passed
        for way in (
            f"os.remove({str(precious)!r})",
            "os.fork()",
            "socket.socket().connect(('127.0.0.1', 9))",
        ):
            assert "PermissionError" in tried(poor, f"import os, socket\n{way}\n").reasons[0]
        assert tried(poor, "while True: pass\n", seconds=0.3).reasons == ("no result within 0.3 s",)
        assert not tried(poor, "x = bytearray(1 << 33)\n").passed
    assert precious.read_text() == "mine"
