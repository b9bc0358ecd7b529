"""A host process from start to end: found by its record, alone under its key, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from nl2code_model.host.serve import Options, choose_engine, listen, run
from nl2code_server.endpoint import runtime
from nl2code_server.errors import ConfigError, ModelFileError, ModelMissing, Nl2CodeError

TESTS = Path(__file__).parents[1]


@contextmanager
def started(**options: Any) -> Iterator[tuple[subprocess.Popen[str], runtime.Record]]:
    """Run a host around the fake engine, and see that it ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fakes.engine", json.dumps(options)],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise AssertionError(process.communicate()[1])
        yield process, runtime.Record(**json.loads(line))
    finally:
        process.kill()
        process.communicate()


def client(record: runtime.Record) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {record.token}"}
    return httpx2.Client(
        base_url=record.url.removesuffix("/v1"), headers=headers, trust_env=False, timeout=10
    )


def test_it_is_found_by_its_record_and_alone_under_its_key() -> None:
    with started(model="m") as (process, record):
        found = runtime.read(runtime.key("auto", "m", "auto"))
        assert found == record
        assert record.pid == process.pid
        assert len(record.token) >= 24
        with client(record) as http:
            assert http.get("/v1/models").status_code == 200
        second = subprocess.run(
            [sys.executable, "-m", "fakes.engine", json.dumps({"model": "m"})],
            cwd=TESTS,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert second.returncode != 0
        assert f"runs already at {record.url}" in second.stderr
        assert runtime.read(record.key) == record


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_signal_ends_it_cleanly_even_while_it_answers() -> None:
    with started() as (process, record), client(record) as http:
        ask = {"model": "fake-model", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        with http.stream("POST", "/v1/chat/completions", json=ask) as response:
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx2.RemoteProtocolError):  # cut off, and not ended as if it were whole
                list(lines)
        assert process.wait(10) == 0
        assert runtime.read(record.key) is None
        assert not list(_runtime_folder().glob("*.json"))


def test_it_ends_when_asked() -> None:
    with started(token="of my own") as (process, record), client(record) as http:
        assert record.token == "of my own"
        assert http.post("/shutdown").status_code == 202
        assert process.wait(10) == 0
        assert runtime.read(record.key) is None


def test_it_ends_when_nobody_asks_any_more() -> None:
    with started(idle_exit=1) as (process, record):
        began = time.monotonic()
        assert process.wait(10) == 0
        assert time.monotonic() - began > 0.5
        assert runtime.read(record.key) is None


def test_after_a_violent_end_the_next_one_takes_over() -> None:
    with started() as (process, record):
        process.kill()
        process.wait()
        assert runtime.read(record.key) is None
        with started() as (_, second):
            assert runtime.read(record.key) == second


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(host="0.0.0.0"), "token"),
        (Options(host="0.0.0.0", token="t"), "certificate|tls-cert"),
        (Options(host="::", token="t", tls_cert=Path("c")), "certificate|tls-cert"),
        (Options(host="192.168.1.5"), "token"),
    ],
)
def test_off_loopback_it_wants_a_token_and_tls(options: Options, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(options, lambda _: None)


def test_with_both_it_speaks_tls() -> None:
    pem = str(TESTS / "fakes" / "self_signed.pem")
    with started(host="0.0.0.0", token="t", tls_cert=pem, tls_key=pem) as (_, record):
        assert record.url.startswith("https://")
        port = record.url.removesuffix("/v1").rsplit(":", 1)[1]
        with httpx2.Client(verify=False, trust_env=False) as http:
            url = f"https://127.0.0.1:{port}/v1/models"
            assert http.get(url, headers={"Authorization": "Bearer t", "Host": "box.lan"}).status_code == 200
            assert http.get(url).status_code == 401


def test_answers_do_not_wait_for_nagle() -> None:
    with listen(Options()) as listener:
        assert listener.proto == socket.IPPROTO_TCP, "asyncio sets TCP_NODELAY only then"


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match=f"port {port}"), started(port=port):
            pass


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        (Options(engine="torch", model="qwen2.5-coder-0.5b"), ModelMissing, "model pull qwen2.5-coder-0.5b"),
        (Options(engine="torch", dtype="float64"), ConfigError, "float64"),
        (Options(engine="llamacpp", dtype="float16"), ConfigError, "--dtype"),
        (Options(engine="llamacpp", device="cuda"), ConfigError, "cuda"),
        (Options(model="no-such-model"), ConfigError, "no-such-model"),
        (Options(model="qwen2.5-coder-0.5b"), ModelMissing, "model pull qwen2.5-coder-0.5b"),
        (Options(model="/nowhere/x.gguf"), ModelFileError, "/nowhere/x.gguf"),
    ],
)
def test_what_cannot_be_served_is_told_with_its_fix(
    options: Options, error: type[Nl2CodeError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        choose_engine(options)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("options", "engine"),
    [
        (Options(model="somebody/some-model"), "torch"),
        (Options(model=str(Path(__file__).parent)), "torch"),
        (Options(engine="torch", model="somebody/some-model", device="cpu"), "torch"),
    ],
)
def test_a_model_that_only_one_engine_can_load_chooses_it(options: Options, engine: str) -> None:
    assert choose_engine(options).name == engine


def _runtime_folder() -> Path:
    return Path(os.environ["NL2CODE_HOME"]) / "run"
