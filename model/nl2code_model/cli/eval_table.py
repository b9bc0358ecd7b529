"""The result of `nl2code eval` as tables of at most 100 columns: arms, pairs, where the gain comes from, groups."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH = 100
# Title, key, and how it is shown.
_ROWS = (
    ("tasks", "tasks", "{}"),
    ("pass@1", "pass@1", "{:.1%}"),
    ("95 % interval", "interval", "{0[0]:.1%} – {0[1]:.1%}"),
    ("pass@1 on tests not shown", "hidden", "{:.1%}"),
    ("offered", "offered", "{:.1%}"),
    ("offered unasked", "unasked", "{:.1%}"),
    ("verified", "verified", "{:.1%}"),
    ("of verified: example holds when run again", "verified_holds", "{:.1%}"),
    ("of verified: all tests pass", "verified_passed", "{:.1%}"),
    ("failed, yet offered unasked (tasks)", "failed_unasked", "{}"),
    ("example does not hold, yet unasked (tasks)", "wrong_unasked", "{}"),
    ("of offered: file parses", "parses", "{:.1%}"),
    ("of offered: undefined names", "undefined", "{:.1%}"),
    ("of offered in projects: invented names", "invented", "{:.1%}"),
    ("annotated, where the file is", "annotated", "{:.1%}"),
    ("first answer passes (tasks)", "first_passes", "{}"),
    ("answers a task", "answers", "{}"),
    ("tokens generated", "tokens", "{}"),
    ("tokens offered", "tokens_offered", "{}"),
    ("generated / offered", "tokens_per_offered", "{:.2f}"),
    ("generated / offered, first answer passes", "tokens_per_offered_at_once", "{:.2f}"),
    ("median seconds to the first suggestion", "seconds", "{:.2f}"),
    ("time that the harness took", "harness", "{:.1%}"),
)
_OURS_ALONE = (
    "unasked", "verified", "verified_holds", "verified_passed", "failed_unasked", "wrong_unasked",
    "first_passes", "tokens_per_offered_at_once",
)  # fmt: skip
_GROUPS = (
    ("kind", "by_kind"),
    ("language", "by_language"),
    ("in a project", "by_project"),
    ("form", "by_form"),
)


def show(data: dict[str, Any], console: Console | None = None) -> None:
    """Print the result of a run, as `score.report` gives it."""
    console = console or Console(highlight=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    console.print(_arms(data))
    for name, pair in data["pairs"].items():
        if pair["tasks"]:
            _pair(console, name, pair)
    for name, arm in data["arms"].items():
        if stop := arm["early_stop"]:
            console.print(
                f"{name}: {stop['tokens_after']} of {arm['tokens']} tokens came after the code "
                f"({stop['tokens_after_per_task']} a task, {stop['seconds_after_per_task']:.2f} s), "
                f"{stop['tokens_before']} before it",
                markup=False,
            )
    console.print()
    if groups := _groups(data):
        console.print(groups)
    for line in data["warnings"]:
        console.print(Text(f"Note: {line}", style="yellow"))
    for name, arm in data["arms"].items():
        if arm["rebuilt_otherwise"]:
            console.print(
                Text(f"Note: {name}: {arm['rebuilt_otherwise']} files differ from what the record says")
            )


def _arms(data: dict[str, Any]) -> Table:
    version = f" {data['tasks_version']}" if data.get("tasks_version") else ""
    models = sorted({model for arm in data["arms"].values() for model in arm["models"]})
    table = Table(title=f"{', '.join(data['eval'])}{version}: {', '.join(models)}")
    table.add_column("", no_wrap=True)
    for arm in data["arms"]:
        table.add_column(Text(arm), justify="right")
    if len(models) > 1:
        table.add_row("model", *(", ".join(arm["models"]) for arm in data["arms"].values()))
    for title, name, shape in _ROWS:
        values = [
            None if name in _OURS_ALONE and not key.startswith("nl2code") else arm[name]
            for key, arm in data["arms"].items()
        ]
        if any(value is not None for value in values):
            table.add_row(title, *("" if value is None else shape.format(value) for value in values))
    return table


def _pair(console: Console, name: str, pair: dict[str, Any]) -> None:
    hidden = pair["hidden"]
    console.print(
        f"{name}: {pair['points']:+} points on {pair['tasks']} tasks, {pair['gained']} gained, {pair['lost']} lost "
        f"(McNemar p = {pair['p']})"
        + (f"; {hidden['points']:+} on tests not shown ({hidden['tasks']} tasks)" if hidden else ""),
        markup=False,
    )
    table = Table()
    for title in (
        "",
        "tasks",
        "seconds, median",
        "ratio",
        "tokens generated",
        "offered",
        "generated / offered",
    ):
        table.add_column(title, justify="right" if title else "left")
    for title, key in (("first passes", "at_once"), ("all offered", "over_all")):
        costs = pair[key]
        if costs["tasks"]:
            seconds = f"{costs['seconds']:.2f} / {costs['seconds_theirs']:.2f}"
            numbers = (costs["seconds_ratio"], costs["tokens"], costs["tokens_offered"])
            ratios = f"{costs['tokens_per_offered']} / {costs['tokens_per_offered_theirs']}"
            table.add_row(title, str(costs["tasks"]), seconds, *map(str, numbers), ratios)
    console.print(table)
    if pair["gain"]:
        console.print(_gain(pair["gain"]))


def _gain(stages: list[dict[str, Any]]) -> Table:
    table = Table(title="Where the gain comes from")
    for title in ("after", "passed", "gained", "lost", "points"):
        table.add_column(title, justify="left" if title == "after" else "right")
    for number, row in enumerate(stages):
        change = (f"+{row['gained']}", f"-{row['lost']}", f"{row['points']:+}") if number else ("", "", "")
        table.add_row(row["stage"], f"{row['passed']} of {row['tasks']}", *change)
    total = sum(row["points"] for row in stages)
    table.add_row("in all", "", "", "", f"{total:+.2f}")
    return table


def _groups(data: dict[str, Any]) -> Table | None:
    """Return passes by kind, language, project and form, where the tasks differ in them."""
    table = Table(title="Passed, by group")
    for title in ("", "", "tasks"):
        table.add_column(title, justify="right" if title else "left")
    for arm in data["arms"]:
        table.add_column(Text(arm), justify="right")
    for title, name in _GROUPS:
        found = [arm[name] for arm in data["arms"].values()]
        values = sorted({value for groups in found for value in groups})
        if len(values) < 2:
            continue
        for value in values:
            cells = [groups.get(value) for groups in found]
            tasks = max(cell["tasks"] for cell in cells if cell)
            shown = [
                f"{cell['passed']} ({cell['passed'] / cell['tasks']:.0%})" if cell else "" for cell in cells
            ]
            table.add_row(title, value, str(tasks), *shown)
            title = ""  # noqa: PLW2901
        table.add_section()
    return table if table.row_count else None
