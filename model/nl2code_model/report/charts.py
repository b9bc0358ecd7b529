"""What is plotted, as Vega-Lite: figures in, specifications out. Pure.

Colours are the page's own variables, so that one picture serves light and dark; each series has a shape or a dash
beside its colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from nl2code_server.feedback.figures import EDGES, Figures, Group, Nothing

from .runs import Run
from .text import plain

Spec = dict[str, Any]

WIDE, MIDDLE, NARROW = 1010, 620, 320  # px
BLUE, ORANGE, GREEN, RED, GREY = (f"var(--{name})" for name in ("blue", "orange", "green", "red", "grey"))
INK, SOFT, LINE, PAPER = (f"var(--{name})" for name in ("ink", "soft", "line", "paper"))
GROUPS = 8
"""Models, adapters and reasons that a plot shows; the table has more."""
POINTS = 120
NO_NAME = "(no name)"
LONGEST = 46  # characters of a name

CONFIG: Spec = {
    "background": None,
    "aria": False,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": SOFT,
        "titleColor": SOFT,
        "titleFontWeight": "normal",
        "titleFontSize": 12,
        "labelFontSize": 12,
        "gridColor": LINE,
        "domainColor": LINE,
        "tickColor": LINE,
        "labelLimit": 220,
        "titlePadding": 8,
    },
    "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
    "axisX": {"grid": False},
    "legend": {
        "labelColor": INK,
        "labelFontSize": 12,
        "orient": "top",
        "title": None,
        "symbolStrokeWidth": 2,
        "symbolSize": 70,
        "columnPadding": 36,
    },
    "header": {"labelColor": INK, "labelFontSize": 12, "title": None},
    "line": {"strokeWidth": 2.2},
    "rule": {"strokeWidth": 1.4},
}


def over_time(figures: Figures, adapters: Sequence[Run] = ()) -> Spec:
    """Acceptance and kept ratio: two lines."""
    values = [
        {"time": group.name, "what": what, "share": share}
        for group in figures.over_time
        for what, share in (
            ("taken, of those offered", group.acceptance),
            ("left of what was taken", group.kept),
        )
        if share is not None
    ]
    names = ["taken, of those offered", "left of what was taken"]
    time = _time(figures)
    lines: Spec = {
        "data": {"values": values},
        "mark": {"type": "line", "point": {"filled": True, "size": 42}},
        "encoding": {
            "x": time,
            "y": _share("share"),
            "color": _colours("what", names, [BLUE, ORANGE]),
            "strokeDash": {
                "field": "what",
                "scale": {"domain": names, "range": [[1, 0], [6, 3]]},
            },
            "shape": {"field": "what", "scale": {"domain": names, "range": ["circle", "diamond"]}},
        },
    }
    made: list[Spec] = [
        {"time": run.made * 1000, "name": plain(run.name, 24)} for run in adapters if run.current
    ]
    marks: list[Spec] = []
    if made and figures.first is not None and made[0]["time"] >= figures.first * 1000:
        at = {"field": "time", "type": "temporal"}
        data = {"values": made}
        marks = [
            {
                "data": data,
                "mark": {"type": "rule", "color": GREY, "strokeDash": [2, 3]},
                "encoding": {"x": at},
            },
            {
                "data": data,
                "mark": {
                    "type": "text",
                    "align": "right",
                    "dx": -5,
                    "dy": 6,
                    "baseline": "top",
                    "color": SOFT,
                },
                "encoding": {
                    "x": at,
                    "y": {"value": 0},
                    "text": {"value": "the adapter that serves was made"},
                },
            },
        ]
    return _chart({"layer": [lines, *marks]}, WIDE, 230)


def volume(figures: Figures) -> Spec:
    """Suggestions offered, by what became of them: stacked bars."""
    parts = ("taken", "partly", "refused", "left")
    names = ["taken whole", "taken in part", "turned down", "closed or left alone"]
    values = [
        {"time": group.name, "what": name, "order": order, "n": getattr(group, part)}
        for group in figures.over_time
        for order, (part, name) in enumerate(zip(parts, names, strict=True))
    ]
    return _chart(_stack(figures, values, names, [BLUE, GREEN, ORANGE, GREY], "suggestions", None), WIDE, 150)


def verified(figures: Figures) -> Spec:
    """Verified, valid and failed as shares of what was offered: stacked bars."""
    names = ["verified", "valid", "failed"]
    values = [
        {"time": group.name, "what": name, "order": order, "n": getattr(group, name)}
        for group in figures.over_time
        for order, name in enumerate(names)
    ]
    return _chart(_stack(figures, values, names, [GREEN, GREY, ORANGE], "share", "normalize"), WIDE, 180)


def by(groups: Sequence[Group], width: int = NARROW) -> Spec:
    """Acceptance with its interval, and what was kept, for each group: dots."""
    shown = [group for group in groups if group.offered][:GROUPS]
    names = ["taken", "left of it"]
    values: list[Spec] = []
    for group in shown:
        low, high = group.interval or (0.0, 0.0)
        row = {"name": name_of(group)}
        values.append(row | {"what": "taken", "share": group.acceptance, "low": low, "high": high})
        if group.kept is not None:
            values.append(row | {"what": "left of it", "share": group.kept})
    y: Spec = {
        "field": "name",
        "type": "nominal",
        "sort": [name_of(group) for group in shown],
        "axis": _names([name_of(group) for group in shown]) | {"grid": True},
    }
    x = _share("share")
    bottom: Spec = {"field": "low", "type": "quantitative"}
    spread: Spec = {
        "transform": [{"filter": "datum.what === 'taken'"}],
        "mark": {"type": "rule", "color": BLUE, "strokeWidth": 5, "opacity": 0.3, "strokeCap": "round"},
        "encoding": {"y": y, "x": bottom, "x2": {"field": "high"}},
    }
    dots: Spec = {
        "mark": {"type": "point", "filled": True, "size": 85, "opacity": 1},
        "encoding": {
            "y": y,
            "x": x,
            "color": _colours("what", names, [BLUE, ORANGE]),
            "shape": {"field": "what", "scale": {"domain": names, "range": ["circle", "diamond"]}},
        },
    }
    return _chart({"data": {"values": values}, "layer": [spread, dots]}, width, max(1, len(shown)) * 30)


def name_of(group: Group) -> str:
    """Return a group's name as a plot has room for it: its beginning and its end tell it from others."""
    name = plain(group.name) or NO_NAME
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 3]}…{name[-LONGEST // 2 :]}"


def histogram(figures: Figures) -> Spec:
    """Requests by seconds to the suggestion."""
    edges = [f"{edge:g}" for edge in EDGES]
    names = [f"≤ {edges[0]}", *(f"{a}-{b}" for a, b in pairwise(edges)), f"> {edges[-1]}"]
    values = [{"bin": name, "n": n} for name, n in zip(names, figures.histogram, strict=True)]
    return _chart(
        {
            "data": {"values": values},
            "mark": {"type": "bar", "color": BLUE, "cornerRadiusEnd": 2},
            "encoding": {
                "x": {
                    "field": "bin",
                    "type": "ordinal",
                    "sort": names,
                    "axis": {"title": "seconds", "labelAngle": 0, "labelFontSize": 11},
                },
                "y": _count("n", "requests"),
            },
        },
        NARROW + 120,
        170,
    )


def speed(figures: Figures) -> Spec:
    """Median and ninth decile of the seconds, over time."""
    names = ["half took no longer", "nine of ten took no longer"]
    values = [
        {"time": one.name, "what": name, "seconds": value}
        for one in figures.speed_over_time
        for name, value in zip(names, (one.median, one.ninth), strict=True)
    ]
    return _chart(
        {
            "data": {"values": values},
            "mark": {"type": "line", "point": {"filled": True, "size": 36}},
            "encoding": {
                "x": _time(figures),
                "y": _count("seconds", "seconds"),
                "color": _colours("what", names, [BLUE, ORANGE]),
                "strokeDash": {"field": "what", "scale": {"domain": names, "range": [[1, 0], [6, 3]]}},
            },
        },
        NARROW + 60,
        170,
    )


def nothing(reasons: Sequence[Nothing]) -> Spec:
    """Requests that came to nothing, by reason: bars."""
    shown: list[Spec] = [
        {"reason": plain(one.reason or one.outcome, 70), "n": one.requests, "order": order}
        for order, one in enumerate(reasons[:GROUPS])
    ]
    y: Spec = {
        "field": "reason",
        "type": "nominal",
        "sort": {"field": "order"},
        "axis": _names([one["reason"] for one in shown]),
    }
    x: Spec = {"field": "n", "type": "quantitative", "axis": None}
    bars: Spec = {"mark": {"type": "bar", "color": GREY, "cornerRadiusEnd": 2}, "encoding": {"x": x, "y": y}}
    labels: Spec = {
        "mark": {"type": "text", "align": "left", "dx": 5, "color": INK, "fontSize": 12},
        "encoding": {"x": x, "y": y, "text": {"field": "n", "format": ","}},
    }
    return _chart({"data": {"values": shown}, "layer": [bars, labels]}, MIDDLE, max(1, len(shown)) * 26)


def curves(run: Run) -> Spec:
    """The loss of each stage of a run."""
    values = [
        {"stage": stage.name, "step": step, "loss": loss}
        for stage in run.stages
        for step, loss in stage.curve[:: max(1, len(stage.curve) // POINTS)]
    ]
    names = [stage.name for stage in run.stages]
    return _chart(
        {
            "data": {"values": values},
            "mark": {"type": "line"},
            "encoding": {
                "x": {"field": "step", "type": "quantitative", "axis": {"title": "step", "tickMinStep": 1}},
                "y": {
                    "field": "loss",
                    "type": "quantitative",
                    "scale": {"zero": False},
                    "axis": {"title": "loss", "tickCount": 4},
                },
                "color": _colours("stage", names, [BLUE, ORANGE, GREEN][: len(names)]),
                "strokeDash": {
                    "field": "stage",
                    "scale": {"domain": names, "range": [[1, 0], [6, 3], [2, 2]][: len(names)]},
                },
            },
        },
        MIDDLE // 2 + 90,
        130,
    )


def gate(runs: Sequence[Run]) -> Spec:
    """What the gate found: the gain of each run, and the lower end of its interval."""
    values = [
        {"run": run.name, "what": what, "gain": side.delta, "low": side.lower, "passed": run.verdict}
        for run in runs
        for what, side in (("likeness to what you kept", run.held_out), ("tasks passed", run.tasks))
        if side
    ]
    order = [run.name for run in runs]
    y: Spec = {"field": "run", "type": "nominal", "sort": order, "axis": _names(order) | {"grid": True}}
    x: Spec = {
        "field": "gain",
        "type": "quantitative",
        "axis": {"format": "+.0%", "title": "gain over what served", "tickCount": 5, "grid": True},
    }
    verdicts = ["passed", "refused"]
    zero: Spec = {"mark": {"type": "rule", "color": SOFT}, "encoding": {"x": {"datum": 0}}}
    spread: Spec = {
        "mark": {"type": "rule", "strokeWidth": 5, "opacity": 0.35, "strokeCap": "round", "clip": True},
        "encoding": {
            "y": y,
            "x": x | {"field": "low"},
            "x2": {"field": "gain"},
            "color": _verdict(verdicts, False),
        },
    }
    dots: Spec = {
        "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
        "encoding": {
            "y": y,
            "x": x,
            "color": _verdict(verdicts, True),
            "shape": {"field": "passed", "scale": {"domain": verdicts, "range": ["circle", "cross"]}},
        },
    }
    inner: Spec = {"layer": [zero, spread, dots], "width": 380, "height": max(1, len(runs)) * 32}
    facet = {"field": "what", "type": "nominal", "sort": ["likeness to what you kept", "tasks passed"]}
    return {"data": {"values": values}, "facet": {"column": facet}, "spec": inner, "config": CONFIG}


def _verdict(names: list[str], legend: bool) -> Spec:
    colour = _colours("passed", names, [GREEN, ORANGE])
    return colour if legend else colour | {"legend": None}


def _stack(
    figures: Figures, values: list[Spec], names: list[str], colours: list[str], title: str, stack: str | None
) -> Spec:
    y: Spec = {"field": "n", "type": "quantitative", "stack": stack or "zero"}
    axis: Spec = {"title": None if stack else title, "tickCount": 4, "format": "%" if stack else "~s"}
    return {
        "data": {"values": values},
        "mark": {"type": "bar", "stroke": PAPER, "strokeWidth": 1},
        "encoding": {
            "x": _time(figures, band=True),
            "y": y | {"axis": axis},
            "color": _colours("what", names, colours),
            "order": {"field": "order"},
        },
    }


def _chart(spec: Spec, width: int, height: int) -> Spec:
    return {**spec, "width": width, "height": height, "config": CONFIG}


def _time(figures: Figures, *, band: bool = False) -> Spec:
    """Return the axis of time: days and weeks by their first day, at even distances."""
    unit = {"day": "yearmonthdate", "week": "yearmonthdate", "month": "yearmonth"}[figures.step]
    form = {"day": "%d %b", "week": "%d %b", "month": "%b %Y"}[figures.step]
    axis: Spec = {"title": None, "format": form, "labelAngle": 0, "labelOverlap": True, "tickCount": 8}
    if band and figures.step == "week":
        # A bar is a week wide, not a day.
        names = [group.name for group in figures.over_time]
        every = max(1, len(names) // 8)
        shown = names[::every]
        return {
            "field": "time",
            "type": "ordinal",
            "axis": axis
            | {"format": "", "values": shown, "labelExpr": "timeFormat(toDate(datum.value), '%d %b')"},
        }
    return {"field": "time", "type": "temporal", "timeUnit": unit, "axis": axis}


def _names(names: Sequence[str]) -> Spec:
    """Return an axis with room for names in whatever font the reader has."""
    longest = max(map(len, names), default=0)
    return {"title": None, "labelLimit": 460, "minExtent": round(7.4 * longest) + 8}


def _share(field: str) -> Spec:
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"domain": [0, 1]},
        "axis": {"format": "%", "title": None, "tickCount": 5},
    }


def _count(field: str, title: str) -> Spec:
    return {"field": field, "type": "quantitative", "axis": {"title": title, "tickCount": 4, "format": "~s"}}


def _colours(field: str, names: Sequence[str], colours: Sequence[str]) -> Spec:
    return {"field": field, "type": "nominal", "scale": {"domain": list(names), "range": list(colours)}}
