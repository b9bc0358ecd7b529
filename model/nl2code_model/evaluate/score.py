"""From records of single tasks to figures: rates with intervals, paired comparisons, tokens, seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import comb, sqrt
from statistics import median
from typing import Any

Record = dict[str, Any]
"""One task under one arm, as it stands in the JSONL; see README.md for its fields."""


def wilson(passed: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the 95 % interval of a rate after Wilson, as fractions."""
    if not total:
        return 0.0, 1.0
    rate, square = passed / total, z * z / total
    middle = (rate + square / 2) / (1 + square)
    half = z / (1 + square) * sqrt(rate * (1 - rate) / total + square / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p of so many tasks won and lost, if each were as likely."""
    flips = gained + lost
    if not flips:
        return 1.0
    tail = sum(comb(flips, k) for k in range(min(gained, lost) + 1))
    return float(min(1.0, tail / 2 ** (flips - 1)))


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """Return the figures of one arm."""
    total = len(records)
    offered = [one for one in records if one["offered"]]
    passed = sum(one["passed"] for one in records)
    low, high = wilson(passed, total)
    hidden = [one for one in records if one["hidden"] is not None]
    at_once = [one for one in offered if one["answers"] == 1]
    return {
        "tasks": total,
        "passed": passed,
        "pass@1": _rate(passed, total),
        "interval": [round(low, 4), round(high, 4)],
        "hidden": _share(hidden, lambda one: one["hidden"]),
        "offered": _rate(len(offered), total),
        "unasked": _share(records, lambda one: one["unasked"]),
        "verified": _share(records, lambda one: one["status"] == "verified"),
        "verified_passed": _share([r for r in records if r["status"] == "verified"], lambda r: r["passed"]),
        "parses": _share(offered, lambda one: one["parses"]),
        "undefined": _share(offered, lambda one: bool(one["undefined"])),
        "invented": _share([one for one in offered if one["project"]], lambda one: bool(one["invented"])),
        "annotated": _share(
            [one for one in offered if one["annotated"] is not None], lambda r: r["annotated"]
        ),
        "answers": _mean(records, "answers"),
        "tokens": sum(one["tokens"] for one in records),
        "tokens_offered": sum(one["tokens_offered"] for one in records),
        "tokens_per_offered": _per_offered(records),
        "tokens_per_offered_at_once": _per_offered(at_once),
        "seconds": _median(offered),
        "seconds_at_once": _median(at_once),
        "models": sorted({one["model"] for one in records if one["model"]}),
        "walls": sorted({one["walls"] for one in records if one["walls"]}),
    }


def compare(ours: Sequence[Record], theirs: Sequence[Record]) -> dict[str, Any]:
    """Return the paired comparison of two arms on the tasks that both have."""
    others = {key(one): one for one in theirs}
    pairs = [(one, others[key(one)]) for one in ours if key(one) in others]
    gained = sum(a["passed"] and not b["passed"] for a, b in pairs)
    lost = sum(b["passed"] and not a["passed"] for a, b in pairs)
    timed = [(a, b) for a, b in pairs if a["offered"] and b["offered"]]
    at_once = [(a, b) for a, b in timed if a["answers"] == 1]
    return {
        "tasks": len(pairs),
        "gained": gained,
        "lost": lost,
        "points": round(100 * (gained - lost) / len(pairs), 2) if pairs else None,
        "p": round(mcnemar(gained, lost), 6),
        "seconds_ratio": _ratio(timed),
        "seconds_ratio_at_once": _ratio(at_once),
    }


def groups(records: Sequence[Record], field: str) -> dict[str, dict[str, int]]:
    """Return passes, tasks and offers by a field of the records."""
    found: dict[str, list[Record]] = {}
    for one in records:
        found.setdefault(str(one[field]), []).append(one)
    return {
        name: {
            "tasks": len(group),
            "passed": sum(one["passed"] for one in group),
            "offered": sum(one["offered"] for one in group),
        }
        for name, group in sorted(found.items())
    }


def report(records: Sequence[Record], arms: Sequence[str]) -> dict[str, Any]:
    """Return the whole result of a run as plain data: each arm, and the first against each other."""
    by_arm = {arm: [one for one in records if one["arm"] == arm] for arm in arms}
    first, *others = arms
    return {
        "eval": sorted({one["set"] for one in records}),
        "arms": {
            arm: {
                **summary(found),
                "by_kind": groups(found, "kind"),
                "by_language": groups(found, "natural_language"),
                "by_project": groups(found, "project"),
            }
            for arm, found in by_arm.items()
        },
        "pairs": {f"{first} / {other}": compare(by_arm[first], by_arm[other]) for other in others},
    }


def key(record: Record) -> tuple[str, str, str, bool]:
    """Name the task of a record and the way in which it was asked."""
    return record["set"], record["id"], record["form"], record["example"]


def _rate(part: int, total: int) -> float | None:
    return round(part / total, 4) if total else None


def _share(records: Iterable[Record], holds: Callable[[Record], bool]) -> float | None:
    found = [bool(holds(one)) for one in records]
    return _rate(sum(found), len(found))


def _mean(records: Sequence[Record], field: str) -> float | None:
    return round(sum(one[field] for one in records) / len(records), 2) if records else None


def _median(records: Sequence[Record]) -> float | None:
    return round(median(one["seconds"] for one in records), 3) if records else None


def _per_offered(records: Sequence[Record]) -> float | None:
    offered = sum(one["tokens_offered"] for one in records)
    return round(sum(one["tokens"] for one in records) / offered, 3) if offered else None


def _ratio(pairs: Sequence[tuple[Record, Record]]) -> float | None:
    theirs = median(b["seconds"] for _, b in pairs) if pairs else 0
    return round(median(a["seconds"] for a, _ in pairs) / theirs, 3) if theirs else None
