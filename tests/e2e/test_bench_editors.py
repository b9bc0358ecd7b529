"""`nl2code bench suggest`, `typing` and `load`: real language servers before a host that plays a script."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from nl2code_model.bench import client, decode, hosts, load, suggest, typing
from nl2code_model.bench.editor import BACKSPACE
from nl2code_model.bench.server import install_copilot, servers
from nl2code_model.bench.typing import Trace
from nl2code_model.cli import bench as command
from nl2code_server.errors import HostError

TESTS = Path(__file__).parents[1]
FAKE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from dataclasses import asdict
from fakes.engine import FakeEngine
from nl2code_model.host.serve import Options, run_engine
script = ("def same(x):", "\\n    return", " x\\n", "```\\n")
engine = FakeEngine(script=script, delay=0.01, context=100_000)
options = Options(engine="llamacpp", model="fake-model")
run_engine(options, engine, lambda record: print(json.dumps(asdict(record)), flush=True))
"""
HOST = (sys.executable, "-c", FAKE, str(TESTS))
ASKED = {"NL2CODE_ENGINE": "llamacpp", "NL2CODE_MODEL": "fake-model", "NL2CODE_DEVICE": "auto"}
ENVIRONMENT = {**ASKED, "NL2CODE_ENDPOINT": ""}
TEXT = "# write a function that returns its argument"
TRACE = Trace("t", tuple((0.01, key) for key in TEXT), rest=2.0)


def test_there_are_thirty_traces_with_slips_and_pauses() -> None:
    found = typing.traces()
    assert len(found) == len({one.id for one in found}) == 30
    assert all(one.text.startswith("# ") and not one.text.endswith(" ") for one in found)
    keys = [key for one in found for _, key in one.keys]
    assert keys.count(BACKSPACE) > 10
    pauses = sorted(pause for one in found for pause, _ in one.keys)
    assert 0.1 < pauses[len(pauses) // 2] < 0.2
    assert pauses[-1] > 1.0
    assert 0.2 < min(one.rest for one in found) < max(one.rest for one in found) < 3


def test_typing_counts_the_answers_that_were_there() -> None:
    data = typing.run(HOST, ENVIRONMENT, [TRACE])
    asking, resting = data["results"]
    assert (asking["asks"], resting["asks"]) == typing.ASKS
    assert resting["offered"] == asking["offered"] == resting["traces"] == 1
    assert resting["hit_rate"] == 1.0, resting
    assert resting["there_rate"] > 0
    assert resting["answer_when_there_ms"]["median"] < 2000
    assert 0 < resting["ahead_tokens_used"] <= resting["ahead_tokens"] <= resting["generated_tokens"]
    assert resting["ahead_tokens_wasted"] == resting["ahead_tokens"] - resting["ahead_tokens_used"]


def test_load_loses_nothing_and_counts_what_was_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "THINKS", (0.1, 0.3))
    data = load.run(HOST, ENVIRONMENT, [TRACE], editors=2, seconds=2.0)
    assert data["lost"] == data["failed"] == data["refused"] == 0, data
    assert data["suggestions"] >= 1
    assert 0 < data["p50"] <= data["p95"]
    assert data["generated_tokens"] >= data["offered_tokens"] >= 3
    assert data["wasted_part"] == pytest.approx(
        1 - data["offered_tokens"] / data["generated_tokens"], abs=0.01
    )
    assert data["requests"] > len(TEXT)
    assert data["unanswered"] == 0
    assert 0 <= data["longest_queue"] <= data["queue_limit"]
    assert 0 <= data["cancelled_part"] <= data["wasted_part"]


def test_tokens_of_requests_that_were_taken_back_are_those_that_no_finished_one_accounts_for() -> None:
    told = {"generated_tokens_total": 200.0, "prompt_tokens_total": 0.0, "cached_tokens_total": 0.0}
    found = load.summary(load.Tally(waits=[1.0, 2.0]), 10.0, told, offered_tokens=120, finished_tokens=170)
    assert (found["cancelled_tokens"], found["cancelled_part"], found["wasted_part"]) == (30, 0.15, 0.4)
    assert (found["p50"], found["p95"]) == (1.5, 2.0)


def test_suggest_prints_a_table_and_a_json_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "ours", lambda engine, model: (HOST, ENVIRONMENT))
    monkeypatch.setattr(hosts, "peer", lambda model: HOST)
    monkeypatch.setattr(typing, "traces", lambda: [TRACE])
    app = typer.Typer()
    command.register(app)
    app.callback()(lambda: None)
    done = CliRunner().invoke(app, ["bench", "suggest", "--tasks", "1", "--lines", "40"])
    assert done.exit_code == 0, done.output
    table, _, line = done.stdout.strip().rpartition("\n")
    assert "plain chat" in table
    assert "cores" in table
    rows: dict[str, dict[str, Any]] = {row["way"]: row for row in json.loads(line)["results"]}
    assert rows.keys() == {*suggest.OURS, "plain chat, cold", "plain chat, warm"}
    assert all(row["offered"] == 1 and row["median"] > 0 for row in rows.values()), rows
    cold, chat = rows["cold"], rows["plain chat, cold"]
    assert cold["ratio"] == pytest.approx(cold["median"] / chat["median"], rel=0.05)


def test_a_tutorial_that_cannot_load_its_model_is_one_clear_error(tmp_path: Path) -> None:
    plan = suggest.Plan(ours=HOST, environment=ENVIRONMENT, tutorial=str(tmp_path), sizes=(20,))
    with pytest.raises(HostError, match="could not load the model"):
        suggest._tutorial(plan, [TRACE], lambda *_: None, lambda _: None)


def test_a_native_llama_cpp_speaks_as_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llama_cpp.py").write_text(
        "class Llama:\n"
        "    def __init__(self, path, **options): assert options['n_threads'] == 3\n"
        "    def create_chat_completion(self, messages, stream, max_tokens, temperature):\n"
        "        for word in range(max_tokens):\n"
        "            yield {'choices': [{'index': 0, 'delta': {'content': 'x'}, 'finish_reason': None}]}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    native = (sys.executable, "-P", "-c", decode.NATIVE, "m.gguf", "m", "3")
    with client.Host("native", native) as host:
        chat = [{"role": "user", "content": "hi"}]
        (one,) = asyncio.run(client.ask(host, [chat], tokens=7))
        (four,) = asyncio.run(client.ask(host, [chat], tokens=7, n=4))
    assert (one.tokens, four.tokens) == (7, 28)


def test_copilot_is_fetched_when_asked_for_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Copilot" not in {one.name for one in servers()}
    npm = tmp_path / "npm"
    package = "node_modules/@github/copilot-language-server-linux-x64"
    program = f"$5/{package}/copilot-language-server"
    npm.write_text(
        f'#!/bin/sh\nmkdir -p "$5/{package}"\necho "#!/bin/sh" > "{program}"\nchmod +x "{program}"\n'
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    folder = install_copilot(tmp_path / "cache")
    (found,) = [one for one in servers(folder) if one.name == "Copilot"]
    assert found.command[0].endswith("/copilot-language-server")
    npm.write_text("#!/bin/sh\necho 'no such package' >&2\nexit 1\n")
    with pytest.raises(HostError, match="no such package"):
        install_copilot(tmp_path / "other")
    with pytest.raises(HostError, match="no Copilot language server"):
        servers(tmp_path / "empty")
