"""`nl2code eval`: how often the first suggestion is right, measured on tasks with hidden tests."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from ..evaluate import run as evaluation
from ..evaluate import score, tasks
from ..evaluate.run import Arm, Progress, Results
from ..evaluate.transplant import FORMS, Case, case

errors = Console(stderr=True, highlight=False)
BASELINES = ("chat", "file")


def register(parent: typer.Typer) -> None:
    """Add the command to `nl2code`."""
    parent.command("eval")(evaluate)


def evaluate(
    path: Annotated[
        Path | None, typer.Argument(help="MBPP or HumanEval as published; left out, nl2code's own tasks.")
    ] = None,
    form: Annotated[
        list[str] | None, typer.Option(help=f"Where the task stands: {', '.join(FORMS)}, or all; repeatable.")
    ] = None,
    no_example: Annotated[bool, typer.Option(help="Withhold the example; give the head alone.")] = False,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Plain chat with the same model: `chat`, the text alone; `file`, with the file."),
    ] = None,
    with_: Annotated[
        list[str] | None, typer.Option("--with", help="SETTING=VALUE for the product; repeatable.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="SETTING=VALUE of a second configuration, compared with the first; repeatable."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSONL of every task; what it holds is not redone.")
    ] = None,
    limit: Annotated[int, typer.Option(help="So many tasks at most, drawn by the seed; 0 all.", min=0)] = 0,
    only: Annotated[str, typer.Option("--tasks", help="Ids of tasks, separated by commas.")] = "",
    seed: Annotated[int, typer.Option(help="Draws the tasks of --limit.")] = 0,
    test_seconds: Annotated[float, typer.Option(help="Time for the tests of one task.", min=0.1)] = 10.0,
    json_: Annotated[bool, typer.Option("--json", help="Print the JSON line only.")] = False,
) -> None:
    """Measure the suggestions of the language server on tasks with hidden tests.

    nl2code eval --baseline chat --output anchors.jsonl
    nl2code eval sanitized-mbpp.json --limit 100 --with candidates=3 --against candidates=1
    """
    chosen = _forms(form)
    arms = _arms(with_, against, baseline)
    cases = _cases(path or tasks.ANCHORS, chosen, not no_example, only, limit, seed)
    records = evaluation.run(cases, arms, Results(output), tell=_tell, test_seconds=test_seconds)
    data = score.report(records, [arm.name for arm in arms])
    if not json_:
        _print(data)
    typer.echo(json.dumps(data, ensure_ascii=False))


def _forms(given: list[str] | None) -> list[str]:
    forms = given or ["module"]
    if "all" in forms:
        return list(FORMS)
    for form in forms:
        if form not in FORMS:
            raise typer.BadParameter(f"{form} is none of {', '.join(FORMS)}, all", param_hint="--form")
    return forms


def _arms(with_: list[str] | None, against: list[str] | None, baselines: list[str] | None) -> list[Arm]:
    arms = [Arm(settings=_settings(with_, "--with"))]
    if against:
        arms.append(Arm(settings=_settings(against, "--against")))
    for baseline in baselines or []:
        if baseline not in BASELINES:
            raise typer.BadParameter(f"{baseline} is none of {', '.join(BASELINES)}", param_hint="--baseline")
        arms.append(Arm(baseline=baseline))  # type: ignore[arg-type]
    if len({arm.name for arm in arms}) < len(arms):
        raise typer.BadParameter("two arms are the same", param_hint="--against")
    return arms


def _settings(pairs: list[str] | None, option: str) -> dict[str, str]:
    settings = {}
    for pair in pairs or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair} is not SETTING=VALUE", param_hint=option)
        settings[name.strip()] = value.strip()
    return settings


def _cases(path: Path, forms: list[str], example: bool, only: str, limit: int, seed: int) -> list[Case]:
    found = tasks.read(path)
    if wanted := [name.strip() for name in only.split(",") if name.strip()]:
        missing = [name for name in wanted if name not in {task.id for task in found}]
        if missing:
            raise typer.BadParameter(f"there is no task {missing[0]}", param_hint="--tasks")
        found = [task for task in found if task.id in wanted]  # type: ignore[assignment]
    if limit and limit < len(found):
        drawn = sorted(random.Random(seed).sample(range(len(found)), limit))  # noqa: S311
        found = [found[number] for number in drawn]  # type: ignore[assignment]
    if isinstance(found[0], tasks.Anchor) and (forms != ["module"] or not example):
        raise typer.BadParameter("these tasks have places of their own", param_hint="--form")
    return [case(task, form, example=example) for form in forms for task in found]


def _tell(progress: Progress) -> None:
    """Say on stderr how far it is: one line that is written over in a terminal, else one for each task."""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    record = progress.record
    mark = "passed" if record["passed"] else "failed" if record["offered"] else "nothing offered"
    line = f"{progress.done}/{progress.total}, {minutes}:{seconds:02} left: {record['id']} ({record['arm']}) {mark}"
    if sys.stderr.isatty():
        end = "\n" if progress.done == progress.total else ""
        print(f"\r\x1b[K{line[:100]}", end=end, file=sys.stderr, flush=True)
    else:
        print(line, file=sys.stderr, flush=True)


# Title, key, and how it is shown.
_ROWS = (
    ("tasks", "tasks", "{}"),
    ("pass@1", "pass@1", "{:.1%}"),
    ("95 % interval", "interval", "{0[0]:.1%} – {0[1]:.1%}"),
    ("tests not shown", "hidden", "{:.1%}"),
    ("offered", "offered", "{:.1%}"),
    ("offered unasked", "unasked", "{:.1%}"),
    ("verified", "verified", "{:.1%}"),
    ("passed, of verified", "verified_passed", "{:.1%}"),
    ("parses, of offered", "parses", "{:.1%}"),
    ("undefined names, of offered", "undefined", "{:.1%}"),
    ("invented names, of projects", "invented", "{:.1%}"),
    ("annotated, where the file is", "annotated", "{:.1%}"),
    ("answers a task", "answers", "{}"),
    ("tokens generated", "tokens", "{}"),
    ("tokens offered", "tokens_offered", "{}"),
    ("seconds to the first", "seconds", "{}"),
)


def _print(data: dict[str, Any]) -> None:
    table = Table(title=f"{', '.join(data['eval'])}: {', '.join(_models(data))}")
    table.add_column("")
    for arm in data["arms"]:
        table.add_column(arm, justify="right")
    for title, name, shape in _ROWS:
        values = [arm[name] for arm in data["arms"].values()]
        if any(value is not None for value in values):
            table.add_row(title, *("" if value is None else shape.format(value) for value in values))
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    for name, pair in data["pairs"].items():
        console.print(
            f"{name}: {pair['points']:+} points on {pair['tasks']} tasks, {pair['gained']} gained and "
            f"{pair['lost']} lost (McNemar p = {pair['p']}), {pair['seconds_ratio']} x the seconds"
        )


def _models(data: dict[str, Any]) -> list[str]:
    return sorted({model for arm in data["arms"].values() for model in arm["models"]})
