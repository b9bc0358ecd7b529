"""The report of one moment: as a page in one file, or as data."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nl2code_server.feedback.figures import Figures, Group, figures, no_figures
from nl2code_server.feedback.store import Store

from .page import Content, render
from .prospects import Asking, Prospects
from .runs import Run, runs


def page(database: Path, since: float | None, wait: float) -> tuple[str, str]:
    """Return the page, and what the user should know of the log. `wait` is how long the dry run may take, in s."""
    asking = Asking() if wait else None
    try:
        found, notice = counted(database, since=since)
        return render(Content(found, runs(), _prospects(asking, wait))), notice
    finally:
        if asking:
            asking.end()


def figures_json(database: Path, since: float | None, wait: float) -> dict[str, Any]:
    """Return what the page shows, as data."""
    asking = Asking() if wait else None
    try:
        found, _ = counted(database, since=since)
        told = _prospects(asking, wait)
    finally:
        if asking:
            asking.end()
    groups = ("over_time", "by_kind", "by_model", "by_adapter")
    return {
        **asdict(found),
        "total": _group(found.total),
        **{name: [_group(one) for one in getattr(found, name)] for name in groups},
        "runs": [_run(one) for one in runs()],
        "next": told.told,
        "next_problem": told.problem,
    }


def counted(database: Path, *, since: float | None = None) -> tuple[Figures, str]:
    """Count what a store holds, and say what is to be known of its opening. None is made where there is none."""
    if not database.exists() and not database.is_symlink():
        return no_figures(since), ""
    with Store(database) as store:
        found = figures(store, since=since)
        return found, store.notice


def _prospects(asking: Asking | None, wait: float) -> Prospects:
    return asking.wait(wait) if asking else Prospects(None, "it was not asked for")


def _group(group: Group) -> dict[str, Any]:
    return asdict(group) | {"acceptance": group.acceptance, "interval": group.interval}


def _run(run: Run) -> dict[str, Any]:
    return asdict(run) | {"verdict": run.verdict}
