"""What becomes of suggestions, over the wire: told by edits and saves alone, and after a server was killed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from e2e.door import COMMENT, FULL, GCD, MARK, door, events, fenced
from e2e.popup import CLIENTS, introduction, popped_up, put_in
from e2e.rpc import Json, spawned
from fakes.endpoint import FakeEndpoint

FILE = f"x = 1\n\n{COMMENT}{MARK}\n\n\ny = 2\n"
HURRIED = (
    "-c",
    "import nl2code_server.feedback.tracker as t; t.CHECKPOINTS.update({'30s': 0.6, '2min': 1.2, '10min': 1.8});"
    "import nl2code_server.lsp.server as s; s._SETTLED_SECONDS = 0.0;"
    "from nl2code_server.__main__ import main; raise SystemExit(main(['--stdio']))",
)


def test_the_clients_here_are_those_that_were_recorded() -> None:
    folder = Path(__file__).parent / "clients"
    for client in CLIENTS:
        assert json.loads((folder / f"{client}.json").read_text())["capabilities"]


@pytest.mark.parametrize("client", CLIENTS)
async def test_an_editor_that_tells_nothing_is_understood(client: str) -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, args=HURRIED, **introduction(client)) as editor:
            (item,) = await popped_up(editor, FILE)
            put_in(client, editor, item)
            editor.client.notify("textDocument/didSave", {"textDocument": {"uri": editor.uri}})
            logged = await events("offered", "accepted", "kept", "kept", "kept", "kept", timeout=10)
    accepted = [event for event in logged if event.event == "accepted"]
    kept = [event for event in logged if event.event == "kept"]
    assert [(event.source, event.cause) for event in accepted] == [("inferred", "text-appeared")]
    assert [event.checkpoint for event in kept] == ["save", "30s", "2min", "10min"]
    assert {event.kept_ratio for event in kept} == {1.0}
    assert {event.final_text for event in kept} == {GCD.rstrip()}
    assert "edited" not in {event.event for event in logged}


async def test_the_clients_word_and_its_edits_are_one_event() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, args=HURRIED) as editor:
            await editor.completed(FILE)
            end = editor.text.index("return a") + len("return a")
            editor.client.insert(editor.uri, end, "  # 最大公约数")
            logged = await events("accepted", "kept", "kept", "kept", "edited", timeout=10)
    assert [event.source for event in logged if event.event == "accepted"] == ["client"]
    (edited,) = [event for event in logged if event.event == "edited"]
    assert edited.final_text == f"{GCD.rstrip()}  # 最大公约数"
    assert edited.kept_ratio is not None
    assert 0.8 < edited.kept_ratio < 1


async def test_what_was_written_instead() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake, args=HURRIED) as editor:
            (item,) = await editor.offered(FILE)
            rejected = item["command"]["arguments"][0]
            assert await editor.client.command("nl2code.reject", rejected, "escape") == {"rejected": True}
            at = editor.text.index(COMMENT) + len(COMMENT)
            for character in "\nfrom math import gcd":
                editor.client.insert(editor.uri, at, character)
                at += 1
            editor.client.notify("textDocument/didSave", {"textDocument": {"uri": editor.uri}})
            logged = await events("offered", "rejected", "instead")
            # The next one is typed over without a word.
            editor.uri = "file:///work/other.py"
            (item,) = await editor.offered(FILE)
            at = editor.text.index(COMMENT) + len(COMMENT)
            editor.client.insert(editor.uri, at, "\ndef f(): pass")
            await events("ignored", timeout=10)
    (instead,) = [event for event in logged if event.event == "instead"]
    assert (instead.suggestion_id, instead.checkpoint) == (rejected, "save")
    assert instead.final_text == "from math import gcd"


async def test_what_is_saved_last_is_measured_before_the_server_ends() -> None:
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with door(fake) as editor:
            await editor.completed(FILE)
            editor.client.insert(editor.uri, editor.text.index("return a"), "assert a\n    ")
            editor.client.notify("textDocument/didSave", {"textDocument": {"uri": editor.uri}})
            assert await editor.client.stop() == 0
            (kept,) = [event for event in await events("accepted") if event.event == "kept"]
    assert kept.checkpoint == "save"
    assert kept.kept_ratio is not None and 0.5 < kept.kept_ratio < 1


async def test_a_killed_servers_work_is_finished_by_the_next(tmp_path: Path) -> None:
    file = f"file://{tmp_path}/demo.py"
    with FakeEndpoint([fenced(GCD)]) as fake:
        async with spawned({"NL2CODE_ENDPOINT": fake.url}) as client:
            await client.initialize(FULL)
            client.open(file, f"{COMMENT}\n")
            items = await _ghosts(client, file)
            client.edit(file, [{"range": items[0]["range"], "newText": items[0]["insertText"]}])
            await client.command("nl2code.accept", *items[0]["command"]["arguments"])
            await events("accepted")
            client.process.kill()  # before anything was measured
            await client.process.wait()
            text = client.buffers[file].text
        quick = (
            HURRIED[0],
            HURRIED[1].replace("0.6, '2min': 1.2, '10min': 1.8", "0.1, '2min': 15, '10min': 16"),
        )
        async with door(None, args=quick, env={"NL2CODE_ENDPOINT": fake.url}) as editor:
            editor.client.open(file, text.replace("return a", "return a  # a"))
            after = await events("accepted", "kept", "edited", timeout=40)
    # Nobody looked when the first measurement was due: it stays unknown.
    assert {event.checkpoint for event in after if event.event == "kept"} <= {"2min", "10min"}
    assert [event.event for event in after].count("accepted") == 1
    (edited,) = [event for event in after if event.event == "edited"]
    assert edited.final_text == f"{GCD.rstrip()}  # a"


async def _ghosts(client: Any, uri: str) -> list[Json]:
    position = {"line": 0, "character": len(COMMENT)}
    params = {"textDocument": {"uri": uri}, "position": position, "context": {"triggerKind": 1}}
    async with asyncio.timeout(20):
        return list((await client.request("textDocument/inlineCompletion", params, timeout=20))["items"])
