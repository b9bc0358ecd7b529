"""The rows of the feedback log: the contract between the server, which writes them, and tuning, which reads them.

`SCHEMA_VERSION` is written into the store and into every adapter manifest. Times are seconds since the epoch (UTC).
All text is redacted before it gets here (see `redact`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

SCHEMA_VERSION = 2

EventKind = Literal[
    "offered",  # returned to the client
    "shown",  # evidence that a person saw it
    "accepted",
    "partially_accepted",
    "rejected",  # with a cause
    "dismissed",  # closed without a word
    "ignored",  # shown and then left alone
    "superseded",  # replaced by a newer suggestion for the same instruction
    "edited",  # changed after it was accepted
    "kept",  # a measurement of how much of it is left
    "instead",  # what the user wrote in its place, after it was turned down
]
Source = Literal["client", "inferred"]
Status = Literal["verified", "valid", "failed"]
Origin = Literal["greedy", "sample", "repair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRow:
    """One instruction sent to a model."""

    request_id: str
    time: float
    session_id: str
    surface: str
    """`inline`, `popup`, `action`, `command`, `cli`."""
    trigger: str
    """`automatic` or `invoked`."""
    client: str
    """Editor name and version as it introduced itself; `nl2code` for the command line."""
    instruction: str
    kind: str
    """See `lang.instruction.Kind`."""
    file_id: str
    """Keyed hash of the file's path; never the path."""
    project_id: str
    """Keyed hash of the workspace folder."""
    language: str = "python"
    prompt_version: int
    prompt_hash: str
    """sha256 of the rendered messages and prefill."""
    messages: list[dict[str, str]]
    """The chat as sent, the prefill as a last assistant message."""
    template_hash: str = ""
    """sha256 of the chat template where the host tells it."""
    model: str
    adapter: str = ""
    """Version of the tuned adapter that answered; empty for the base model."""
    engine: str = ""
    temperature: float
    top_p: float
    seed: int | None = None
    max_tokens: int
    n: int
    context: dict[str, Any] = field(default_factory=dict)
    """What went into the prompt: kinds and sizes of its parts, unit asked for, file's line count."""
    seconds: float = 0.0
    first_token_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    outcome: str
    """`ok`, `nothing` or `cancelled`, or the name of an error."""
    reason: str = ""
    """Why nothing was offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRow:
    """One answer of the model, whether it was offered or not."""

    candidate_id: str
    """The suggestion's id, wherever it is offered."""
    request_id: str
    choice_index: int
    """Order of generation."""
    rank: int
    """Order of offering; -1 if it was not offered."""
    n_candidates: int
    order_propensity: float = 1.0
    """Probability of this order under the ranking in force (1 while it is deterministic)."""
    raw: str
    """What the model said."""
    text: str
    """What was offered: the code as it would stand in the file; empty if nothing could be made of it."""
    status: Status
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    """Each check with its result, `{"check", "ok", "detail"}`."""
    examples: list[dict[str, Any]] = field(default_factory=list)
    """Each example run, `{"call", "expected", "got", "ok"}`."""
    logprob_sum: float | None = None
    n_tokens: int = 0
    temperature: float = 0.0
    seed: int | None = None
    finish_reason: str = ""
    origin: Origin = "greedy"
    """How it came to be: the likeliest answer, one drawn at a temperature, or one asked for after a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """Something that happened to a suggestion."""

    event: EventKind
    suggestion_id: str
    request_id: str
    source: Source
    time: float
    cause: str = ""
    """Why it was rejected, or what the inference rests on."""
    visible_ms: int | None = None
    accepted_length: int | None = None
    """Characters taken so far, for a partial acceptance."""
    kept_ratio: float | None = None
    """How much of what was taken (for `instead`: of what was offered) is there, as `tracker` defines it."""
    checkpoint: str = ""
    """`30s`, `2min`, `10min` or `save`, for `kept`, `edited` and `instead`. One without a row is unknown: the file,
    the editor or the server was closed before."""
    final_text: str | None = None
    """What stands in the file then, for `edited`, `kept` and `instead`; empty if it was deleted."""
    data: dict[str, Any] = field(default_factory=dict)
