"""`nl2code write`: code for one sentence."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.live import Live
from rich.syntax import Syntax

from ..lang.document import Snapshot
from ..lang.instruction import Instruction
from ..suggest import Job, Outcome
from .session import as_json, errors, print_code, session, verdict, whole


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("write")(write)


def write(
    instruction: Annotated[
        str, typer.Argument(help="What to write, in any language. `-` reads it from stdin.")
    ],
    candidates: Annotated[int | None, typer.Option("--candidates", "-n", help="How many to make.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Catalog id, GGUF path, or the endpoint's model name.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="OpenAI-compatible server to ask.")] = None,
    verify: Annotated[bool | None, typer.Option(help="Run the examples in the sandbox.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all candidates as JSON.")] = False,
) -> None:
    """Write Python for one sentence.

    An example in the sentence is run in a sandbox before the code is printed:

        nl2code write "write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6"

    The code goes to stdout, what is known of it to stderr. Exit code 0 if there is code that holds, 1 if not.
    """
    text = sys.stdin.read() if instruction == "-" else instruction
    if not text.strip():
        raise typer.BadParameter("there is nothing in it", param_hint="INSTRUCTION")
    flags = {"candidates": candidates, "model": model, "endpoint": endpoint, "verify": verify}
    raise typer.Exit(asyncio.run(_write(text.strip(), flags, json_output=as_json)))


def job_for(text: str, candidates: int) -> Job:
    """Make the job of an instruction that stands alone, as a comment in an empty file."""
    comment = "\n".join(f"# {line}" for line in text.splitlines())
    snapshot = Snapshot.from_text(comment)
    end = len(snapshot.lines) - 1
    instruction = Instruction(
        kind="comment",
        text=text,
        start=(0, 0),
        end=(end, len(snapshot.line(end))),
        fires=True,
        reason="it was asked for on the command line",
    )
    return Job(snapshot, instruction, candidates=candidates, surface="cli", trigger="invoked")


async def _write(text: str, flags: Mapping[str, object], *, json_output: bool) -> int:
    async with session(**flags) as current:
        job = job_for(text, current.suggester.settings.candidates)
        if json_output or not sys.stdout.isatty():
            outcome = await current.suggest(job)
        else:
            with Live(console=errors, transient=True, refresh_per_second=12) as live:
                shown = [""]

                def show(piece: str) -> None:
                    shown[0] += piece
                    live.update(Syntax(shown[0], "python", theme="ansi_dark", background_color="default"))

                current.on_stage = lambda stage: live.update(f"[dim]{stage}…[/]")
                outcome = await current.suggest(job, on_text=show)
        for suggestion in outcome.suggestions:
            current.event("offered", suggestion)
        return report(outcome, json_output=json_output)


def report(outcome: Outcome, *, json_output: bool) -> int:
    """Print what came of it and return the exit code."""
    if json_output:
        print(json.dumps(as_json(outcome), ensure_ascii=False))
    elif not outcome.suggestions:
        errors.print(f"nothing to offer: {outcome.reason}", style="red")
    else:
        best = outcome.suggestions[0]
        print_code(whole(best))
        errors.print(
            f"{verdict(best)} [dim]({outcome.model}, {outcome.seconds:.1f} s, {outcome.tokens} tokens)[/]"
        )
    return 0 if outcome.suggestions and outcome.suggestions[0].status != "failed" else 1
