"""`nl2code tune`: learn from the feedback log, or say what there is to learn from."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nl2code_server import config
from nl2code_server.feedback.identity import project_id
from nl2code_server.feedback.log import database

from ..tune import dataset, export, plan, rerank
from ..tune.recipe import Recipe

if TYPE_CHECKING:
    from ..tune.run import Outcome

out = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def register(parent: typer.Typer) -> None:
    """Add the command to `nl2code`."""
    parent.command()(tune)


def tune(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be learnt and what is missing; train nothing.")
    ] = False,
    export_: Annotated[
        Path | None,
        typer.Option(
            "--export", metavar="FOLDER", help="Write the data set there, as trl reads it, and stop."
        ),
    ] = None,
    from_repo: Annotated[
        list[Path] | None,
        typer.Option(
            "--from-repo",
            metavar="PATH",
            help="Learn from functions that you wrote in this git repository too.",
        ),
    ] = None,
    author: Annotated[
        str, typer.Option(help="Whose commits of it; left out, those of git's user.email.")
    ] = "",
    project: Annotated[
        Path | None, typer.Option(help="Learn from the suggestions in this workspace folder alone.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PART.NAME=VALUE", help="Change a value of the recipe; repeatable."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model to tune; left out, that of the settings.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 takes the physical cores.")] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Training processes, one for each GPU, by accelerate launch.")
    ] = 1,
    tasks: Annotated[int, typer.Option(min=0, help="Own tasks that the gate asks; 0 is all.")] = 0,
    no_promote: Annotated[
        bool, typer.Option("--no-promote", help="Compare, and let nothing new serve.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Retrain the model from what became of its suggestions.

    nl2code tune --dry-run
    nl2code tune --from-repo ~/src/shop --set training.rank=8

    It says first what it will learn from. An adapter serves only after it was compared with the one before on what
    was held out; `nl2code adapters` lists them and goes back.
    """
    recipe = Recipe().with_values(_pairs(set_))
    settings = config.load(flags={"model": model, "device": device, "threads": threads}).settings
    if from_repo:
        from ..tune.history import rows_from

    rows = [row for path in from_repo or () for row in rows_from(path, author=author)]
    records = dataset.read_log(database(settings), project=project_id(project) if project else "")
    data = dataset.build(records, recipe, repository=rows)
    report = plan.report(
        data, recipe, parameters=plan.parameters(settings.model), gpu=plan.has_gpu(settings.device)
    )
    ranking, report["ranking"] = rerank.learn(rerank.examples(records, recipe.cuts), data.parts.held_out)
    if export_ is not None:
        report["files"] = export.write(data, export_.absolute())
    if json_ and (dry_run or export_ is not None):
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        _explain(report, to=errors if json_ else out)
    if dry_run or export_ is not None:
        return
    from ..tune.run import Options
    from ..tune.run import tune as run

    options = Options(
        model=settings.model,
        engine=settings.engine,
        device=settings.device,
        threads=settings.threads,
        processes=processes,
        promote=not no_promote,
        task_limit=tasks,
    )
    outcome = run(data, recipe, options, _tell)
    if options.promote:
        rerank.use(ranking)
    if sys.stderr.isatty():
        errors.print()
    if json_:
        result = {name: getattr(outcome, name) for name in ("version", "passed", "promoted")}
        told = {**result, "report": outcome.verdict.report, "ranking": report["ranking"]}
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        _show(outcome)
    if not outcome.passed:
        raise typer.Exit(1)


def _tell(line: Mapping[str, Any]) -> None:
    """Say on stderr what is being done: one line that is written over in a terminal, else one for each step."""
    text = line.get("doing") or (
        f"{line['stage']}: step {line['step']} of {line['steps']}, loss {line['loss']:.4f}, "
        f"{_duration(line['seconds_left'])} left"
    )
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def _show(outcome: Outcome) -> None:
    report = outcome.verdict.report
    held, tasks = report["held_out"], report["tasks"]
    out.print(
        f"likeness to what you kept: {held['before']:.3f} to {held['after']:.3f} on {held['n']} held-out requests "
        f"(interval from {held['lower']:+.3f})"
    )
    out.print(f"tasks passed: {tasks['before']:.3f} to {tasks['after']:.3f} of {tasks['n']}")
    if outcome.promoted:
        out.print(f"{outcome.version} serves from now on; nl2code adapters rollback goes back.")
        for one in outcome.hosts:
            out.print(f"host {one.pid} ({one.engine}): {one.problem or 'changed over'}")
    elif outcome.passed:
        out.print(f"{outcome.version} is better; nl2code adapters promote {outcome.version} lets it serve.")
    for reason in outcome.verdict.reasons:
        out.print(f"refused: {reason}")


def _pairs(given: list[str] | None) -> dict[str, str]:
    values = {}
    for pair in given or []:
        name, equals, value = pair.partition("=")
        if not equals:
            raise typer.BadParameter(f"{pair} is not PART.NAME=VALUE", param_hint="--set")
        values[name.strip()] = value.strip()
    return values


def _explain(report: dict[str, Any], *, to: Console) -> None:
    """Say in a few lines what there is, what it will be used for, and what is missing."""
    kto = report["kto"]
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    table.add_row(
        "requests in the log", str(report["requests"]), f"{report['judged']} suggestions with a verdict"
    )
    table.add_row("to learn word for word", str(report["sft"]), _counted(report["sources"]))
    table.add_row("variants of them", str(sum(report["variants"].values())), _counted(report["variants"]))
    table.add_row("wanted and unwanted", f"{kto['desirable']} / {kto['undesirable']}", "")
    table.add_row("pairs of better and worse", str(report["dpo"]), _counted(report["pair_sources"]))
    table.add_row(
        "held out",
        str(report["held_out"]),
        f"newest {report['split_by']}s; {_counted(report['held_out_kinds'])}",
    )
    table.add_row("left out", str(sum(report["dropped"].values())), _counted(report["dropped"]))
    table.add_row("without a verdict", str(sum(report["skipped"].values())), _counted(report["skipped"]))
    to.print(table)
    for stage in report["stages"]:
        to.print(
            f"{stage['stage']}: {stage['rows']} rows"
            if stage["reason"] == ""
            else f"{stage['stage']}: not run, {stage['reason']}"
        )
    if report["seconds_estimated"]:
        to.print(f"about {_duration(report['seconds_estimated'])} of training here, perhaps three times that")
    ranking = report["ranking"]
    to.print(
        f"order of several answers: {'learnt' if ranking['used'] else 'as it was, ' + ranking['reason']}"
    )
    for line in report["missing"]:
        to.print(f"missing: {line}")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: -one[1]))


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"
