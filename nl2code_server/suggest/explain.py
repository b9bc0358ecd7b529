"""The story of one decision, as lines for a person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..lang.validate import Check
from . import ExampleRun, Trace

if TYPE_CHECKING:
    from ..feedback.store import Record


def explain(trace: Trace) -> str:
    """Tell a decision from end to end as Markdown: what was asked, what came, what was checked, what came of it."""
    lines = [
        f"- **instruction** ({trace.kind}): {_code(trace.instruction)}",
        f"- **why it was taken for a request**: {trace.detected}",
        f"- **model**: {trace.model or 'none reached'}",
        f"- **result**: {trace.result}",
        "",
        "| after | stage |",
        "|---|---|",
        *(f"| {seconds:.2f} s | {stage} |" for stage, seconds in trace.stages),
    ]
    for number, raw in enumerate(trace.raw, start=1):
        lines += ["", f"### Answer {number}", "", *_block(raw), ""]
        for check in trace.checks[number - 1]:
            detail = f" {_code(check.detail)}" if check.detail else ""
            lines.append(f"- {'ok' if check.ok else 'FAILED'} {check.check}{detail}")
        for run in trace.examples[number - 1]:
            outcome = "ok" if run.ok else f"FAILED, got {_code(run.got)}"
            lines.append(f"- example {_code(run.call)} = {_code(run.expected)}: {outcome}")
    lines += ["", "### Prompt", "", *_block(trace.prompt)]
    return "\n".join(lines)


def _code(text: str) -> str:
    """Quote a text that may be anybody's, on one line: pictures named in it would be fetched by who shows it."""
    tick = "`" * (1 + max([0, *(len(run) for run in re.findall("`+", text))]))
    return f"{tick} {' '.join(text.split())} {tick}"


def _block(text: str) -> list[str]:
    """Fence a text with what it does not hold itself."""
    fence = "~" * max([3, *(len(run) + 1 for run in re.findall("~+", text))])
    return [fence, text.rstrip(), fence]


def logged_trace(record: Record) -> Trace:
    """Rebuild the story of a decision from the feedback log."""
    request = record.request
    return Trace(
        instruction=request.instruction,
        kind=request.kind,
        detected=request.context.get("detected", "not logged"),
        prompt="\n\n".join(message["content"] for message in request.messages),
        raw=[candidate.raw for candidate in record.candidates],
        checks=[[_check(verdict) for verdict in candidate.verdicts] for candidate in record.candidates],
        examples=[[ExampleRun(**run) for run in candidate.examples] for candidate in record.candidates],
        stages=[("first token", request.first_token_seconds), ("done", request.seconds)],
        result=", ".join(
            [
                request.reason or request.outcome,
                *(f"{event.event} ({event.source})" for event in record.events),
            ]
        ),
        model=request.model,
    )


def _check(verdict: dict[str, Any]) -> Check:
    return Check(verdict["check"], verdict["ok"], verdict.get("detail", ""))
