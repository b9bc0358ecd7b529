"""Where the gain over a plain chat comes from, and what early stopping saves: see README.md for the definitions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

Record = dict[str, Any]
Pair = tuple[Record, Record]

STAGES = (
    "plain chat", "prompt", "validation and retry", "verification and sampling", "repair", "agreement and ranking",
)  # fmt: skip


def stages(ours: Record, theirs: Record) -> list[bool]:
    """Say for each of `STAGES` whether its answer to this task passes."""
    made: list[Record] = ours.get("candidates") or []
    usable = [one for one in made if is_usable(one)]
    first = next(iter(usable or [one for one in made if one["rank"] >= 0]), None)
    kept = [one for one in made if one["status"] == "verified"]
    unrepaired = [one for number, one in enumerate(made) if one in kept and not _is_repair(made, number)]
    verified = unrepaired[0] if unrepaired else first
    repaired = kept[0] if kept and not unrepaired else verified
    return [
        bool(theirs["passed"]),
        bool(made and made[0].get("as_it_came")),
        *(bool(one and one["passed"]) for one in (first, verified, repaired)),
        bool(ours["passed"]),
    ]


def is_usable(candidate: Record) -> bool:
    """Say whether a candidate passes every check that does not run it."""
    return bool(candidate["code"].strip()) and not set(candidate["checks"]) - {"examples"}


def _is_repair(made: Sequence[Record], number: int) -> bool:
    """Say whether a candidate was made from one that failed an example, not from one that could not be used."""
    return made[number]["origin"] == "repair" and any("examples" in one["checks"] for one in made[:number])


def gain(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Return for each stage how many tasks pass, and what it gained and lost against the one before.

    The second of each pair is of a plain chat; there is nothing to split between two products.
    """
    rows = [stages(a, b) for a, b in pairs if "candidates" in a and "candidates" not in b]
    if not rows:
        return []
    found = []
    for number, stage in enumerate(STAGES):
        passed = sum(row[number] for row in rows)
        gained = sum(row[number] and not row[number - 1] for row in rows) if number else 0
        lost = sum(row[number - 1] and not row[number] for row in rows) if number else 0
        points = round(100 * (gained - lost) / len(rows), 2)
        found.append(
            {"stage": stage, "tasks": len(rows), "passed": passed, "gained": gained, "lost": lost,
             "points": points}
        )  # fmt: skip
    return found


def early_stop(records: Sequence[Record]) -> dict[str, Any] | None:
    """Return the tokens before and after the code that was offered, and the seconds that the latter took.

    Both in proportion to the characters of the answer; the seconds as if all tokens took the same time.
    """
    offered = [one for one in records if one["offered"] and one["raw"]]
    if not offered:
        return None
    before = after = seconds = 0.0
    shares = []
    for one in offered:
        above, below = around(one["raw"], one["code"])
        tokens: int = one["tokens_chosen"] if "tokens_chosen" in one else one["tokens"]
        before += tokens * above
        after += tokens * below
        seconds += one["seconds"] * tokens * below / one["tokens"] if one["tokens"] else 0.0
        shares.append(below)
    return {
        "tasks": len(offered),
        "tokens_before": round(before),
        "tokens_after": round(after),
        "tokens_after_per_task": round(after / len(offered), 1),
        "share_after_median": round(median(shares), 4),
        "seconds_after_per_task": round(seconds / len(offered), 3),
    }


def around(raw: str, code: str) -> tuple[float, float]:
    """Return how large a part of an answer stands above and below its code."""
    lines = [line.strip() for line in code.split("\n") if line.strip()]
    if not lines:
        return 0.0, 0.0
    start = raw.find(lines[0])
    end = _end(raw, lines, max(start, 0))
    return max(start, 0) / len(raw), (len(raw.rstrip()) - end) / len(raw) if end >= 0 else 0.0


def _end(raw: str, lines: Sequence[str], start: int) -> int:
    """Return where the last of some lines ends, which follow one another in a text."""
    at = start
    for line in lines:
        found = raw.find(line, at)
        at = found + len(line) if found >= 0 else at
    return at if at > start else -1
