"""Rows of the feedback log with everything filled in that a test does not care about."""

from __future__ import annotations

from typing import Any

from nl2code_server.feedback.events import CandidateRow, EventKind, EventRow, RequestRow


def request_row(request_id: str = "r1", **values: Any) -> RequestRow:
    """Make a request."""
    row: dict[str, Any] = {
        "time": 1000.0,
        "session_id": "s1",
        "surface": "inline",
        "trigger": "automatic",
        "client": "test 1",
        "instruction": "write gcd",
        "kind": "comment",
        "file_id": "f1",
        "project_id": "p1",
        "prompt_version": 1,
        "prompt_hash": "ab" * 32,
        "messages": [{"role": "user", "content": "# write gcd"}],
        "model": "small",
        "temperature": 0.0,
        "top_p": 1.0,
        "max_tokens": 512,
        "n": 1,
        "outcome": "ok",
    }
    return RequestRow(request_id=request_id, **(row | values))


def candidate_row(candidate_id: str = "c1", request_id: str = "r1", **values: Any) -> CandidateRow:
    """Make a candidate."""
    row: dict[str, Any] = {
        "choice_index": 0,
        "rank": 0,
        "n_candidates": 1,
        "raw": "def gcd(a, b): ...",
        "text": "def gcd(a, b): ...",
        "status": "valid",
    }
    return CandidateRow(candidate_id=candidate_id, request_id=request_id, **(row | values))


def event_row(
    event: EventKind = "offered", suggestion_id: str = "c1", request_id: str = "r1", **values: Any
) -> EventRow:
    """Make an event."""
    row: dict[str, Any] = {"source": "client", "time": 1001.0}
    return EventRow(event=event, suggestion_id=suggestion_id, request_id=request_id, **(row | values))
