"""The command line's frame: help, exit codes, one-line errors, plugins, and the commands config, host and doctor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fakes.endpoint import FakeEndpoint, Reply
from fakes.host import calls, fake_interpreter
from nl2code_server import __version__
from nl2code_server.cli import app as cli
from nl2code_server.cli import doctor
from nl2code_server.config import SETTINGS, Settings, load
from nl2code_server.endpoint import runtime
from nl2code_server.endpoint.process import ensure_host
from nl2code_server.errors import ConfigError, HostError
from nl2code_server.platform import paths, process_alive

Capture = pytest.CaptureFixture[str]


def run(*arguments: str) -> int:
    """Run a command in this process and return its exit code, with 1 for an error in words, as Python does."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments))
    code = ended.value.code
    if isinstance(code, str):
        print(code, file=sys.stderr)
        return 1
    return int(code or 0)


def set_value(line: str) -> None:
    paths().config.mkdir(parents=True, exist_ok=True)
    with paths().config_file.open("a") as file:
        file.write(f"{line}\n")


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    found: list[EntryPoint] = []
    monkeypatch.setattr(cli, "entry_points", lambda group: found)
    return found


# The frame


def test_help_names_every_command_in_one_line_each(capsys: Capture, plugins: list[EntryPoint]) -> None:
    assert run("--help") == 0
    lines = capsys.readouterr().out.splitlines()
    for name, (_, summary) in cli.COMMANDS.items():
        assert any(line.split() == [name, *summary.split()] for line in lines)


@pytest.mark.parametrize("name", [name for name, (module, _) in cli.COMMANDS.items()
                                  if find_spec(f"nl2code_server.cli.{module}")])  # fmt: skip
def test_each_command_is_in_its_module_and_teaches(name: str) -> None:
    shown = CliRunner().invoke(cli.app_for(name), [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert f"Usage: root {name}" in shown.output or f" {name} " in shown.output.splitlines()[0]
    assert "--help" in shown.output


def test_help_is_quick_because_it_imports_no_command() -> None:
    program = (
        "import sys; from nl2code_server.cli import app\n"
        "app.entry_points = lambda group: []\n"
        "try: app.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'httpx2', 'rich', 'tree_sitter', 'pydantic_monty', 'sqlite3', 'asyncio', 'nl2code_model'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert shown.stdout.splitlines()[-1] == "[]"


def test_the_version_is_printed(capsys: Capture, plugins: list[EntryPoint]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"nl2code {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["wriet"], "No such command 'wriet'. Did you mean 'write'?"),
        (["config", "pth"], "No such command 'pth'. Did you mean 'path'?"),
        (["config", "--jsn"], "No such option: --jsn"),
        (["host", "status", "extra"], "Got unexpected extra argument"),
    ],
)
def test_wrong_usage_exits_with_2(
    arguments: list[str], message: str, capsys: Capture, plugins: list[EntryPoint]
) -> None:
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_no_command_shows_the_help(capsys: Capture, plugins: list[EntryPoint]) -> None:
    assert run() == 2
    shown = capsys.readouterr()
    assert "Usage: nl2code" in shown.out + shown.err


def failing(app: typer.Typer) -> None:
    def fail(how: str) -> None:
        """Fail.

        More about it.
        """
        if how == "config":
            raise ConfigError("It is wrong", "Mend it")
        if how == "host":
            raise HostError("It is gone")
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "os":
            Path("/no/such/file").read_text()
        raise ValueError("a fault of ours")

    app.command("fail")(fail)


def broken(app: typer.Typer) -> None:
    raise ImportError("No module named 'torch'")


FAILING = EntryPoint("fail", f"{__name__}:failing", "nl2code.commands")


@pytest.fixture
def failing_plugin(plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[failing.__module__])
    plugins.append(FAILING)


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("config", 2, "error: It is wrong (Mend it)\n"),
        ("host", 1, "error: It is gone\n"),
        ("os", 1, "error: No such file or directory: /no/such/file\n"),
        ("interrupt", 130, ""),
    ],
)
def test_a_failure_is_one_line_and_a_code(
    how: str, code: int, message: str, capsys: Capture, failing_plugin: None
) -> None:
    assert run("fail", how) == code
    assert capsys.readouterr().err == message


def test_a_fault_of_ours_is_not_hidden(failing_plugin: None) -> None:
    with pytest.raises(ValueError, match="a fault of ours"):
        cli.main(["fail", "bug"])


def test_a_broken_plugin_is_one_line_and_takes_nothing_with_it(
    capsys: Capture, failing_plugin: None, plugins: list[EntryPoint]
) -> None:
    plugins.append(EntryPoint("broken", f"{__name__}:broken", "nl2code.commands"))
    plugins.append(EntryPoint("gone", "nl2code_no_such_module:register", "nl2code.commands"))
    assert run("--help") == 0
    shown = capsys.readouterr()
    assert "  fail " in shown.out
    assert shown.err.splitlines() == [
        "warning: the command broken cannot be loaded: ImportError: No module named 'torch'",
        "warning: the command gone cannot be loaded: ModuleNotFoundError: No module named 'nl2code_no_such_module'",
    ]
    assert run("broken") == 1
    assert capsys.readouterr().err == (
        "error: The command broken cannot be loaded: ImportError: No module named 'torch' "
        "(run: pip install 'nl2code[local]')\n"
    )
    assert run("fail", "host") == 1
    assert "cannot be loaded" not in capsys.readouterr().err


def test_an_interrupt_ends_a_command_with_130() -> None:
    with FakeEndpoint(owned_by="nl2code") as hung:
        hung.models_reply = Reply(header_delay=60)
        key = runtime.key("auto", "auto", "auto")
        runtime.write(runtime.Record(hung.url, "", os.getpid(), "e", "m", runtime.PROTOCOL, key, 1.0))
        command = subprocess.Popen(
            [sys.executable, "-m", "nl2code_server.cli", "host", "status"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 20
        while not hung.requests and time.monotonic() < deadline:
            time.sleep(0.01)
        command.send_signal(signal.SIGINT)
        out, err = command.communicate(timeout=10)
    assert (command.returncode, out, err) == (130, b"", b"")


# config


def test_config_prints_a_file_that_means_the_same(capsys: Capture, plugins: list[EntryPoint]) -> None:
    set_value('candidates = 3\nmodel = "größe \\"x\\""\napi_key = "sk-secret"')
    assert run("config") == 0
    shown = capsys.readouterr().out
    assert "sk-secret" not in shown and '# api_key = "(set)"' in shown
    expected = load().settings
    assert tomllib.loads(shown) == {name: getattr(expected, name) for name in SETTINGS if name != "api_key"}
    assert "# Suggestions to make for one instruction. (1 to 8; from: file)\ncandidates = 3\n" in shown


def test_config_as_json_tells_everything_but_the_key(
    capsys: Capture, plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NL2CODE_API_KEY", "sk-secret")
    monkeypatch.setenv("NL2CODE_MODE", "nonsense")
    assert run("config", "--json") == 0
    shown = capsys.readouterr().out
    assert "sk-secret" not in shown
    told = json.loads(shown)
    assert [row["name"] for row in told["settings"]] == list(SETTINGS)
    rows = {row["name"]: row for row in told["settings"]}
    assert (rows["api_key"]["value"], rows["api_key"]["source"]) == ("(set)", "environment")
    assert rows["mode"] == {
        "name": "mode",
        "value": "auto",
        "source": "default",
        "default": "auto",
        "allowed": "auto, marker, manual",
        "variable": "NL2CODE_MODE",
        "editor": True,
        "help": SETTINGS["mode"].metadata["help"],
    }
    assert len(told["problems"]) == 1 and "NL2CODE_MODE must be auto" in told["problems"][0]


def test_config_path(capsys: Capture, plugins: list[EntryPoint]) -> None:
    assert run("config", "path") == 0
    assert capsys.readouterr().out == f"{paths().config_file}\n"


# host


def test_hosts_are_shown_and_stopped(
    tmp_path: Path, capsys: Capture, plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("host", "status") == 1
    assert capsys.readouterr().err == "no model host runs; one is started when it is needed\n"
    assert run("host", "stop") == 0
    settings = Settings(python=fake_interpreter(tmp_path / "fake"))
    endpoint = asyncio.run(ensure_host(settings, on_status=lambda _: None))
    capsys.readouterr()
    assert run("host", "status", "--json") == 0
    shown = capsys.readouterr().out
    assert endpoint.api_key not in shown
    (row,) = json.loads(shown)
    assert (row["url"], row["answers"], row["current"]) == (endpoint.url, True, True)
    assert run("host", "status") == 0
    assert f"answers, {endpoint.url}, process {row['pid']}" in capsys.readouterr().out
    monkeypatch.setenv("NL2CODE_MODEL", "smollm2-135m")
    assert run("host", "status") == 1
    assert "not what the settings ask for" in capsys.readouterr().out
    assert run("host", "stop") == 0
    assert capsys.readouterr().out == f"stopped auto, process {row['pid']}\n"
    assert not process_alive(row["pid"]) and runtime.records() == []


# doctor


def checks(capsys: Capture, *, code: int) -> dict[str, tuple[str, str, str]]:
    assert run("doctor", "--json") == code
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (code == 0)
    return {check["name"]: (check["state"], check["detail"], check["fix"]) for check in told["checks"]}


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("fpu avx avx2 avx512f avx512_vnni", "avx512f, avx512_vnni"),
        ("fpu avx2 avx_vnni", "avx_vnni"),
        ("fpu avx2 fma", ""),
    ],
)
def test_doctor_says_which_vectors_the_wheel_leaves_unused(
    flags: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(f"processor : 0\nflags\t\t: {flags}\n\nprocessor : 1\nflags\t\t: {flags}\n")
    monkeypatch.setattr(doctor, "CPUINFO", told)
    found = list(doctor._faster_vectors())
    assert [check.detail.partition("has ")[2] for check in found] == ([f"{named} too"] if named else [])
    assert all(check.state == "ok" and "GGML_NATIVE" in check.fix for check in found)
    told.unlink()
    assert list(doctor._faster_vectors()) == []


def test_doctor_with_an_endpoint(
    capsys: Capture, plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # whatever editors are here, none is set up
    with FakeEndpoint(owned_by="vllm", key="k") as fake:
        monkeypatch.setenv("NL2CODE_ENDPOINT", fake.origin)
        assert checks(capsys, code=1)["endpoint"] == (
            "fail", f"{fake.origin} answered 401: Invalid API key", "Check api_key"
        )  # fmt: skip
        monkeypatch.setenv("NL2CODE_API_KEY", "k")
        found = checks(capsys, code=0)
        assert found["endpoint"] == ("ok", f"fake-model answers at {fake.url} (server: vllm)", "")
        assert {name: state for name, (state, _, _) in found.items()} == dict.fromkeys(found, "ok")
        assert set(found) - {"editor"} == {"python", "packages", "config", "disk", "hardware", "endpoint"}
        assert "pygls 2." in found["packages"][1] and f"nl2code {__version__}" in found["packages"][1]
    assert "Nobody answers" in checks(capsys, code=1)["endpoint"][1]
    assert run("doctor") == 1
    shown = capsys.readouterr().out
    assert f"fail  endpoint: Nobody answers at {fake.origin}\n      → Check that the server runs" in shown


def test_doctor_with_the_local_host(
    tmp_path: Path, capsys: Capture, plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The stand-in has no `-c`: it fails as an interpreter without Python in it does.
    monkeypatch.setenv("NL2CODE_PYTHON", fake_interpreter(tmp_path / "fake"))
    found = checks(capsys, code=1)
    assert found["model half"][0] == "fail" and found["model half"][2] == "It has to be Python 3.11 or newer"
    assert found["host"] == ("ok", "none runs; one is started when it is needed", "")
    assert not any(call.startswith("serve") for call in calls(tmp_path / "fake"))
    monkeypatch.setenv("NL2CODE_PYTHON", "/no/python")
    assert "/no/python cannot be run" in checks(capsys, code=1)["model half"][1]


def test_doctor_finds_what_the_interpreter_lacks(
    tmp_path: Path, capsys: Capture, plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setenv("NL2CODE_PYTHON", str(bare))
    state, detail, fix = checks(capsys, code=1)["model half"]
    assert (state, detail) == ("fail", f"{bare} lacks nl2code_model, starlette, uvicorn, xllamacpp")
    assert fix == f"run: {bare} -m pip install 'nl2code[local]'"


def test_doctor_tells_of_a_missing_model_and_a_hung_host(
    tmp_path: Path, capsys: Capture, plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = fake_interpreter(tmp_path / "fake", present=False)
    both = tmp_path / "python"
    both.write_text(f'#!/bin/sh\n[ "$2" = -c ] && exec "{sys.executable}" "$@"\nexec "{stand_in}" "$@"\n')
    both.chmod(0o755)
    monkeypatch.setenv("NL2CODE_PYTHON", str(both))
    with FakeEndpoint(owned_by="somebody") as other:
        key = runtime.key("auto", "auto", "auto")
        runtime.write(runtime.Record(other.url, "", os.getpid(), "e", "m", runtime.PROTOCOL, key, 1.0))
        found = checks(capsys, code=1)
    assert found["model"] == (
        "warn", "The model auto is not on this machine yet (98 MB)", "run: nl2code model pull auto"
    )  # fmt: skip
    assert found["host"][0] == "fail" and found["host"][2] == "run: nl2code host stop"


def test_doctor_names_problems_of_the_configuration(
    capsys: Capture, plugins: list[EntryPoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_value('endpoint = "http://192.0.2.1:9"\napi_key = "k"\nmode = "x"\nrequest_timeout = 1')
    paths().config_file.chmod(0o644)
    assert run("doctor", "--json") == 1
    told = json.loads(capsys.readouterr().out)["checks"]
    problems = [(check["state"], check["fix"]) for check in told if check["name"] == "config"]
    assert problems == [
        ("warn", "See what may be set: nl2code config"),
        ("warn", f"run: chmod 600 {paths().config_file}"),
        ("warn", "Use an https endpoint"),
    ]
    monkeypatch.setenv("NL2CODE_HOME", "/proc/none")
    assert run("doctor") == 1
    assert "fail  folders: /proc" in capsys.readouterr().out
