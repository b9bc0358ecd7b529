"""`nl2code demo`: the product in a minute, in the terminal, on the real model."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.syntax import Syntax
from rich.text import Text

from ..lang.instruction import at
from ..lang.splice import apply
from ..suggest import Job, Outcome, Suggestion
from .session import Session, session, verdict, whole
from .write import job_for

SENTENCE = "write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(demo)


def demo(
    sentence: Annotated[str, typer.Argument(help="What to ask for.")] = SENTENCE,
    fast: Annotated[bool, typer.Option("--fast", help="Without the pauses of a person who types.")] = False,
    save: Annotated[Path | None, typer.Option(help="Save what is shown as an SVG picture.")] = None,
) -> None:
    """See in a minute what nl2code does in an editor.

    A comment is typed, the suggestion appears as grey text, its example is run, it is accepted, logged and explained.
    The model is real; the log entries carry the surface `demo`, so that tuning leaves them out.
    """
    console = Console(record=save is not None, width=92 if save else None)
    code = asyncio.run(_demo(console, sentence, fast=fast))
    if save:
        save.write_text(_picture(console), encoding="utf-8")
    raise typer.Exit(code)


async def _demo(console: Console, sentence: str, *, fast: bool) -> int:
    async with session() as current:
        asked = job_for(sentence, 1)
        found = at(asked.snapshot, 0, attention="cursor") or asked.instruction
        job = Job(asked.snapshot, found, surface="demo", trigger="automatic")
        with Live(console=console, refresh_per_second=20, transient=True) as live:
            outcome = await _play(live, current, job, pause=0.0 if fast or not sys.stdout.isatty() else 0.035)
        if not outcome.suggestions:
            console.print(f"nothing was offered: {outcome.reason}", style="red")
            return 1
        best = outcome.suggestions[0]
        console.print(_editor(job.snapshot.text, whole(best), "Tab accepts"))
        console.print(Text.from_markup(_story(outcome, best)))
        current.event("offered", best)
        current.event("shown", best)
        current.event("accepted", best)
        await current.feedback.flush()
        console.print(_editor(apply(job.snapshot, best.edits), status="accepted"))
        console.print(Text.from_markup(_logged(outcome, best)))
    return 0 if best.status != "failed" else 1


def _picture(console: Console) -> str:
    """Return what was shown as SVG, without rich's web font: a picture must not ask another server for anything."""
    svg = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="nl2code demo"), flags=re.DOTALL)
    return svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace")


async def _play(live: Live, current: Session, job: Job, *, pause: float) -> Outcome:
    """Type the comment, then let the grey text grow while the model writes."""
    comment = job.snapshot.text
    for end in range(2, len(comment) + 1):
        live.update(_editor(comment[:end] + "▏"))
        await asyncio.sleep(pause)
    ghost = [""]

    def grow(piece: str) -> None:
        ghost[0] += piece
        live.update(_editor(comment, ghost[0]))

    current.on_stage = lambda stage: live.update(_editor(comment, ghost[0], stage))
    outcome = await current.suggest(job, on_text=grow)
    if outcome.suggestions:
        live.update(_editor(comment, whole(outcome.suggestions[0]), "Tab accepts"))
        await asyncio.sleep(pause * 60)
    return outcome


def _editor(text: str, ghost: str = "", status: str = "") -> RenderableType:
    parts: list[RenderableType] = [Syntax(text, "python", theme="ansi_dark", background_color="default")]
    if ghost:
        parts.append(Text(ghost.rstrip("\n"), style="dim italic"))
    return Panel(
        Group(*parts), title="demo.py", title_align="left", subtitle=status or None, subtitle_align="right"
    )


def _story(outcome: Outcome, best: Suggestion) -> str:
    stages = "  ".join(f"[dim]{seconds:5.2f} s[/] {stage}" for stage, seconds in outcome.trace.stages)
    return (
        f"asked as    {outcome.trace.kind}: {outcome.trace.detected}\n"
        f"answered by {outcome.model} in {outcome.seconds:.1f} s, {outcome.tokens} tokens\n"
        f"checked     {', '.join(check.check for check in best.checks if check.ok)}\n"
        f"verdict     {verdict(best)}\n"
        f"stages      {stages}"
    )


def _logged(outcome: Outcome, best: Suggestion) -> str:
    return (
        f"request     {outcome.request_id}\n"
        f"suggestion  {best.id}: offered, shown, [bold]accepted[/]\n"
        f"[dim]nl2code feedback list[/] shows it, [dim]nl2code explain[/] tells it again in full"
    )
