"""The loop, on a model trained here: what was edited is learnt, compared, served, and taken back byte for byte."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from e2e import tuner
from e2e.door import COMMENT, FULL, MARK, Door, door, events, store
from e2e.rpc import position_of
from e2e.serving import get, serving
from fakes.tiny import ENGLISH, LOOP, RECURSION, REVERSE, Tiny, prompt_for
from nl2code_model.tune.recipe import Recipe
from nl2code_model.tune.registry import Registry
from nl2code_model.tune.swap import tell_hosts
from nl2code_server.endpoint.runtime import Record
from nl2code_server.feedback.store import Store

pytestmark = pytest.mark.timeout(400)

RECIPE = Recipe().with_values(
    {
        "training.rank": "4",
        "training.lora_alpha": "8",
        "training.batch": "2",
        "training.accumulation": "1",
        "training.epochs": "15",
        "training.sft_rate": "0.005",
        "training.checkpoint_steps": "2",
        "training.replay_share": "0",
        "training.stages": "sft",
        "cleaning.near": "1.1",
        "cuts.rewritten": "0.9",
        "split.share": "0.34",
        "least.judged": "3",
        "least.sft": "1",
        "least.held_out": "1",
        "gate.least_held_out": "1",
        "gate.least_tasks": "0",
        "gate.length_band": "10",
        "gate.parse_margin": "1",
        "gate.repeat_margin": "1",
    }
)
NOT_LOGGED = f"# {ENGLISH}, e.g. gcd(4, 6) == 2"
WRITTEN = (
    (f"# {ENGLISH}", RECURSION),
    ("# write a function that reverses a text", REVERSE),
    (COMMENT, RECURSION),
)
"""What the user asks for, each in a file of its own, and what stands there when they save it."""


async def test_edits_change_what_is_suggested_and_rolled_back_nothing_is_left(
    tiny_llama: Tiny, tmp_path: Path
) -> None:
    model = str(tiny_llama.folder)
    old, new = f"{NOT_LOGGED}\n{LOOP.rstrip()}", f"{NOT_LOGGED}\n{RECURSION.rstrip()}"
    async with serving(model) as host, door(None, FULL) as editor:
        assert await editor.completed(f"{NOT_LOGGED}{MARK}") == old
        await events("accepted")
        with Store(store()) as opened:
            opened.purge()
        for number, (comment, kept) in enumerate(WRITTEN):
            await _written(editor, f"file:///work/{number}.py", comment, kept)
        await events("accepted", "kept", "accepted", "kept", "accepted", "kept")
        with Store(store()) as opened:
            assert NOT_LOGGED not in str(list(opened.records()))
        said = await _said(host)
        assert said.removesuffix("\n```") == LOOP.rstrip()
        registry = Registry(tiny_llama.folder.name)
        async with _tuner(model) as tune:
            for step in tuner.STEPS:
                assert await tune(step) == {"signal": 9}, step
                assert await _said(host) == said, f"killed at {step}"
                assert registry.current_name() == "" or step == "swap"
            outcome = await tune("")
        assert outcome["promoted"], outcome
        assert (outcome["sft"], outcome["held_out"], outcome["resumed_at"]) == (2, 1, 2)
        assert outcome["report"]["held_out"]["delta"] > 0.05
        assert outcome["problems"] == [""]
        [entry] = (await get(host, "/v1/models")).json()["data"]
        assert entry["adapter"] == outcome["version"] == registry.current_name()
        editor.uri = "file:///work/after.py"
        assert await editor.completed(f"{NOT_LOGGED}{MARK}") == new
        assert registry.rollback() == ""
        assert [told.problem for told in tell_hosts(registry.model, "", None)] == [""]
        assert await editor.completed(f"{NOT_LOGGED}{MARK}") == old
        assert await _said(host) == said
    assert list((tmp_path / "data" / "tune").glob("run-*")) == [], "the user's text does not stay behind"


@asynccontextmanager
async def _tuner(model: str) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """Start a process that tunes as often as it is told to."""
    command = [sys.executable, "-m", "e2e.tuner", model, json.dumps(RECIPE.as_json())]
    folder = Path(__file__).parents[1]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin and process.stdout
    stdin, stdout = process.stdin, process.stdout

    async def tune(step: str) -> Any:
        stdin.write(f"{step}\n".encode())
        return json.loads(await asyncio.wait_for(stdout.readline(), 150))

    try:
        yield tune
    finally:
        stdin.close()
        await asyncio.wait_for(process.wait(), 60)


async def _written(editor: Door, uri: str, comment: str, kept: str) -> None:
    """Take what is offered for a comment, make of it what is kept, and save."""
    editor.uri = uri
    await editor.completed(f"{comment}{MARK}")
    text = editor.text
    start = position_of(text, len(comment) + 1, editor.client.encoding)
    end = position_of(text, len(text), editor.client.encoding)
    if kept.rstrip() != text[len(comment) + 1 :].rstrip():
        editor.client.edit(uri, [{"range": {"start": start, "end": end}, "newText": kept}])
    editor.client.notify("textDocument/didSave", {"textDocument": {"uri": uri}})


async def _said(host: Record) -> str:
    """Return what the model host answers to the prompt that is not in the log; no server's cache between."""
    prompt = prompt_for(NOT_LOGGED)
    messages = [{"role": role, "content": content} for role, content in prompt.messages]
    messages.append({"role": "assistant", "content": prompt.prefill})
    body = {"model": host.model, "messages": messages, "max_tokens": 60, "temperature": 0}
    headers = {"Authorization": f"Bearer {host.token}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=60) as http:
        answer = (await http.post(f"{host.url}/chat/completions", json=body)).json()
    content: str = answer["choices"][0]["message"]["content"]
    return content
