"""Bring exported feedback into a store: every line is checked before the first is written, then all or none.

A line is a request with its candidates and events, as `nl2code feedback export` writes it. What the store has stays
as it is; what it lacks is added. So the same file twice changes nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, NamedTuple, TypeVar, get_args

from ..errors import Nl2CodeError
from .events import SCHEMA_VERSION, CandidateRow, EventKind, EventRow, Origin, RequestRow, Source, Status
from .rows import AnyRow
from .store import Record, Store

LONGEST = 8 * 2**20  # bytes of a line
_DEEPEST = 32  # objects and lists in one another
_LATEST = 253_402_300_000.0  # s; the calendar of Python ends there
_ID = re.compile(r"[\w.:/+@-]{1,128}", re.ASCII)
_IDS = ("request_id", "candidate_id", "suggestion_id")
_WORDS = {"EventKind": EventKind, "Source": Source, "Status": Status, "Origin": Origin}

R = TypeVar("R", RequestRow, CandidateRow, EventRow)
Clean = Callable[[AnyRow, dict[str, str]], AnyRow]
"""Takes out of a row what may not be written; the dictionary carries what the record's other rows held."""


class Added(NamedTuple):
    """What an import brought."""

    requests: int
    suggestions: int
    events: int


def take_over(store: Store, lines: Callable[[], Iterable[bytes]], clean: Clean) -> Added:
    """Add what the store lacks. `lines` gives them anew each time; raise `Nl2CodeError` that names a bad one."""
    for _ in records(lines()):
        pass
    at = 0

    def rows() -> Iterator[AnyRow]:
        nonlocal at
        for number, record in records(lines()):
            at, known = number, dict[str, str]()
            for row in _lacking(store, record):
                yield clean(row, known)

    return Added(*store.merge(rows, lambda reason: _bad(at, reason)))


def records(lines: Iterable[bytes]) -> Iterator[tuple[int, Record]]:
    """Yield each record with the number of its line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, _record(line)
        except RecursionError as error:
            raise _bad(number, "nested too deeply") from error
        except ValueError as error:
            raise _bad(number, str(error)) from error


def _bad(number: int, reason: str) -> Nl2CodeError:
    return Nl2CodeError(f"line {number} of the import: {reason}", "nothing was imported")


def _lacking(store: Store, record: Record) -> Iterator[AnyRow]:
    """Yield the rows that the store has not. Texts are not compared: one copy may have been made anonymous."""
    there = store.record(record.request.request_id)
    known = {one.candidate_id for one in there.candidates} if there else set()
    told = {_report(one) for one in there.events} if there else set()
    if there is None:
        yield record.request
    yield from (one for one in record.candidates if one.candidate_id not in known)
    yield from (one for one in record.events if _report(one) not in told)


def _report(event: EventRow) -> tuple[object, ...]:
    return (event.suggestion_id, event.event, event.checkpoint, event.kept_ratio, event.accepted_length)


def _record(line: bytes) -> Record:
    if len(line) > LONGEST:
        raise ValueError(f"longer than {LONGEST // 2**20} MiB")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite, parse_int=_small
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg}, column {error.colno}") from error
    if _deeper(value, _DEEPEST):
        raise ValueError("nested too deeply")
    if not isinstance(value, dict) or set(value) != {"schema_version", "request", "candidates", "events"}:
        raise ValueError("wants an object of `schema_version`, `request`, `candidates` and `events`")
    version = value["schema_version"]
    if type(version) is not int or version < 1:
        raise ValueError("`schema_version` is no version")
    if version > SCHEMA_VERSION:
        raise ValueError(f"schema {version} is of a newer nl2code; this one knows {SCHEMA_VERSION}")
    request = _row(RequestRow, value["request"], "request")
    candidates = [
        _row(CandidateRow, _as_now(one, version), "candidates") for one in _list(value, "candidates")
    ]
    events = [_row(EventRow, one, "events") for one in _list(value, "events")]
    _check_joined(request, candidates, events)
    return Record(request, candidates, events)


def _as_now(candidate: Any, version: int) -> Any:
    """Give a candidate of an older schema what it lacks, as the store's migration does."""
    if version < 2 and isinstance(candidate, dict):
        temperature = candidate.get("temperature")
        drawn = isinstance(temperature, int | float) and temperature > 0
        return {"origin": "sample" if drawn else "greedy"} | candidate
    return candidate


def _check_joined(request: RequestRow, candidates: list[CandidateRow], events: list[EventRow]) -> None:
    ids = [one.candidate_id for one in candidates]
    if len(set(ids)) < len(ids):
        raise ValueError("two candidates have one id")
    owners = {one.request_id for one in candidates} | {one.request_id for one in events}
    if owners - {request.request_id}:
        raise ValueError("a row belongs to another request")
    if any(one.suggestion_id not in ids for one in events):
        raise ValueError("an event belongs to no candidate of the line")


def _list(value: dict[str, Any], name: str) -> list[Any]:
    found = value[name]
    if not isinstance(found, list):
        raise ValueError(f"`{name}` is no list")
    return found


def _row(row_type: type[R], value: Any, name: str) -> R:
    if not isinstance(value, dict):
        raise ValueError(f"`{name}` holds no object")
    columns = {column.name: column for column in fields(row_type)}
    if unknown := sorted(set(value) - set(columns)):
        raise ValueError(f"`{name}` has no field {unknown[0][:40]!r}")
    for column in columns.values():
        if column.name in value:
            if not _fits(column, value[column.name]):
                raise ValueError(f"`{name}.{column.name}` has a wrong value")
        elif column.default is MISSING and column.default_factory is MISSING:
            raise ValueError(f"`{name}.{column.name}` is missing")
    return row_type(**value)


def _fits(column: Field[Any], value: Any) -> bool:
    kind = str(column.type)
    if value is None:
        return kind.endswith("| None")
    if column.name in _IDS:
        return isinstance(value, str) and _ID.fullmatch(value) is not None
    if column.name == "time":
        return type(value) in (int, float) and 0 <= value <= _LATEST
    if kind in _WORDS:
        return isinstance(value, str) and value in get_args(_WORDS[kind])
    match kind.removesuffix(" | None"):
        case "str":
            return isinstance(value, str)
        case "int":
            return type(value) is int
        case "float":
            return type(value) in (int, float)
        case "dict[str, Any]":
            return isinstance(value, dict)
        case "list[dict[str, str]]":
            return _dicts(value) and all(isinstance(text, str) for one in value for text in one.values())
        case "list[dict[str, Any]]":
            return _dicts(value)
    raise AssertionError(f"no check for {kind}")


def _dicts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _deeper(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_deeper(one, levels - 1) for one in inside if isinstance(one, dict | list))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError("a number is too large")
    return number


def _small(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**63:
        raise ValueError("a number is too large")
    return number
