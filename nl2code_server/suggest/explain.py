"""The story of one decision, as lines for a person."""

from __future__ import annotations

from . import Trace


def explain(trace: Trace) -> str:
    """Tell a decision from end to end as Markdown: what was asked, what came, what was checked, what came of it."""
    lines = [
        f"**Instruction** ({trace.kind}): {trace.instruction}",
        f"**Taken for a request because** {trace.detected}",
        f"**Model** {trace.model or 'none reached'}",
        f"**Result** {trace.result}",
        "",
        "| after | stage |",
        "|---|---|",
        *(f"| {seconds:.2f} s | {stage} |" for stage, seconds in trace.stages),
    ]
    for number, raw in enumerate(trace.raw, start=1):
        lines += ["", f"### Answer {number}", "", "```", raw.rstrip(), "```", ""]
        for check in trace.checks[number - 1]:
            lines.append(f"- {'ok' if check.ok else 'FAILED'} {check.check} {check.detail}".rstrip())
        for run in trace.examples[number - 1]:
            outcome = "ok" if run.ok else f"FAILED, got `{run.got}`"
            lines.append(f"- example `{run.call}` = `{run.expected}`: {outcome}")
    lines += ["", "### Prompt", "", "~~~~", trace.prompt, "~~~~"]
    return "\n".join(lines)
