"""Hidden tests on what came of a case: on the file as accepted, and on every other candidate put into it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nl2code_server.feedback.events import CandidateRow
from nl2code_server.lang.examples import UNIT, Example, find_examples
from nl2code_server.lang.names import insert_imports, missing_imports, undefined
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import apply, splice

from . import measure
from .chat import instruction_of
from .isolate import SECONDS, Isolation
from .transplant import Case

UNOFFERED_SECONDS = 4.0
"""Limit for candidates that nobody saw: an endless loop among eight of them must not cost minutes."""
_IMPORT = re.compile(r"^[ \t]*((?:from[ \t]+\S+[ \t]+)?import[ \t]+(?:\([^)]*\)|[^\n]+))", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """What the tests said of one state of the file."""

    reasons: tuple[str, ...] = ()
    """Of the hidden tests, empty where one passed."""
    shown: int = 0
    example_reasons: tuple[str, ...] = ()
    walls: str = ""

    @property
    def passed(self) -> bool:
        """Whether all hidden tests passed."""
        return bool(self.reasons) and not any(self.reasons)

    @property
    def hidden(self) -> bool:
        """Whether those passed that the instruction does not show."""
        rest = self.reasons[self.shown :]
        return bool(rest) and not any(rest)

    @property
    def example(self) -> bool | None:
        """Whether the example of the instruction holds; None if it has none."""
        return not any(self.example_reasons) if self.example_reasons else None


class Judge:
    """The tests of one case; each state of its file is tested once."""

    def __init__(self, case: Case, isolation: Isolation, seconds: float = SECONDS) -> None:
        self.case = case
        self.instruction = instruction_of(case)
        self.examples = find_examples(self.instruction.text)
        self._isolation = isolation
        self._seconds = seconds
        self._known: dict[str, Found] = {}

    def file(self, text: str, seconds: float | None = None) -> Found:
        """Run the hidden tests and the examples on a state of the file."""
        if text not in self._known:
            case = self.case
            files = {**case.files, case.target: runnable(case, text)}
            programs = tests(case, text)
            examples = [_program(case, text, example) for example in self.examples]
            verdict = self._isolation.run(files, [*programs, *examples], seconds=seconds or self._seconds)
            reasons = verdict.reasons
            self._known[text] = Found(
                reasons[: len(programs)], case.shown, reasons[len(programs) :], verdict.walls
            )
        return self._known[text]

    def holds(self, text: str, runs: Sequence[dict[str, Any]]) -> bool | None:
        """Say whether the examples that the product says it ran hold here too; all of them, if it ran none."""
        found = self.file(text).example_reasons
        claimed = {str(run.get("call")) for run in runs}
        pairs = list(zip(self.examples, found, strict=True))
        asked = [reason for example, reason in pairs if example.call in claimed] or list(found)
        return not any(asked) if asked else None

    def candidates(self, rows: Sequence[CandidateRow], chosen: str, after: str) -> list[dict[str, Any]]:
        """Return what became of each candidate, in the order in which they were made."""
        return [
            self._candidate(row, after if row.candidate_id == chosen else "", row is rows[0]) for row in rows
        ]

    def _candidate(self, row: CandidateRow, after: str, first: bool) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "origin": row.origin,
            "status": row.status,
            "rank": row.rank,
            "tokens": row.n_tokens,
            "checks": [str(one.get("check")) for one in row.verdicts if not one.get("ok")],
            "passed": False,
            "hidden": False,
            "example": None,
            "code": row.text,
        }
        if first:
            entry["as_it_came"] = False
        if not row.text.strip():
            return entry
        text = after or self.accepted(row)
        found = self.file(text, None if after else self._less)
        entry |= {"passed": found.passed, "hidden": found.hidden, "example": found.example}
        if first:
            entry["as_it_came"] = self.file(self.accepted(row, missing=False), self._less).passed
        return entry

    @property
    def _less(self) -> float:
        return min(self._seconds, UNOFFERED_SECONDS)

    def accepted(self, row: CandidateRow, *, missing: bool = True) -> str:
        """Return the file with a candidate in it, as the product would put it there.

        With `missing`, imports are added that the code needs and nobody wrote.
        """
        snapshot, instruction = self.case.snapshot, self.instruction
        before = snapshot.text
        edits = splice(snapshot, instruction, place(snapshot, instruction), row.text)
        after = apply(snapshot, edits)
        lines = [line for line in own_imports(row.raw) if line not in row.text]
        if missing:
            lines += missing_imports(undefined(before, after), row.text).values()
        present = {line.strip() for line in before.splitlines()}
        wanted = dict.fromkeys(line for line in lines if line not in present)
        return apply(snapshot, (*insert_imports(snapshot, wanted), *edits)) if wanted else after


def own_imports(raw: str) -> list[str]:
    """Return the import lines of an answer."""
    lines = (match[1].strip() for match in _IMPORT.finditer(raw))
    return [line for line in lines if measure.is_python(line)]


def runnable(case: Case, text: str) -> str:
    """Return the file as the tests import it: without the error that has nothing to do with the task."""
    return text.replace(case.broken, "", 1) if case.broken else text


def tests(case: Case, after: str) -> list[str]:
    """Return the tests of a case as programs of their own: `target` and `new` are theirs to use."""
    return [f"{_setup(case, after)}\n{test}" for test in case.tests]


def _setup(case: Case, after: str) -> str:
    if case.setup:
        return case.setup
    name = measure.the_new_one(case.text, after)
    found = f"target.{name}" if name else "None"
    return f"import importlib\ntarget = importlib.import_module({case.module!r})\nnew = {found}"


def _program(case: Case, after: str, example: Example) -> str:
    """Return an example as a test."""
    setup = _setup(case, after)
    if not case.setup:
        setup += "\nglobals().update((k, v) for k, v in vars(target).items() if k[:2] != '__')"
    call = example.call.replace(UNIT, measure.the_new_one(case.text, after) or UNIT)
    if example.raises:
        check = f"try:\n    {call}\nexcept {example.raises}:\n    pass\nelse:\n    raise AssertionError"
    elif example.tolerance:
        check = f"assert abs(({call}) - ({example.expected})) <= {example.tolerance!r}"
    else:
        check = f"assert ({call}) == ({example.expected})"
    return "\n".join((setup, example.setup, check))
