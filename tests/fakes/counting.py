"""The figures of a log once more, by other queries than the product's: one question each, on the bare tables."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

HAS = "EXISTS (SELECT 1 FROM events e WHERE e.suggestion_id = c.candidate_id AND e.event = '{}')"
ADAPTED = "CASE WHEN r.adapter = '' THEN r.model ELSE r.model || ' + ' || r.adapter END"
DIMENSIONS = {"by_kind": "r.kind", "by_model": "r.model", "by_adapter": ADAPTED}
OF_OFFERED = {
    "offered": "1",
    "taken": HAS.format("accepted"),
    "partly": HAS.format("partially_accepted"),
    "refused": HAS.format("rejected"),
    "left": f"({HAS.format('dismissed')} OR {HAS.format('ignored')})",
    "verified": "c.status = 'verified'",
    "valid": "c.status = 'valid'",
    "failed": "c.status = 'failed'",
}
LAST = """
    SELECT e.kept_ratio FROM events e WHERE e.suggestion_id = c.candidate_id AND e.event = 'kept'
    AND e.kept_ratio IS NOT NULL ORDER BY e.time DESC, e.id DESC LIMIT 1
"""


def counted(path: Path, dimension: str = "''", since: float = -math.inf) -> dict[str, dict[str, Any]]:
    """Count requests and suggestions by a column, and average what was kept."""
    with sqlite3.connect(path) as connection:
        found: dict[str, dict[str, Any]] = {
            name: {"requests": count}
            for name, count in connection.execute(
                f"SELECT {dimension}, count(*) FROM requests r WHERE r.time >= ? GROUP BY 1", (since,)
            )
        }
        joined = "FROM candidates c JOIN requests r ON r.request_id = c.request_id WHERE r.time >= ?"
        for what, condition in OF_OFFERED.items():
            query = f"SELECT {dimension}, count(*) {joined} AND {HAS.format('offered')} AND {condition} GROUP BY 1"
            for name, count in connection.execute(query, (since,)):
                found[name][what] = count
        kept = (
            f"SELECT {dimension}, ({LAST}) {joined} AND {HAS.format('offered')} AND {HAS.format('accepted')}"
        )
        ratios: dict[str, list[float]] = {}
        for name, ratio in connection.execute(kept, (since,)):
            if ratio is not None:
                ratios.setdefault(name, []).append(ratio)
    connection.close()
    for name, values in ratios.items():
        found[name] |= {"kept": math.fsum(values) / len(values), "measured": len(values)}
    return found


def seconds(path: Path, since: float = -math.inf) -> list[float]:
    """Return the seconds of what was answered, sorted."""
    with sqlite3.connect(path) as connection:
        query = "SELECT seconds FROM requests WHERE outcome = 'ok' AND time >= ?"
        found = sorted(row[0] for row in connection.execute(query, (since,)))
    connection.close()
    return found
