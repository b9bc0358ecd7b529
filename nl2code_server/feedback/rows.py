"""Rows of the feedback log into their tables, and back."""

# ruff: noqa: S608  (the names put into queries are this package's own)

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from dataclasses import Field, fields
from typing import Any, TypeVar

from .events import CandidateRow, EventRow, RequestRow

AnyRow = RequestRow | CandidateRow | EventRow
R = TypeVar("R", RequestRow, CandidateRow, EventRow)

_TABLES: dict[type[Any], tuple[str, str]] = {
    RequestRow: ("requests", "ON CONFLICT (request_id) DO NOTHING"),
    CandidateRow: ("candidates", "ON CONFLICT (candidate_id) DO NOTHING"),
    # What a client says is worth more than what was inferred of it.
    EventRow: (
        "events",
        "ON CONFLICT (identity) DO UPDATE SET source = excluded.source, cause = excluded.cause "
        "WHERE source = 'inferred' AND excluded.source = 'client'",
    ),
}


def insert(connection: sqlite3.Connection, row: AnyRow) -> str:
    """Write one row; return why it cannot be, if it cannot."""
    values = {f.name: _encode(getattr(row, f.name)) for f in fields(row)}
    if isinstance(row, EventRow):
        found = connection.execute(
            "SELECT request_id FROM candidates WHERE candidate_id = ?", (values["suggestion_id"],)
        )
        owner = found.fetchone()
        if owner is None:
            return "no such suggestion"
        if row.request_id not in ("", owner[0]):
            return "the suggestion belongs to another request"
        values |= {"request_id": owner[0], "identity": _encode(_identity(row))}
    table, conflict = _TABLES[type(row)]
    columns = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join("?" * len(values))
    try:
        written = connection.execute(
            f"INSERT INTO {table} ({columns}) VALUES ({marks}) {conflict}", list(values.values())
        ).rowcount
    except (
        connection.IntegrityError,
        connection.DataError,
        connection.InterfaceError,
        connection.ProgrammingError,
        OverflowError,
    ) as error:
        # One row that cannot be stored must not keep back the others.
        return "no such request" if "FOREIGN KEY" in str(error) else f"{type(error).__name__}: {error}"
    if isinstance(row, CandidateRow) and not written:
        found = connection.execute(
            "SELECT request_id FROM candidates WHERE candidate_id = ?", (values["candidate_id"],)
        )
        if found.fetchone()[0] != row.request_id:
            return "the suggestion belongs to another request"
    return ""


def _identity(event: EventRow) -> str:
    """Name what makes two reports one event. Partial acceptances grow; what is kept is measured again and again."""
    parts = [event.suggestion_id, event.event]
    if event.event == "partially_accepted":
        parts.append(str(event.accepted_length))
    elif event.event in ("kept", "edited", "instead"):
        text = (event.final_text or "").encode("utf-8", "backslashreplace")
        parts += [event.checkpoint, str(event.kept_ratio), hashlib.sha256(text).hexdigest()[:16]]
    return "/".join(parts)


def _encode(value: object) -> Any:
    """Give a value the form of its column. Half a surrogate pair has no UTF-8: it is kept as its escape."""
    if isinstance(value, list | dict):
        return _SURROGATE.sub(lambda half: rf"\\u{ord(half[0]):x}", json.dumps(value, ensure_ascii=False))
    if isinstance(value, str):
        return _SURROGATE.sub(lambda half: rf"\u{ord(half[0]):x}", value)
    return value


_SURROGATE = re.compile("[\ud800-\udfff]")


def decode(row_type: type[R], row: sqlite3.Row) -> R:
    """Make a row of the log from one of its table."""
    return row_type(**{f.name: _value(f, row[f.name]) for f in fields(row_type)})


def _value(column: Field[Any], value: Any) -> Any:
    if not str(column.type).startswith(("list", "dict")):
        return value
    try:
        return json.loads(value)
    except ValueError:  # damage that the structure of the file does not show
        return [] if str(column.type).startswith("list") else {}
