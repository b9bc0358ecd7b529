"""Months of a log, drawn by chance: for what counts, and for pages that show it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

from fakes.rows import candidate_row, event_row, request_row
from nl2code_server.feedback.events import CandidateRow, EventRow, RequestRow
from nl2code_server.feedback.store import Store

AnyRow = RequestRow | CandidateRow | EventRow

DAY = 86400.0
CODE = '''def {name}(values: list[int]) -> int:
    """Return the {name} of the values."""
    if not values:
        raise ValueError("no values")
    found = values[0]
    for value in values[1:]:
        found = max(found, value) if value % {n} else found
    return found'''
PROMPT = "You write Python. " * 90
REASONS = (
    ("nothing", "the examples fail: gcd(12, 18) gave 3, not 6"),
    ("nothing", "the answer is no Python"),
    ("nothing", "undefined name: df"),
    ("EndpointTimeout", "the model did not answer within 120 s"),
    ("cancelled", ""),
)
ASKED = (
    "write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6",
    "read the CSV file and return its rows as dictionaries",
    "TODO: retry with exponential backoff, at most five times",
    "计算两个数的最大公约数",
    "parse an ISO date, return None if it is none: parse('2026-02-30') is None",
)


def fill(path: Path, requests: int, *, now: float, days: float = 120.0, seed: int = 1) -> None:
    """Write so many requests, and what became of them, into a store; about three events each."""
    with Store(path) as store:
        drawn = rows(requests, now=now, days=days, seed=seed)
        while batch := list(islice(drawn, 4000)):
            refused = store.add(batch)
            assert not refused, refused[0].reason


def rows(requests: int, *, now: float, days: float, seed: int) -> Iterator[AnyRow]:
    """Yield rows whose suggestions get better with the adapters, and are taken more often for it."""
    draw = random.Random(seed)
    for number in range(requests):
        part = number / requests
        adapter = "" if part < 0.4 else "20260912-101500-a1b2" if part < 0.75 else "20261031-174203-c3d4"
        skill = 0.3 + 0.2 * (adapter != "") + 0.1 * (part > 0.75)
        kind = draw.choices(("comment", "stub", "todo", "marker"), (50, 25, 15, 10))[0]
        model = "qwen2.5-coder-1.5b" if draw.random() < 0.7 else "qwen2.5-coder-0.5b"
        at = now - days * DAY * (1 - part) + draw.uniform(0, 40_000)
        told: dict[str, Any] = {"time": at, "kind": kind, "model": model, "adapter": adapter}
        request_id, failed = f"r{number:07}", draw.random() < 0.14
        if failed:
            told["outcome"], told["reason"] = draw.choices(REASONS, (40, 25, 15, 5, 30))[0]
        yield request_row(
            request_id,
            instruction=draw.choice(ASKED),
            messages=[{"role": "user", "content": PROMPT}],
            seconds=round(draw.lognormvariate(0.3 if "1.5b" in model else -0.4, 0.7), 3),
            surface=draw.choice(("inline", "inline", "popup", "action")),
            project_id=f"p{number % 3}",
            **told,
        )
        if not failed:
            yield from answer(draw, request_id, at, skill)


def answer(draw: random.Random, request_id: str, at: float, skill: float) -> Iterator[AnyRow]:
    """Yield the suggestions to one request and what became of them."""
    status = draw.choices(("verified", "valid", "failed"), (10 * skill, 4, 1))[0]
    ran = {"call": "gcd(12, 18)", "expected": "6", "got": "6" if status == "verified" else "3"}
    examples = [] if status == "valid" else [ran | {"ok": status == "verified"}]
    clock = count(1)

    def told(event: Any, wait: float, **values: Any) -> AnyRow:
        return event_row(event, f"{request_id}-0", request_id, time=at + wait + next(clock) / 1000, **values)

    text = CODE.format(name=draw.choice(("gcd", "largest", "total")), n=draw.randint(2, 9))
    check = {"check": "compiles", "ok": True, "detail": ""}
    yield candidate_row(
        f"{request_id}-0", request_id, raw=text, text=text, status=status, examples=examples, verdicts=[check]
    )
    yield told("offered", 1)
    if draw.random() < 0.8:
        yield told("shown", 1.2)
    if draw.random() < skill:
        yield told("accepted", 5)
        kept = draw.choices((1.0, draw.uniform(0.5, 1), draw.uniform(0, 0.4)), (12 * skill, 3, 1))[0]
        yield told("kept", 35, checkpoint="30s", kept_ratio=min(1.0, kept + 0.1), final_text=text)
        if draw.random() < 0.8:
            yield told("kept", 605, checkpoint="10min", kept_ratio=kept, final_text=text[: int(900 * kept)])
    elif draw.random() < 0.3:
        yield told("partially_accepted", 5, accepted_length=20)
    else:
        yield told(draw.choice(("rejected", "dismissed", "ignored")), 6, cause="wrong")
