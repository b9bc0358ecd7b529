"""The page: figures, plots, runs and prospects put into one file of HTML that asks for nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from nl2code_server.feedback.figures import EDGES, Figures, Group

from ..tune.recipe import Recipe
from . import charts, text
from .draw import drawn
from .prospects import Prospects
from .runs import Run

SHOWN = 12
"""Rows of a table that may have hundreds."""
CURVES = 3


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, what it shows in words, and its numbers."""

    key: str
    title: str
    says: str
    spec: charts.Spec
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def wide(self) -> bool:
        """Whether a small screen should scroll it rather than make it small."""
        return bool(self.spec.get("width", 0) > charts.NARROW * 2)

    @property
    def svg(self) -> Markup:
        """Draw it."""
        return Markup(drawn(self.spec, f"{self.title}. {self.says}", self.key))  # noqa: S704 - see `draw`


@dataclass(frozen=True, slots=True)
class Live:
    """What a page that is served can do besides."""

    key: str
    """Goes with what is sent back."""
    state: str = ""
    """Tells one state of the log from another."""
    period: str = ""
    notice: str = ""
    periods: Sequence[tuple[str, str]] = (
        ("", "everything"),
        ("90d", "90 days"),
        ("30d", "30 days"),
        ("7d", "7 days"),
    )


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that tuning needs so many of."""

    name: str
    there: int
    wanted: int


@dataclass(frozen=True, slots=True)
class Content:
    """Everything on the page."""

    figures: Figures
    runs: Sequence[Run]
    prospects: Prospects | None
    """None while they are being counted."""
    live: Live | None = None
    plots: dict[str, Plot] = field(default_factory=dict)


def render(content: Content) -> str:
    """Return the page."""
    figures = content.figures
    plots = {plot.key: plot for plot in _plots(figures, content.runs)} if figures.total.requests else {}
    style, script = _asset("page.css"), _asset("page.js") if content.live else ""
    return (
        _environment()
        .from_string(_asset("page.html.j2"))
        .render(
            figures=figures,
            total=figures.total,
            runs=content.runs,
            curves=[_curve(run, number) for number, run in enumerate(content.runs[:CURVES]) if run.stages],
            prospects=content.prospects,
            goals=_goals(content.prospects),
            live=content.live,
            plots=plots,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
            policy=policy(live=content.live is not None),
            cancelled=sum(one.requests for one in figures.nothing if one.outcome == "cancelled"),
            empty=sum(one.requests for one in figures.nothing if one.outcome != "cancelled"),
        )
    )


@cache
def policy(*, live: bool) -> str:
    """Return the content security policy: nothing is loaded, and only our own style and script run."""
    told = ["default-src 'none'", f"style-src {_hash('page.css')}", "img-src data:", "base-uri 'none'"]
    if live:
        told += [f"script-src {_hash('page.js')}", "connect-src 'self'"]
    told.append("form-action 'self'" if live else "form-action 'none'")
    return "; ".join(told)


def _hash(name: str) -> str:
    digest = hashlib.sha256(_asset(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Callable[..., str]] = {
        name: getattr(text, name)
        for name in ("plain", "percent", "span", "number", "seconds", "signed", "moment")
    }
    environment.filters.update(filters)
    # Whatever is put in from the log is made visible before it is escaped.
    environment.finalize = lambda value: value if isinstance(value, Markup) else text.plain(value)
    return environment


def _plots(figures: Figures, runs: Sequence[Run]) -> list[Plot]:
    total = figures.total
    head = ("", "requests", "offered", "taken", "acceptance", "95 %", "left of it", "measured")
    found: list[Plot] = []
    if total.offered:
        found += [
            Plot(
                "over-time",
                "Taken, and what is left of it",
                f"{text.percent(total.acceptance)} of {text.number(total.offered)} suggestions were taken; "
                f"{text.percent(total.kept)} of the code is still there.",
                charts.over_time(figures, runs),
                (figures.step, *head[1:]),
                [_row(group) for group in figures.over_time],
            ),
            Plot(
                "volume",
                "What became of what was offered",
                f"{text.number(total.taken)} taken whole, {text.number(total.partly)} in part, "
                f"{text.number(total.refused)} turned down, {text.number(total.left)} closed or left alone.",
                charts.volume(figures),
                (figures.step, "offered", "taken whole", "in part", "turned down", "closed or left alone"),
                [
                    (one.name, *map(text.number, (one.offered, one.taken, one.partly, one.refused, one.left)))
                    for one in figures.over_time
                ],
            ),
            Plot(
                "verified",
                "What was known of it",
                f"{text.number(total.verified)} passed the examples of their instruction, {text.number(total.valid)} "
                f"had none to run, {text.number(total.failed)} failed them and were offered as failed.",
                charts.verified(figures),
                (figures.step, "offered", "verified", "valid", "failed", "verified share"),
                [
                    (
                        one.name,
                        *map(text.number, (one.offered, one.verified, one.valid, one.failed)),
                        text.percent(one.verified / one.offered if one.offered else None),
                    )
                    for one in figures.over_time
                ],
            ),
        ]
        for key, name, groups in (
            ("kind", "kind of instruction", figures.by_kind),
            ("model", "model", figures.by_model),
            ("adapter", "adapter", figures.by_adapter),
        ):
            if any(group.offered for group in groups):
                best = max((one for one in groups if one.offered), key=lambda one: one.acceptance or 0.0)
                found.append(
                    Plot(
                        f"by-{key}",
                        f"By {name}",
                        f"{text.plain(best.name, 60) or charts.NO_NAME} was taken most often, "
                        f"{text.percent(best.acceptance)} of {text.number(best.offered)}.",
                        charts.by(groups, charts.MIDDLE if key == "adapter" else charts.NARROW),
                        (name, *head[1:]),
                        [_row(group) for group in groups[:SHOWN]],
                    )
                )
    return [*found, *_more_plots(figures, runs)]


def _more_plots(figures: Figures, runs: Sequence[Run]) -> list[Plot]:
    found = []
    if speed := figures.speed:
        edges = [f"{edge:g} s" for edge in EDGES]
        names = [f"up to {edges[0]}", *(f"{a} to {b}" for a, b in pairwise(edges))]
        found += [
            Plot(
                "histogram",
                "Seconds to the first suggestion",
                f"Half of {text.number(speed.requests)} requests took no longer than {text.seconds(speed.median)}, "
                f"nine of ten no longer than {text.seconds(speed.ninth)}.",
                charts.histogram(figures),
                ("seconds", "requests"),
                [
                    (name, text.number(n))
                    for name, n in zip([*names, f"above {edges[-1]}"], figures.histogram, strict=True)
                ],
            ),
            Plot(
                "speed",
                "Seconds over time",
                "The median and the ninth decile.",
                charts.speed(figures),
                (figures.step, "requests", "half took no longer than", "nine of ten"),
                [
                    (one.name, text.number(one.requests), text.seconds(one.median), text.seconds(one.ninth))
                    for one in figures.speed_over_time
                ],
            ),
        ]
    if reasons := [one for one in figures.nothing if one.outcome != "cancelled"]:
        found.append(
            Plot(
                "nothing",
                "Reasons",
                f"The most frequent: {text.plain(reasons[0].reason or reasons[0].outcome, 80)}, "
                f"{text.number(reasons[0].requests)} times.",
                charts.nothing(reasons),
                ("outcome", "reason", "requests"),
                [(one.outcome, one.reason, text.number(one.requests)) for one in reasons[:SHOWN]],
            )
        )
    if compared := [run for run in runs if run.held_out or run.tasks][:6]:
        found.append(
            Plot(
                "gate",
                "What the gate found",
                f"{sum(run.passed for run in compared)} of {len(compared)} passed. The bar reaches from the gain to "
                "the lower end of its interval; for likeness that has to be above zero, for tasks not far below.",
                charts.gate(compared),
                (
                    "run",
                    "verdict",
                    "likeness before",
                    "after",
                    "at least",
                    "tasks before",
                    "after",
                    "at least",
                ),
                [_gate_row(run) for run in compared],
            )
        )
    return found


def _curve(run: Run, number: int) -> Plot:
    said = ", ".join(
        f"{one.name} {one.curve[0][1]:.3f} to {one.curve[-1][1]:.3f}" for one in run.stages if one.curve
    )
    return Plot(
        f"curve-{number}",
        f"Loss of {text.plain(run.name, 40)}",
        f"{said}.",
        charts.curves(run),
        ("stage", "rows", "steps", "seconds", "loss at first", "loss at last"),
        [
            (
                one.name,
                text.number(one.rows),
                text.number(one.steps),
                text.number(one.seconds),
                *(f"{end[1]:.4f}" for end in (one.curve[0], one.curve[-1])),
            )
            for one in run.stages
            if one.curve
        ],
    )


def _gate_row(run: Run) -> tuple[str, ...]:
    row = [run.name, run.verdict]
    for side in (run.held_out, run.tasks):
        row += (
            [f"{side.before:.3f}", f"{side.after:.3f}", text.signed(side.lower)] if side else [text.NONE] * 3
        )
    return tuple(row)


def _row(group: Group) -> tuple[str, ...]:
    return (
        text.plain(group.name, 60) or charts.NO_NAME,
        text.number(group.requests),
        text.number(group.offered),
        text.number(group.taken),
        text.percent(group.acceptance),
        text.span(group.interval),
        text.percent(group.kept),
        text.number(group.measured),
    )


def _goals(prospects: Prospects | None) -> list[Goal]:
    told: dict[str, Any] = (prospects.told or {}) if prospects else {}
    if not told:
        return []
    least = Recipe().least
    kto = told.get("kto", {})
    return [
        Goal("taken or turned down", _count(told.get("judged")), least.judged),
        Goal("to learn word for word", _count(told.get("sft")), least.sft),
        Goal("wanted", _count(kto.get("desirable")), least.kto_each),
        Goal("unwanted", _count(kto.get("undesirable")), least.kto_each),
        Goal("pairs of better and worse", _count(told.get("dpo")), least.dpo),
        Goal("held out for the comparison", _count(told.get("held_out")), least.held_out),
    ]


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
