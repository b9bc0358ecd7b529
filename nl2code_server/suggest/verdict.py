"""What is known of a suggestion, in one line: the same words on every surface."""

from __future__ import annotations

from . import Suggestion
from .warn import told

_CALLS = 2
_LONGEST = 80  # characters of a value

_NOTHING_TO_RUN = "no examples"


def verdict(suggestion: Suggestion) -> str:
    """Say whether it is verified (by which calls), valid (why nothing was decided) or failed (what, and how)."""
    return f"{suggestion.status}: {grounds(suggestion)}"


def grounds(suggestion: Suggestion) -> str:
    """Say what the verdict rests on, and what to look at before taking it."""
    rest, careful = _rests_on(suggestion), "; ".join(told(suggestion))
    if not careful or careful == rest:
        return rest
    return f"{rest}; careful, {careful}"


def _rests_on(suggestion: Suggestion) -> str:
    if suggestion.status == "verified":
        calls = [f"{run.call} gave {_short(run.got)}" for run in suggestion.examples]
        more = [f"{len(calls) - _CALLS} more hold"] if len(calls) > _CALLS else []
        return ", ".join([*calls[:_CALLS], *more])
    if suggestion.status == "valid":
        reason = next((check.detail for check in suggestion.checks if check.check == "examples"), "")
        return "no example to run" if reason in ("", _NOTHING_TO_RUN) else f"not verified, {reason}"
    for run in suggestion.examples:
        if not run.ok:
            return f"{run.call} gave {_short(run.got)}, not {_short(run.expected)}"
    return next((check.detail or check.check for check in suggestion.checks if not check.ok), "")


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
