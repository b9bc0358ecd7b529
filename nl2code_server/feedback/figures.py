"""What the log says as figures: counted by SQLite, for one moment of the store.

- A request counts if its `time` is not before `since`. What came of it counts with it, whenever that was.
- A suggestion is *offered* if it has an event `offered`; *taken* if it has `accepted` too, whole. Acceptance is taken
  by offered, the rate of `nl2code feedback stats`. *Partly*, *refused* and *left* are those offered that have
  `partially_accepted`, `rejected`, or `dismissed` or `ignored`.
- What is *kept* of one that was taken is the `kept_ratio` of its last event `kept` (by time, then by arrival); the
  mean is over those that have one, and `measured` says how many these are.
- *Verified*, *valid* and *failed* are the statuses of what was offered.
- *Seconds* are those of requests whose outcome is `ok`, from the question to the first suggestion. A quantile is the
  value of the nearest rank: half, or nine tenths, of the requests took no longer.
- Times fall into days, weeks (from Monday) or months of the local calendar, by how long the log is.
"""

# ruff: noqa: S608  (what is put into queries is this module's own)

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from .store import Store

Step = Literal["day", "week", "month"]
_DAY = 86400.0  # s
_STEPS: dict[Step, str] = {
    "day": "date(time, 'unixepoch', 'localtime')",
    "week": "date(time, 'unixepoch', 'localtime', 'weekday 0', '-6 days')",
    "month": "date(time, 'unixepoch', 'localtime', 'start of month')",
}
EDGES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0)  # s
_NAME, _REASON, _TEXT = 80, 160, 6000  # characters of a name, of a reason, of code
_REASONS = 200


@dataclass(frozen=True, slots=True)
class Group:
    """What became of the requests that have something in common."""

    name: str
    requests: int
    offered: int = 0
    taken: int = 0
    partly: int = 0
    refused: int = 0
    left: int = 0
    kept: float | None = None
    measured: int = 0
    verified: int = 0
    valid: int = 0
    failed: int = 0

    @property
    def acceptance(self) -> float | None:
        """Taken, of those offered."""
        return self.taken / self.offered if self.offered else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the acceptance lies with 95 % confidence, after Wilson."""
        return wilson(self.taken, self.offered) if self.offered else None


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds to a suggestion."""

    name: str
    requests: int
    median: float
    ninth: float
    """Nine of ten took no longer."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Requests that came to nothing, for one reason."""

    outcome: str
    reason: str
    requests: int


@dataclass(frozen=True, slots=True)
class Recent:
    """A suggestion with what is known of it."""

    suggestion_id: str
    time: float
    instruction: str
    kind: str
    model: str
    adapter: str
    surface: str
    text: str
    cut: int
    """Characters of it that are not shown here."""
    status: str
    verdicts: list[dict[str, Any]]
    examples: list[dict[str, Any]]
    events: list[dict[str, Any]]
    """`{"event", "time", "cause", "checkpoint", "kept_ratio"}`, oldest first."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that is counted."""

    made: float
    since: float | None
    first: float | None
    last: float | None
    step: Step
    events: int
    total: Group
    over_time: list[Group]
    by_kind: list[Group]
    by_model: list[Group]
    by_adapter: list[Group]
    speed: Speed | None
    speed_over_time: list[Speed]
    speed_by_model: list[Speed]
    histogram: list[int]
    """Requests by their seconds: up to each of `EDGES`, and above the last."""
    nothing: list[Nothing] = field(default_factory=list)
    recent: list[Recent] = field(default_factory=list)


def figures(
    store: Store, *, since: float | None = None, recent: int = 30, step: Step | None = None
) -> Figures:
    """Count everything; `recent` is how many of the newest suggestions to show."""
    return store.read(lambda connection: _figures(connection, since, recent, step))


def no_figures(since: float | None = None) -> Figures:
    """Return what there is to say where nothing was logged."""
    return Figures(
        time.time(),
        since,
        None,
        None,
        "day",
        0,
        Group("", 0),
        [],
        [],
        [],
        [],
        None,
        [],
        [],
        [0] * (len(EDGES) + 1),
    )


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval of a share."""
    share = hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * (share * (1 - share) / of + z * z / (4 * of * of)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def _figures(connection: sqlite3.Connection, since: float | None, recent: int, step: Step | None) -> Figures:
    start = float("-inf") if since is None else since
    first, last = connection.execute(
        "SELECT min(time), max(time) FROM requests WHERE time >= ?", (start,)
    ).fetchone()
    step = step or _step(first, last)
    _collect(connection, start, _STEPS[step])
    groups = {name: _groups(connection, name) for name in ("''", "bucket", "kind", "model", "adapted")}
    total = groups["''"]
    speed = _speeds(connection, "''")
    by_size = sorted(groups["kind"], key=_size)
    return Figures(
        made=time.time(),
        since=since,
        first=first,
        last=last,
        step=step,
        events=connection.execute(
            "SELECT count(*) FROM events e JOIN temp.asked a ON a.request_id = e.request_id"
        ).fetchone()[0],
        total=total[0] if total else Group("", 0),
        over_time=groups["bucket"],
        by_kind=by_size,
        by_model=sorted(groups["model"], key=_size),
        by_adapter=sorted(groups["adapted"], key=_size),
        speed=speed[0] if speed else None,
        speed_over_time=_speeds(connection, "bucket"),
        speed_by_model=_speeds(connection, "model"),
        histogram=_histogram(connection),
        nothing=_nothing(connection),
        recent=_recent(connection, recent),
    )


def _step(first: float | None, last: float | None) -> Step:
    days = ((last or 0.0) - (first or 0.0)) / _DAY
    return "day" if days <= 45 else "week" if days <= 400 else "month"


def _collect(connection: sqlite3.Connection, start: float, bucket: str) -> None:
    """Gather what is counted in two narrow tables in memory; they go with the end of the transaction."""
    connection.execute(
        f"""
        CREATE TEMP TABLE asked AS
        SELECT request_id, time, {bucket} AS bucket, substr(kind, 1, {_NAME}) AS kind,
            substr(model, 1, {_NAME}) AS model,
            substr(model || CASE adapter WHEN '' THEN '' ELSE ' + ' || adapter END, 1, {_NAME}) AS adapted,
            seconds, outcome, substr(reason, 1, {_REASON}) AS reason
        FROM requests WHERE time >= ?
        """,
        (start,),
    )
    connection.execute("CREATE UNIQUE INDEX temp.asked_id ON asked (request_id)")
    connection.execute(
        """
        CREATE TEMP TABLE fates AS
        WITH told AS (
            SELECT suggestion_id,
                max(event = 'offered') AS offered, max(event = 'accepted') AS taken,
                max(event = 'partially_accepted') AS partly, max(event = 'rejected') AS refused,
                max(event IN ('dismissed', 'ignored')) AS "left"
            FROM events GROUP BY suggestion_id
        ), measured AS (
            SELECT suggestion_id, kept_ratio,
                row_number() OVER (PARTITION BY suggestion_id ORDER BY time DESC, id DESC) AS place
            FROM events WHERE event = 'kept' AND kept_ratio IS NOT NULL
        )
        SELECT c.candidate_id, c.request_id, c.rank, c.status, t.taken, t.partly, t.refused, t."left",
            CASE WHEN t.taken THEN m.kept_ratio END AS kept, a.time, a.bucket, a.kind, a.model, a.adapted
        FROM told t JOIN candidates c ON c.candidate_id = t.suggestion_id
        JOIN temp.asked a ON a.request_id = c.request_id
        LEFT JOIN measured m ON m.suggestion_id = t.suggestion_id AND m.place = 1
        WHERE t.offered
        """
    )


def _groups(connection: sqlite3.Connection, name: str) -> list[Group]:
    counts = {
        row[0]: row[1]
        for row in connection.execute(f"SELECT {name}, count(*) FROM temp.asked GROUP BY 1 ORDER BY 1")
    }
    fates = {
        row[0]: tuple(row)[1:]
        for row in connection.execute(
            f"""
            SELECT {name}, count(*), sum(taken), sum(partly), sum(refused), sum("left"), avg(kept), count(kept),
                sum(status = 'verified'), sum(status = 'valid'), sum(status = 'failed')
            FROM temp.fates GROUP BY 1
            """
        )
    }
    return [Group(key or "", count, *fates.get(key, ())) for key, count in counts.items()]


def _size(group: Group) -> tuple[int, str]:
    return -group.requests, group.name


def _speeds(connection: sqlite3.Connection, name: str) -> list[Speed]:
    rows = connection.execute(
        f"""
        WITH ranked AS (
            SELECT {name} AS name, seconds, count(*) OVER (PARTITION BY {name}) AS n,
                row_number() OVER (PARTITION BY {name} ORDER BY seconds) AS place
            FROM temp.asked WHERE outcome = 'ok'
        )
        SELECT name, n, max(CASE place WHEN (n + 1) / 2 THEN seconds END),
            max(CASE place WHEN (9 * n + 9) / 10 THEN seconds END)
        FROM ranked GROUP BY name ORDER BY name
        """
    )
    return [Speed(*row) for row in rows]


def _histogram(connection: sqlite3.Connection) -> list[int]:
    lows = (float("-inf"), *EDGES)
    sums = ", ".join("total(seconds > ? AND seconds <= ?)" for _ in lows)
    ends = [end for pair in zip(lows, (*EDGES, float("inf")), strict=True) for end in pair]
    row = connection.execute(f"SELECT {sums} FROM temp.asked WHERE outcome = 'ok'", ends).fetchone()
    return [int(count) for count in row]


def _nothing(connection: sqlite3.Connection) -> list[Nothing]:
    rows = connection.execute(
        "SELECT outcome, reason, count(*) AS n FROM temp.asked WHERE outcome <> 'ok' "
        f"GROUP BY 1, 2 ORDER BY n DESC, outcome, reason LIMIT {_REASONS}"
    )
    return [Nothing(*row) for row in rows]


def _recent(connection: sqlite3.Connection, limit: int) -> list[Recent]:
    rows = connection.execute(
        f"""
        SELECT f.candidate_id AS suggestion_id, r.time, substr(r.instruction, 1, {_TEXT}) AS instruction,
            f.kind, f.model, substr(r.adapter, 1, {_NAME}) AS adapter, r.surface, substr(c.text, 1, {_TEXT}) AS text,
            max(0, length(c.text) - {_TEXT}) AS cut, c.status, c.verdicts, c.examples
        FROM (SELECT * FROM temp.fates ORDER BY time DESC, request_id DESC, rank LIMIT ?) f
        JOIN requests r ON r.request_id = f.request_id
        JOIN candidates c ON c.candidate_id = f.candidate_id
        ORDER BY f.time DESC, f.request_id DESC, f.rank
        """,
        (limit,),
    ).fetchall()
    return [
        Recent(
            **{
                **dict(row),
                "verdicts": _list(row["verdicts"]),
                "examples": _list(row["examples"]),
                "events": _events(connection, row["suggestion_id"]),
            }
        )
        for row in rows
    ]


def _events(connection: sqlite3.Connection, suggestion: str) -> list[dict[str, Any]]:
    rows = connection.execute(
        "SELECT event, time, cause, checkpoint, kept_ratio FROM events WHERE suggestion_id = ? ORDER BY time, id",
        (suggestion,),
    )
    return [dict(row) for row in rows]


def _list(text: str) -> list[dict[str, Any]]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
