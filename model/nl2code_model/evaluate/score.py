"""From records of single tasks to figures: rates with intervals, paired comparisons, tokens, seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import comb, sqrt
from statistics import median
from typing import Any

from .conditions import warnings
from .split import early_stop, gain

Record = dict[str, Any]
"""One task under one arm, as it stands in the JSONL; see README.md for its fields."""
Pair = tuple[Record, Record]


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
    verified = [one for one in offered if one["status"] == "verified"]
    rerun = [one for one in verified if one.get("holds") is not None]
    at_once = [one for one in offered if first_passes(one)]
    return {
        "tasks": total,
        "passed": passed,
        "pass@1": _rate(passed, total),
        "interval": [round(low, 4), round(high, 4)],
        "hidden": _share(hidden, lambda one: one["hidden"]),
        "offered": _rate(len(offered), total),
        "unasked": _share(records, lambda one: one["unasked"]),
        "verified": _rate(len(verified), total),
        "verified_passed": _share(verified, lambda one: one["passed"]),
        "verified_rerun": len(rerun),
        "verified_holds": _share(rerun, lambda one: one["holds"]),
        "failed_unasked": sum(one["unasked"] and one["status"] == "failed" for one in records),
        "wrong_unasked": sum(one["unasked"] and one.get("holds") is False for one in records),
        "parses": _share(offered, lambda one: one["parses"]),
        "undefined": _share(offered, lambda one: bool(one["undefined"])),
        "invented": _share([one for one in offered if one["project"]], lambda one: bool(one["invented"])),
        "annotated": _share(
            [one for one in offered if one["annotated"] is not None], lambda one: one["annotated"]
        ),
        "first_passes": len(at_once),
        "answers": _mean(records, "answers"),
        "tokens": sum(one["tokens"] for one in records),
        "tokens_offered": sum(one["tokens_offered"] for one in records),
        "tokens_per_offered": _per_offered(records),
        "tokens_per_offered_at_once": _per_offered(at_once),
        "seconds": _median(offered),
        "seconds_at_once": _median(at_once),
        "harness": _harness(records),
        "early_stop": early_stop(records),
        "rebuilt_otherwise": sum(one.get("rebuilt") is False for one in records),
        "models": sorted({one["model"] for one in records if one["model"]}),
        "walls": sorted({one["walls"] for one in records if one["walls"]}),
    }


def _harness(records: Sequence[Record]) -> float | None:
    """Return the part of the time that went into files, servers and tests, not into waiting for suggestions."""
    timed = [one for one in records if one.get("took")]
    took = sum(one["took"] for one in timed)
    return round(1 - sum(one["seconds"] for one in timed) / took, 4) if took else None


def first_passes(record: Record) -> bool:
    """Say whether the first answer was good enough to be offered: only one was made, or it passes its example."""
    made = record.get("candidates") or []
    at_once = record["answers"] == 1 or (bool(made) and made[0]["status"] == "verified")
    return bool(record["offered"] and at_once and record["status"] != "failed")


def compare(ours: Sequence[Record], theirs: Sequence[Record]) -> dict[str, Any]:
    """Return the paired comparison of two arms on the tasks that both have."""
    others = {key(one): one for one in theirs}
    pairs = [(one, others[key(one)]) for one in ours if key(one) in others]
    gained = sum(a["passed"] and not b["passed"] for a, b in pairs)
    lost = sum(b["passed"] and not a["passed"] for a, b in pairs)
    timed = [(a, b) for a, b in pairs if a["offered"]]
    at_once = [(a, b) for a, b in timed if first_passes(a)]
    return {
        "tasks": len(pairs),
        "gained": gained,
        "lost": lost,
        "points": round(100 * (gained - lost) / len(pairs), 2) if pairs else None,
        "p": round(mcnemar(gained, lost), 6),
        "hidden": _hidden(pairs),
        "at_once": _costs(at_once),
        "over_all": _costs(timed),
        "gain": gain(pairs),
    }


def _hidden(pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """Compare on the tests alone that the instruction does not show."""
    known = [(a, b) for a, b in pairs if a["hidden"] is not None and b["hidden"] is not None]
    if not known:
        return None
    gained = sum(bool(a["hidden"] and not b["hidden"]) for a, b in known)
    lost = sum(bool(b["hidden"] and not a["hidden"]) for a, b in known)
    points = round(100 * (gained - lost) / len(known), 2)
    return {"tasks": len(known), "gained": gained, "lost": lost, "points": points}


def _costs(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return seconds and tokens of the first arm, and next to the other's."""
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    single = [a["seconds"] / b["seconds"] for a, b in pairs if b["seconds"]]
    return {
        "tasks": len(pairs),
        "seconds": _median(ours),
        "seconds_theirs": _median(theirs),
        "seconds_ratio": _quotient(_median(ours), _median(theirs)),
        "seconds_ratio_of_single_tasks": round(median(single), 3) if single else None,
        "tokens": sum(one["tokens"] for one in ours),
        "tokens_offered": sum(one["tokens_offered"] for one in ours),
        "tokens_per_offered": _per_offered(ours),
        "tokens_per_offered_theirs": _per_offered(theirs),
        "tokens_ratio": _quotient(sum(a["tokens"] for a in ours), sum(b["tokens"] for b in theirs)),
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


GROUPED = {"by_kind": "kind", "by_language": "natural_language", "by_project": "project", "by_form": "form"}


def report(records: Sequence[Record], arms: Sequence[str]) -> dict[str, Any]:
    """Return the whole result of a run as plain data: each arm, and the first against each other."""
    by_arm = {arm: [one for one in records if one["arm"] == arm] for arm in arms}
    first, *others = arms
    return {
        "eval": sorted({one["set"] for one in records}),
        "arms": {
            arm: {**summary(found), **{name: groups(found, field) for name, field in GROUPED.items()}}
            for arm, found in by_arm.items()
        },
        "pairs": {f"{first} / {other}": compare(by_arm[first], by_arm[other]) for other in others},
        "conditions": {arm: _conditions(found) for arm, found in by_arm.items()},
        "warnings": warnings(by_arm),
    }


def _conditions(records: Sequence[Record]) -> dict[str, Any]:
    """Return what the records of an arm tell of how they were timed, each value once."""
    told = [one["conditions"] for one in records if one.get("conditions")]
    values = {
        name: sorted({one[name] for one in told if one[name] is not None}, key=str)
        for name in ("run", "machine", "cpus", "threads", "endpoint")
    }
    loads = [one["load"] for one in told if one["load"] is not None]
    return {**values, "load": round(median(loads), 2) if loads else None, "records": len(told)}


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


def _quotient(ours: float | None, theirs: float | None) -> float | None:
    return round(ours / theirs, 3) if ours is not None and theirs else None
