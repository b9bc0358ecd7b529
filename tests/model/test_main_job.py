"""The main job on the real 0.5B, from the command line: one sentence in, working Python out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.model

SENTENCES = [
    "write a function computing the gcd of two numbers",
    "请编写一个Python函数，用于计算两个数的最大公约数。",
]

# Runs the code given on stdin and prints what its only function makes of (12, 18).
CALL_IT = """
import sys, types
scope = {}
exec(sys.stdin.read(), scope)
functions = [value for value in scope.values() if isinstance(value, types.FunctionType)]
assert len(functions) == 1, functions
print(functions[0](12, 18))
"""

BARE_SERVER = """
import sys, time
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_ctx = 4096
params.n_parallel = 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
params.hostnames = ["127.0.0.1"]
params.port = 0
params.verbosity = 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def nl2code(*arguments: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "nl2code_server.cli", *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=180,
        check=check,
        env={**os.environ, **variables},
    )


@pytest.fixture(autouse=True)
def _no_host_stays() -> Iterator[None]:
    yield
    nl2code("host", "stop", check=False)


def called(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-c", CALL_IT],
        input=code,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_becomes_a_function_that_works(sentence: str) -> None:
    assert called(nl2code("write", sentence).stdout) == "6"


def test_an_example_is_run_and_told_and_logged() -> None:
    answer = json.loads(nl2code("write", "--json", f"{SENTENCES[0]}, e.g. gcd(12, 18) == 6").stdout)
    best = answer["candidates"][0]
    assert best["status"] == "verified"
    assert best["examples"] == [{"call": "gcd(12, 18)", "expected": "6", "got": "6", "ok": True}]
    assert answer["model"] == "qwen2.5-coder-0.5b"
    events = json.loads(nl2code("feedback", "list", "--json").stdout)
    assert [(event["event"], event["suggestion_id"]) for event in events] == [("offered", best["id"])]
    story = nl2code("explain", best["id"]).stdout
    assert "gcd(12, 18)" in story


def test_complete_applies_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "stack.py"
    text = "class Stack:\n    def __init__(self):\n        self.items = []\n\n    # push an item onto the stack\n"
    file.write_bytes(text.replace("\n", "\r\n").encode())
    nl2code("complete", str(file), "--line", "5", "--apply")
    written = file.read_bytes().decode()
    assert written.startswith(text.replace("\n", "\r\n"))
    assert "\n" not in written.replace("\r\n", "")
    check = f"{written}\nstack = Stack()\nstack.push(7)\nassert stack.items == [7]"
    subprocess.run([sys.executable, "-I", "-c", check], timeout=20, check=True)
    events = json.loads(nl2code("feedback", "list", "--json").stdout)
    assert [event["event"] for event in events][-1] == "accepted"


def test_a_bare_llama_cpp_server_will_do() -> None:
    model = json.loads(nl2code("model", "path", "qwen2.5-coder-0.5b", "--json").stdout)["path"]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BARE_SERVER), model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        answer = nl2code("write", SENTENCES[0], NL2CODE_ENDPOINT=address)
        server.kill()
    assert called(answer.stdout) == "6"
    assert json.loads(nl2code("host", "status", "--json", check=False).stdout) == []


def test_the_demo_plays_to_its_end(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    shown = nl2code("demo", "--fast", "--save", str(picture)).stdout
    assert "verified" in shown
    assert "accepted" in shown
    assert picture.read_text(encoding="utf-8").startswith("<svg")
