"""Sessions over the wire: how they begin, what may be set, what goes wrong, what is loaded, how they end."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.door import COMMENT, GCD, INVOKED, MARK, PLAIN, door, events, fenced
from e2e.rpc import RpcError, spawned
from fakes.endpoint import FakeEndpoint, Reply

FILE = f"{COMMENT}{MARK}"


async def test_what_is_advertised_to_whom() -> None:
    async with spawned({}) as client:
        result = await client.initialize(PLAIN)
        assert result["serverInfo"]["name"] == "nl2code"
        capabilities = result["capabilities"]
        assert capabilities["positionEncoding"] == "utf-16"
        assert capabilities["inlineCompletionProvider"] is not None
        assert capabilities["codeActionProvider"]["resolveProvider"] is True
        assert capabilities["hoverProvider"] is True
        assert capabilities["completionProvider"] == {"resolveProvider": True}
        assert sorted(capabilities["executeCommandProvider"]["commands"]) == [
            "nl2code.accept",
            "nl2code.alternatives",
            "nl2code.explainLast",
            "nl2code.generate",
            "nl2code.reject",
            "nl2code.status",
        ]
        assert client.told("client/registerCapability") == []
        assert client.told("workspace/configuration") == []
        with pytest.raises(RpcError):
            await client.request("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        assert await client.stop() == 0


async def test_the_log_tells_in_what_the_client_counts() -> None:
    async with spawned({"NL2CODE_LOG_LEVEL": "info"}) as client:
        await client.initialize({"general": {"positionEncodings": ["utf-8", "utf-16"]}})
        assert client.encoding == "utf-8"
        assert await client.stop() == 0
        assert b"positions in utf-8" in client.stderr


async def test_only_taste_comes_from_the_editor() -> None:
    section: dict[str, Any] = {"mode": "manual", "endpoint": "http://127.0.0.1:9/v1", "comment": "always"}
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(
            fake,
            answers={"workspace/configuration": lambda params: [section]},
            initializationOptions={"api_key": "k", "database": "/tmp/elsewhere.db"},
        ) as editor:
            for name, problem in (
                ("api_key", "is refused"),
                ("database", "is refused"),
                ("endpoint", "is refused"),
                ("comment", "must be keep, docstring, remove"),
            ):
                start = f"nl2code: {name} in the editor's settings {problem}"
                await editor.client.wait_told("window/showMessage", _begins(start))
            await editor.client.wait_told("client/registerCapability")
            assert await editor.offered(FILE) == []  # manual
            told = await editor.client.command("nl2code.status")
            assert (told["mode"], told["endpoint"]) == ("manual", fake.url)

            section = {}
            editor.client.notify("workspace/didChangeConfiguration", {"settings": None})
            items: list[Any] = []
            async with asyncio.timeout(30):
                while not items:
                    items = await editor.offered(FILE)
            editor.client.notify("workspace/didChangeConfiguration", {"settings": 7})
            assert b"refused" in editor.client.stderr


def _begins(text: str) -> Callable[[Any], bool]:
    return lambda told: bool(told["message"].startswith(text))


FAULTS = {
    "refused": (Reply(status=401, body='{"error": {"message": "no such key"}}'), "key"),
    "server error": (Reply(status=500), "500"),
    "not the protocol": (Reply(body="<html>login</html>", content_type="text/html"), ""),
    "reset": (Reply(text=fenced(GCD), reset_after=3), ""),
}


async def test_a_fault_of_the_endpoint_is_a_status_and_an_empty_answer() -> None:
    with FakeEndpoint() as fake:
        async with door(fake) as editor:
            for name, (reply, word) in FAULTS.items():
                seen = len(editor.statuses)
                fake.replies[:] = [reply]
                assert await editor.offered(FILE, trigger=INVOKED) == [], name
                problems = [one["message"] for one in editor.statuses[seen:] if one["kind"] == "Warning"]
                assert problems, name
                assert word in problems[-1], problems
                hover = await editor.client.request("textDocument/hover", editor.asked)
                assert "Nothing was offered" in hover["contents"]["value"]
            assert len(editor.client.told("window/showMessage")) >= 2
            assert (await editor.client.command("nl2code.status"))["state"] == "problem"
            with pytest.raises(RpcError) as caught:
                await editor.run((await editor.actions())[0])
            assert caught.value.code == -32803
            fake.replies[:] = [fenced(GCD)]
            assert len(await editor.offered(FILE)) == 1
            assert editor.statuses[-1] == {"busy": False, "kind": "Normal", "message": "nl2code: ready"}
    async with door(None, env={"NL2CODE_ENDPOINT": fake.url}) as editor:
        assert await editor.offered(FILE) == []
        assert str(fake.port) in await editor.problem()


async def test_messages_that_make_no_sense() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, PLAIN) as editor:
            editor.open(FILE)
            client = editor.client
            ask = "textDocument/inlineCompletion"
            for params in (
                {},
                None,
                {**editor.asked, "context": {}},
                {**editor.asked, "position": {"line": -1, "character": 0}, "context": {"triggerKind": 1}},
            ):
                with pytest.raises(RpcError):
                    await client.request(ask, params)
            elsewhere = {**editor.asked, "textDocument": {"uri": "file:///not/open.py"}}
            assert await client.request(ask, {**elsewhere, "context": {"triggerKind": 1}}) == {"items": []}
            assert await client.request("textDocument/hover", elsewhere) is None
            for beyond in ({"line": 999, "character": 0}, {"line": 0, "character": 99999}):
                params = {**editor.asked, "position": beyond, "context": {"triggerKind": 2}}
                assert await client.request(ask, params) is not None
            editor.configure(mode="manual")
            assert (await editor.ask()[1])["items"] == []
            for settings in ({"mode": "auto", "pylsp": {"plugins": {}}}, [1], None):
                client.notify("workspace/didChangeConfiguration", {"settings": settings})
            client.send_raw(b"{not json")
            client.notify("textDocument/didChange", {"textDocument": {"uri": "file:///no.py"}})
            client.notify("workspace/didChangeConfiguration", {})
            client.notify("nobody/knows", {"a": [1, {"class": 2}]})
            client.cancel(123456)
            with pytest.raises(RpcError):
                await client.request("nobody/asks", {})
            assert len((await editor.ask()[1])["items"]) == 1
            assert client.told("window/showMessage") == []


async def test_two_editors_at_once() -> None:
    other = "def lcm(a, b):\n    return a * b\n"
    with FakeEndpoint(lambda body: fenced(other if "lcm" in str(body) else GCD)) as fake:
        async with door(fake) as one, door(fake) as two:
            files = await asyncio.gather(
                one.completed(FILE), two.completed(f"# write a function lcm for two numbers{MARK}")
            )
            assert "gcd" in files[0]
            assert "lcm" in files[1]
            logged = await events("accepted", "accepted")
    assert len({event.request_id for event in logged}) == 2


async def test_what_the_server_does_not_load_and_does_not_log(tmp_path: Path) -> None:
    dump, log = tmp_path / "modules.json", tmp_path / "server.log"
    code = (
        "import atexit, json, pathlib, runpy, sys;"
        f"atexit.register(lambda: pathlib.Path({str(dump)!r}).write_text(json.dumps(sorted(sys.modules))));"
        f"sys.argv = ['nl2code-server', '--log-level', 'debug', '--log-file', {str(log)!r}, '--stdio'];"
        "runpy.run_module('nl2code_server', run_name='__main__', alter_sys=True)"
    )
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, args=("-c", code)) as editor:
            assert "gcd" in await editor.completed(FILE)
            assert await editor.client.stop() == 0
            assert editor.client.stderr == b""
    loaded = {name.split(".")[0] for name in json.loads(dump.read_text())}
    assert {"pygls", "tree_sitter", "nl2code_server"} <= loaded
    heavy = {"torch", "transformers", "numpy", "xllamacpp", "rich", "typer", "nl2code_model", "gguf"}
    assert not loaded & heavy
    told = log.read_text()
    assert "client unknown, positions in utf-16" in told
    assert "1 suggestions" in told
    assert "def gcd" not in told  # ids and sizes, never code
    assert "write a function" not in told


async def test_leaving_is_quick_whatever_goes_on() -> None:
    with FakeEndpoint([Reply(text=fenced(GCD * 20), token_delay=0.05)]) as fake:
        for way in ("exit", "gone"):
            async with door(fake) as editor:
                count = len(fake.chats)
                editor.open(FILE)
                editor.ask()[1].add_done_callback(lambda future: future.cancelled() or future.exception())
                chat = (await asyncio.to_thread(fake.wait_for_chats, count + 1, timeout=40))[-1]
                started = time.monotonic()
                if way == "exit":
                    assert await editor.client.stop() == 0
                else:
                    editor.client.leaving = True
                    assert editor.client.process.stdin
                    editor.client.process.stdin.close()
                    assert await asyncio.wait_for(editor.client.process.wait(), 5) == 1
                assert time.monotonic() - started < 3.5
                assert await asyncio.to_thread(chat.disconnected.wait, 10)


async def test_the_command_line(tmp_path: Path) -> None:
    async def run(*arguments: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "nl2code_server", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 20)
        return process.returncode, out.decode(), err.decode()

    status, out, _ = await run("--version")
    assert (status, out) == (0, "nl2code-server 0.1.0\n")
    status, _, err = await run("--tcp", "nowhere")
    assert status == 2
    assert "'nowhere' is not HOST:PORT" in err
    status, _, err = await run("--log-file", str(tmp_path / "no" / "such" / "folder.log"))
    assert (status, err.count("\n")) == (2, 1)


FAKE_PYTHON = """#!{python}
import json, pathlib, sys, time
said = pathlib.Path(__file__).parent / "said.txt"
words = sys.argv[4:]
with said.open("a") as file:
    file.write(" ".join(words) + "\\n")
def tell(**event):
    print(json.dumps(event), flush=True)
if words[:2] == ["model", "path"]:
    tell(id="tiny", present=False, bytes=491400064)
elif words[:2] == ["model", "pull"]:
    for done in range(0, 101, 25):
        tell(event="progress", done=done << 20, total=100 << 20)
        time.sleep({pause})
    {ending}
"""


def _fake_python(folder: Path, *, pause: float = 0.01, ending: str = 'tell(event="done")') -> dict[str, str]:
    """Write a program that stands for the model half: it has no model, and pretends to fetch one."""
    program = folder / "python"
    program.write_text(FAKE_PYTHON.format(python=sys.executable, pause=pause, ending=ending))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"NL2CODE_PYTHON": str(program)}


def _said(folder: Path) -> list[str]:
    return (folder / "said.txt").read_text().splitlines()


async def test_a_missing_model_is_fetched_after_one_question(tmp_path: Path) -> None:
    questions: list[Any] = []

    def agree(params: Any) -> Any:
        questions.append(params)
        return params["actions"][0]

    async with door(None, env=_fake_python(tmp_path), answers={"window/showMessageRequest": agree}) as editor:
        assert await editor.offered(FILE) == []
        await editor.client.wait_told("didChangeStatus", lambda told: "downloading" in told["message"])
        await editor.client.wait_told("$/progress", lambda told: told["value"]["kind"] == "end")
        await editor.client.wait_told("didChangeStatus", lambda told: told["message"] == "nl2code: ready")
        shares = [told["value"].get("percentage") for told in editor.client.told("$/progress")]
        assert [share for share in shares if share] == [25, 50, 75, 100]
        assert questions[0]["message"] == ("nl2code needs the model tiny (469 MiB), once. Download it?")
        assert [action["title"] for action in questions[0]["actions"]] == ["Download", "Not now"]
    assert _said(tmp_path)[-1] == "model pull tiny --json"


async def test_a_model_that_is_not_wanted_is_asked_about_once(tmp_path: Path) -> None:
    questions: list[Any] = []

    def refuse(params: Any) -> Any:
        questions.append(params)
        return None if len(questions) == 1 else params["actions"][0]

    async with door(
        None, env=_fake_python(tmp_path), answers={"window/showMessageRequest": refuse}
    ) as editor:
        for _ in range(2):
            assert await editor.offered(FILE) == []
            assert "nl2code model pull tiny" in await editor.problem()
        hover = await editor.client.request("textDocument/hover", editor.asked)
        assert "nl2code model pull tiny" in hover["contents"]["value"]
    assert len(questions) == 1
    assert not any("pull" in line for line in _said(tmp_path))


async def test_a_client_that_cannot_be_asked_is_told_what_to_run(tmp_path: Path) -> None:
    async with door(None, PLAIN, env=_fake_python(tmp_path)) as editor:
        assert await editor.offered(FILE) == []
        assert "nl2code model pull tiny" in await editor.problem()
        told = await editor.client.wait_told("window/showMessage")
        assert "nl2code model pull tiny" in told["message"]
        assert editor.client.told("window/showMessageRequest") == []


@pytest.mark.parametrize("way", ["cancelled", "failed"])
async def test_a_download_that_does_not_end_well(tmp_path: Path, way: str) -> None:
    env = _fake_python(
        tmp_path,
        pause=0.2 if way == "cancelled" else 0.0,
        ending='tell(event="error", message="No space left", fix="Free 500 MB")',
    )
    agree = {"window/showMessageRequest": lambda params: params["actions"][0]}
    async with door(None, env=env, answers=agree) as editor:
        assert await editor.offered(FILE) == []
        if way == "cancelled":
            told = await editor.client.wait_told("$/progress", lambda told: told["value"].get("percentage"))
            editor.client.notify("window/workDoneProgress/cancel", {"token": told["token"]})
        problem = await editor.problem()
        assert ("was cancelled" if way == "cancelled" else "No space left") in problem
        assert (await editor.client.command("nl2code.status"))["state"] == "problem"
