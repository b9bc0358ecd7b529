"""`nl2code eval`: how often the first suggestion is right, measured on tasks with hidden tests."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Annotated

import typer

from ..evaluate import run as evaluation
from ..evaluate import score, tasks
from ..evaluate.references import check
from ..evaluate.run import Arm, Progress, Results
from ..evaluate.tasks import Anchor, Problem
from ..evaluate.transplant import FORMS, Case, case
from . import eval_detector
from .eval_table import show

BASELINES = ("chat", "file")


def register(parent: typer.Typer) -> None:
    """Add the commands to `nl2code`."""
    parent.command("eval")(evaluate)
    eval_detector.register(parent)


def evaluate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="MBPP, HumanEval or ODEX as published; left out, nl2code's own tasks."),
    ] = None,
    form: Annotated[
        list[str] | None, typer.Option(help=f"Where the task stands: {', '.join(FORMS)}, or all; repeatable.")
    ] = None,
    no_example: Annotated[bool, typer.Option(help="Withhold the example; give the head alone.")] = False,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Plain chat with the same model: `chat`, the text alone; `file`, with the file."),
    ] = None,
    baseline_only: Annotated[
        bool, typer.Option(help="Run the baseline alone; --with then says which model is asked.")
    ] = False,
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
    earlier: Annotated[
        list[Path] | None,
        typer.Option(help="JSONL of an earlier run: taken as done, not changed; repeatable."),
    ] = None,
    limit: Annotated[int, typer.Option(help="So many tasks at most, drawn by the seed; 0 all.", min=0)] = 0,
    only: Annotated[str, typer.Option("--tasks", help="Ids of tasks, separated by commas.")] = "",
    kind: Annotated[list[str] | None, typer.Option(help="Own tasks of this kind alone; repeatable.")] = None,
    language: Annotated[
        list[str] | None, typer.Option(help="Tasks in this natural language alone (zh); repeatable.")
    ] = None,
    project: Annotated[
        bool | None,
        typer.Option("--project/--single-file", help="Own tasks in projects alone, or the others."),
    ] = None,
    references: Annotated[
        bool, typer.Option(help="Ask nobody: do the published answers pass, and does doing nothing fail?")
    ] = False,
    no_library: Annotated[bool, typer.Option(help="Of ODEX, tasks alone that need no library.")] = False,
    seed: Annotated[int, typer.Option(help="Draws the tasks of --limit.")] = 0,
    test_seconds: Annotated[float, typer.Option(help="Time for the tests of one task.", min=0.1)] = 10.0,
    json_: Annotated[bool, typer.Option("--json", help="Print the JSON line only.")] = False,
) -> None:
    """Measure the suggestions of the language server on tasks with hidden tests.

    nl2code eval --baseline chat --output anchors.jsonl
    nl2code eval --project --with context=project --against context=none
    nl2code eval sanitized-mbpp.json --limit 100 --with candidates=3 --against candidates=1
    """
    chosen = _forms(form)
    arms = _arms(with_, against, baseline, baseline_only)
    found = [task for path in paths or [tasks.ANCHORS] for task in tasks.read(path)]
    found = _filtered(found, only, kind or [], language or [], project, no_library)
    if references:
        typer.echo(json.dumps(check(found, seconds=test_seconds), ensure_ascii=False))
        return
    cases = _cases(found, chosen, not no_example, limit, seed)
    records = evaluation.run(
        cases,
        arms,
        Results(output, earlier or []),
        host=_settings(with_, "--with"),
        tell=_tell,
        test_seconds=test_seconds,
    )
    data = {"tasks_version": tasks.VERSION if paths is None else None} | score.report(
        records, [arm.name for arm in arms]
    )
    if not json_:
        show(data)
    typer.echo(json.dumps(data, ensure_ascii=False))


def _forms(given: list[str] | None) -> list[str]:
    forms = given or ["module"]
    if "all" in forms:
        return list(FORMS)
    for form in forms:
        if form not in FORMS:
            raise typer.BadParameter(f"{form} is none of {', '.join(FORMS)}, all", param_hint="--form")
    return forms


def _arms(
    with_: list[str] | None, against: list[str] | None, baselines: list[str] | None, alone: bool
) -> list[Arm]:
    arms = [] if alone else [Arm(settings=_settings(with_, "--with"))]
    if alone and (against or not baselines):
        raise typer.BadParameter("takes --baseline and no --against", param_hint="--baseline-only")
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


def _filtered(
    found: list[Anchor | Problem],
    only: str,
    kinds: list[str],
    languages: list[str],
    project: bool | None,
    no_library: bool,
) -> list[Anchor | Problem]:
    """Return the tasks that are asked for; a name that none of them has is told."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    for option, wanted, there in (
        ("--tasks", names, {task.id for task in found}),
        ("--kind", kinds, {_kind(task) for task in found}),
        ("--language", languages, {task.natural_language for task in found}),
    ):
        if missing := [name for name in wanted if name not in there]:
            raise typer.BadParameter(f"there is no task {missing[0]}", param_hint=option)
    left = [
        task
        for task in found
        if (not names or task.id in names)
        and (not kinds or _kind(task) in kinds)
        and (not languages or task.natural_language in languages)
        and (project is None or (isinstance(task, Anchor) and task.project) == project)
        and not (no_library and isinstance(task, Problem) and task.libraries)
    ]
    if not left:
        raise typer.BadParameter("no task is left")
    return left


def _kind(task: Anchor | Problem) -> str:
    return task.kind if isinstance(task, Anchor) else "function"


def _cases(
    found: list[Anchor | Problem], forms: list[str], example: bool, limit: int, seed: int
) -> list[Case]:
    if limit and limit < len(found):
        drawn = sorted(random.Random(seed).sample(range(len(found)), limit))  # noqa: S311
        found = [found[number] for number in drawn]
    if isinstance(found[0], Anchor) and (forms != ["module"] or not example):
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
