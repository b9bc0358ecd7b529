"""The figures of the log are what their definitions say, counted in another way."""

from __future__ import annotations

import bisect
import math
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.counting import DIMENSIONS, counted, seconds
from fakes.history import DAY, fill
from fakes.rows import candidate_row, event_row, request_row
from nl2code_server.feedback.figures import EDGES, Figures, Group, Step, figures, wilson
from nl2code_server.feedback.store import Store

NOW = time.time()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "feedback.db"
    fill(path, 700, now=NOW)
    return path


def read(path: Path, **options: Any) -> Figures:
    with Store(path) as store:
        return figures(store, **options)


def same(groups: list[Group], wanted: dict[str, dict[str, Any]]) -> None:
    assert {group.name for group in groups} == set(wanted)
    for group in groups:
        for name, value in wanted[group.name].items():
            assert getattr(group, name) == pytest.approx(value), (group.name, name)
        assert group.measured == wanted[group.name].get("measured", 0)


@pytest.mark.parametrize("since", [None, NOW - 50 * DAY], ids=["all", "since"])
def test_every_group_is_what_other_queries_count(path: Path, since: float | None) -> None:
    found, start = read(path, since=since), -math.inf if since is None else since
    same([found.total], counted(path, since=start))
    for name, column in DIMENSIONS.items():
        same(getattr(found, name), counted(path, column, start))
    assert found.total.offered == sum(group.offered for group in found.over_time)
    assert found.total.offered > found.total.taken > 0


@pytest.mark.parametrize("step", ["day", "week", "month"])
def test_times_fall_into_the_local_calendar(path: Path, step: Step) -> None:
    found = read(path, step=step)
    with Store(path) as store:
        wanted = Counter(begins(one.request.time, step) for one in store.records())
    assert {group.name: group.requests for group in found.over_time} == wanted
    assert [group.name for group in found.over_time] == sorted(wanted)


def begins(moment: float, step: Step) -> str:
    day = datetime.fromtimestamp(moment).date()
    if step == "week":
        day -= timedelta(days=day.weekday())
    return (day.replace(day=1) if step == "month" else day).isoformat()


def test_the_calendar_gets_coarser_with_the_log(tmp_path: Path) -> None:
    for days, step in ((10, "day"), (100, "week"), (900, "month")):
        path = tmp_path / f"{days}.db"
        with Store(path) as store:
            store.add([request_row("r1", time=NOW - days * DAY), request_row("r2", time=NOW)])
        assert read(path).step == step


def test_seconds_are_ranked_and_binned(path: Path) -> None:
    found, values = read(path), seconds(path)
    assert found.speed
    assert found.speed.requests == len(values)
    assert found.speed.median == values[math.ceil(len(values) / 2) - 1]
    assert found.speed.ninth == values[math.ceil(len(values) * 0.9) - 1]
    ends = [bisect.bisect_right(values, edge) for edge in EDGES]
    assert found.histogram == [b - a for a, b in zip([0, *ends], [*ends, len(values)], strict=True)]
    assert sum(one.requests for one in found.speed_by_model) == len(values)


def test_nothing_is_told_with_its_reason_most_frequent_first(path: Path) -> None:
    found = read(path)
    with Store(path) as store:
        outcomes = [(one.request.outcome, one.request.reason) for one in store.records()]
    wanted = Counter(one for one in outcomes if one[0] != "ok")
    assert {(one.outcome, one.reason): one.requests for one in found.nothing} == wanted
    assert [one.requests for one in found.nothing] == sorted(wanted.values(), reverse=True)


def test_recent_suggestions_are_whole_and_newest_first(path: Path) -> None:
    found = read(path, recent=5).recent
    assert len(found) == 5
    assert [one.time for one in found] == sorted((one.time for one in found), reverse=True)
    with Store(path) as store:
        record = store.record(found[0].suggestion_id)
    assert record
    assert record.candidates[0].text == found[0].text
    assert record.candidates[0].examples == found[0].examples
    assert [event.event for event in record.events] == [event["event"] for event in found[0].events]


def test_last_measurement_counts_and_only_of_what_was_taken(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    with Store(path) as store:
        for number, (taken, offered) in enumerate(((True, True), (False, True), (True, False))):
            request, candidate = f"r{number}", f"c{number}"
            store.add([request_row(request), candidate_row(candidate, request)])
            store.add([event_row("offered", candidate, request)] if offered else [])
            store.add([event_row("accepted", candidate, request)] if taken else [])
            for at, ratio in ((50.0, 0.5), (10.0, 0.9), (50.0, 0.25)):
                kept = event_row("kept", candidate, request, time=at, kept_ratio=ratio, checkpoint=f"{ratio}")
                store.add([kept])
    total = read(path).total
    assert (total.requests, total.offered, total.taken, total.kept, total.measured) == (3, 2, 1, 0.25, 1)
    assert total.acceptance == 0.5


def test_an_empty_log_and_odd_rows_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    empty = read(path)
    assert (empty.total.requests, empty.total.acceptance, empty.speed, empty.first) == (0, None, None, None)
    assert empty.histogram == [0] * (len(EDGES) + 1)
    with Store(path) as store:
        store.add([request_row("r1", time=1e18, model="m" * 5000, reason="x\0y", outcome="odd")])
        store.add([candidate_row("c1", "r1", text="z" * 9000), event_row("offered", "c1", "r1")])
    odd = read(path)
    assert odd.total.offered == 1
    assert odd.recent[0].cut == 3000
    assert len(odd.by_model[0].name) < 100


def test_the_interval_is_wilsons() -> None:
    low, high = wilson(5, 10)
    assert [low, high] == pytest.approx([0.2366, 0.7634], abs=1e-4)
    assert wilson(0, 3)[0] == 0
    assert wilson(3, 3)[1] == pytest.approx(1)
