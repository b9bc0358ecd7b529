"""Time from a finished comment to the suggestion, next to what people do without us.

Ours is the real language server before the real model host: **cold** (a file that nothing has been asked about),
**warm** (the file was open for a while) and **speculated** (the user rested at the end of the comment). The peers get
the same file and the same instruction in the same run: llama.cpp's own server as a plain chat, with its prompt cache,
cold and after another question about the same file; and transformers' `generate` as a tutorial writes it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from nl2code_server.errors import HostError

from .client import Chat, Host, ask, figures
from .decode import PEER, machine
from .editor import INVOKED, Editor
from .server import source
from .typing import Trace

SIZES = (20, 300, 3000)
"""Lines of the files."""
OURS = ("cold", "warm", "speculated")
PLAIN_TOKENS = 512
LOOK = 0.05
SETTLE = 20.0
"""Seconds that work ahead may take before it is asked for."""
TUTORIAL = """
import json, sys, time
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
print("READY", flush=True)
for line in sys.stdin:
    text = tokenizer.apply_chat_template(json.loads(line), tokenize=False, add_generation_prompt=True)
    started = time.perf_counter()
    inputs = tokenizer([text], return_tensors="pt")
    made = model.generate(**inputs, max_new_tokens=int(sys.argv[2]))
    tokens = made.shape[1] - inputs.input_ids.shape[1]
    print("TOOK", time.perf_counter() - started, tokens, flush=True)
"""


@dataclass(slots=True)
class Result:
    """One way to get code, at one size of file."""

    way: str
    lines: int
    seconds: list[float] = field(default_factory=list)
    empty: int = 0
    """Times that nothing was offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run. `ours` and `peer` are commands that print where they answer once they are ready."""

    ours: tuple[str, ...]
    environment: dict[str, str]
    peer: tuple[str, ...] = ()
    tutorial: str = ""
    """Folder of safetensors for transformers; empty leaves it out."""
    tutorial_tasks: int = 3
    """It takes its time."""
    sizes: tuple[int, ...] = SIZES


def run(plan: Plan, tasks: Sequence[Trace], tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Time all ways in turns and return the report."""
    results: dict[tuple[str, int], Result] = {}

    def note(way: str, lines: int, seconds: float | None) -> None:
        result = results.setdefault((way, lines), Result(way, lines))
        if seconds is None:
            result.empty += 1
        else:
            result.seconds.append(seconds)

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nl2code-bench-")))
        home = {**plan.environment, "NL2CODE_HOME": str(folder)}
        ours = stack.enter_context(Host("nl2code", plan.ours, home))
        peer = stack.enter_context(Host(PEER, plan.peer)) if plan.peer else None
        asyncio.run(_ours_and_peer(ours, peer, home, folder, plan, tasks, note, tell))
    if plan.tutorial:
        _tutorial(plan, tasks, note, tell)
    return report(list(results.values()), ours.model)


async def _ours_and_peer(
    ours: Host,
    peer: Host | None,
    environment: dict[str, str],
    folder: Path,
    plan: Plan,
    tasks: Sequence[Trace],
    note: Callable[[str, int, float | None], None],
    tell: Callable[[str], None],
) -> None:
    async with Editor(environment, folder) as editor:
        await _timed(editor, ours, "first.py", tasks[0], plan.sizes[0], "cold")  # loads this and that
        for number, task in enumerate(tasks):
            for lines in plan.sizes:
                tell(f"{lines:,} lines, instruction {number + 1} of {len(tasks)}")
                for way in OURS:
                    name = f"task_{number}_{lines}_{way}.py"
                    note(way, lines, await _timed(editor, ours, name, task, lines, way))
                if peer:
                    for way, seconds in (await _plain(peer, f"peer {number} {lines}", task, lines)).items():
                        note(way, lines, seconds)


async def _timed(editor: Editor, host: Host, name: str, task: Trace, lines: int, way: str) -> float | None:
    """Return the seconds from the last key of an instruction to its offer; None without one."""
    # No file begins like another: what one has warmed is of no use to the next.
    text = f"# {name}\n{source(lines)}\n\n"
    before, last = task.text[:-1], task.text[-1]
    before_ahead, before_warm = await editor.ahead(), await figures(host)
    editor.open(name, text)
    if way == "warm":
        await _until(lambda: _warmed(host, before_warm))
    editor.key(before)
    editor.key(last)
    if way == "speculated":
        await _until(lambda: _begun(editor, host, before_ahead))
    started = time.perf_counter()
    items = await editor.ask(INVOKED)
    return time.perf_counter() - started if items else None


async def _until(condition: Callable[[], Any]) -> None:
    """Wait for work ahead; where none comes, what is timed is what a user would get."""
    for _ in range(int(SETTLE / LOOK)):
        if await condition():
            return
        await asyncio.sleep(LOOK)


async def _warmed(host: Host, before: dict[str, float]) -> bool:
    name = 'warm_requests_total{outcome="ok"}'
    return (await figures(host)).get(name, 0) > before.get(name, 0)


async def _begun(editor: Editor, host: Host, before: dict[str, int]) -> bool:
    begun = (await editor.ahead()).get("begun", 0) > before.get("begun", 0)
    return begun and not (await figures(host))["running"]


async def _plain(peer: Host, name: str, task: Trace, lines: int) -> dict[str, float]:
    """Return the seconds of a whole chat answer, cold and with the file known from another question."""
    cold = await _chat(peer, f"{name} cold", task.text, lines)
    await ask(peer, [_question(f"{name} warm", "# say what this file is for", lines)], tokens=4)
    return {"plain chat, cold": cold, "plain chat, warm": await _chat(peer, f"{name} warm", task.text, lines)}


async def _chat(peer: Host, name: str, instruction: str, lines: int) -> float:
    (timing,) = await ask(peer, [_question(name, instruction, lines)], tokens=PLAIN_TOKENS)
    return timing.last - timing.sent


def _question(name: str, instruction: str, lines: int) -> Chat:
    """Return what one would ask a chat: the file as far as its context goes, then the comment."""
    file = f"# {name}\n{source(min(lines, 300))}"
    asked = f"```python\n{file}```\n\nWrite the code for this comment:\n{instruction}"
    return [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": asked},
    ]


def _tutorial(
    plan: Plan,
    tasks: Sequence[Trace],
    note: Callable[[str, int, float | None], None],
    tell: Callable[[str], None],
) -> None:
    command = [sys.executable, "-P", "-c", TUTORIAL, plan.tutorial, str(PLAIN_TOKENS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            if not any(line.strip() == "READY" for line in process.stdout):
                raise HostError("transformers could not load the model", "leave --transformers out")
            for number, task in enumerate(tasks[: plan.tutorial_tasks]):
                for lines in plan.sizes:
                    tell(f"transformers: {lines:,} lines, instruction {number + 1}")
                    chat = _question(f"tutorial {number}", task.text, lines)
                    process.stdin.write(json.dumps(chat) + "\n")
                    process.stdin.flush()
                    took = next((line for line in process.stdout if line.startswith("TOOK ")), "")
                    if not took:
                        raise HostError("transformers ended in mid-answer", "leave --transformers out")
                    note("transformers generate", lines, float(took.split()[1]))
        finally:
            process.kill()


def report(results: Sequence[Result], model: str) -> dict[str, Any]:
    """Return the results as plain data: medians, ranges, ratios to the plain chat in the same state."""
    medians = {(one.way, one.lines): median(one.seconds) for one in results if one.seconds}
    rows = []
    for one in results:
        peer = medians.get((f"plain chat, {'cold' if one.way == 'cold' else 'warm'}", one.lines))
        own = medians.get((one.way, one.lines))
        rows.append(
            {
                "way": one.way,
                "lines": one.lines,
                "unit": "s",
                "median": None if own is None else round(own, 3),
                "low": round(min(one.seconds), 3) if one.seconds else None,
                "high": round(max(one.seconds), 3) if one.seconds else None,
                "offered": len(one.seconds),
                "empty": one.empty,
                "ratio": round(own / peer, 3) if own is not None and peer else None,
            }
        )
    return {"bench": "suggest", "machine": machine(), "model": model, "results": rows}
