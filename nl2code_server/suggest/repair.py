"""Ask again with what went wrong: the best wrong answer, and the example or the check that it does not pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..lang.prompt import FENCE, Prompt, defuse
from .judge import Candidate

_LONGEST = 2_000  # characters of a wrong answer that are shown again


def best_wrong(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate that is worth mending: it fits the file, passes most examples, came first."""
    return max(
        candidates, key=lambda one: (one.harmless, bool(one.code), sum(run.ok for run in one.examples))
    )


def repair_prompt(prompt: Prompt, wrong: Candidate, *, show: bool) -> Prompt:
    """Return the chat with what went wrong; with `show`, the wrong answer and the complaint are two further turns.

    Small models copy a wrong answer that they are shown, token for token, so they are told what is wrong alone.
    """
    if not show:
        *before, (role, question) = prompt.messages
        return replace(prompt, messages=(*before, (role, f"{question}\n\nMind: {defuse(complaint(wrong))}.")))
    shown = (wrong.code or wrong.answer.raw).strip()[:_LONGEST]
    turns = (
        ("assistant", f"{FENCE}{defuse(shown)}\n```"),
        ("user", f"That is wrong: {defuse(complaint(wrong))}. Write the corrected code."),
    )
    return replace(prompt, messages=(*prompt.messages, *turns))


def complaint(wrong: Candidate) -> str:
    """Say what is wrong with a candidate: the first example that it fails, else the first check."""
    for run in wrong.examples:
        if not run.ok:
            return f"`{run.call}` must {_wanted(run.expected)}, not end in `{run.got}`"
    failed = next((check for check in wrong.checks if not check.ok), None)
    return (failed.detail or failed.check) if failed else "it does not do what was asked"


def _wanted(expected: str) -> str:
    return f"`{expected}`" if expected.startswith("raise ") else f"give `{expected}`"
