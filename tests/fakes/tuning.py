"""Logs to tune on: requests as the product makes them, with what a user did about the answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fakes.rows import candidate_row, event_row, request_row
from nl2code_model.tune.prompts import situation
from nl2code_server.feedback.events import CandidateRow, EventRow, RequestRow
from nl2code_server.feedback.store import Record


def request(number: int, instruction: str = "", *, file: str = "", **values: Any) -> RequestRow:
    """Make the request for a file of one comment."""
    text = instruction or f"write a function that gives the {number}th part of a sum"
    found = situation(f"# {text}\n", 0)
    assert found
    messages = [{"role": role, "content": content} for role, content in found.prompt.messages]
    if values.pop("prefilled", True):
        messages.append({"role": "assistant", "content": found.prompt.prefill})
    return request_row(
        f"r{number}",
        instruction=text,
        kind="comment",
        file_id=file or f"f{number}",
        time=1000.0 + number,
        messages=messages,
        context={"place": "module", "depth": 0},
        **values,
    )


def code_of(number: int) -> str:
    """Return code that is like no other number's."""
    words = [f"word_{number}_{n}" for n in range(6)]
    lines = [f"    {word} = total / {number + n}" for n, word in enumerate(words)]
    return "\n".join([f"def part_{number}(total):", *lines, f"    return {' + '.join(words)}"])


def record(
    number: int,
    *,
    events: list[EventRow] | None = None,
    candidates: list[CandidateRow] | None = None,
    **values: Any,
) -> Record:
    """Make a record with one candidate that was offered, and what else is given."""
    made = candidates or [candidate(number)]
    told = [replace(one, request_id=f"r{number}") for one in events or []]
    return Record(request(number, **values), made, told)


def candidate(number: int, n: int = 0, **values: Any) -> CandidateRow:
    """Make a candidate of a request."""
    text = values.pop("text", code_of(number))
    return candidate_row(
        f"r{number}-{n}", f"r{number}", raw=f"{text}\n```", text=text, choice_index=n, **values
    )


def event(kind: Any, number: int, n: int = 0, **values: Any) -> EventRow:
    """Make an event of a candidate."""
    return event_row(kind, f"r{number}-{n}", f"r{number}", **values)


def taken(number: int, ratio: float = 1.0, final: str | None = None, **values: Any) -> Record:
    """Make a record whose suggestion was accepted and is still there, or what is left of it."""
    text = code_of(number) if final is None else final
    kept = event("kept", number, time=1100.0, checkpoint="save", kept_ratio=ratio, final_text=text)
    return record(number, events=[event("accepted", number), kept], **values)


def refused(number: int, **values: Any) -> Record:
    """Make a record whose suggestion was turned down."""
    return record(number, events=[event("rejected", number, cause="wrong")], **values)
