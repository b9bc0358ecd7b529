"""From an answer to a candidate: cut the unit out, put it into the file, check it there, run its examples."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..feedback.events import Origin
from ..lang import Edit
from ..lang.attributes import missing_attributes, offered_instead
from ..lang.document import Snapshot
from ..lang.examples import Example, find_examples
from ..lang.hidden import visible
from ..lang.imports import missing_members, needed, unknown_imports
from ..lang.names import insert_imports, missing_imports, undefined
from ..lang.placement import Placement
from ..lang.quotes import conform
from ..lang.signatures import symbols
from ..lang.splice import apply, splice
from ..lang.unit import Frame, Unit, extract, without_known
from ..lang.validate import Check, validate
from ..lang.versions import too_new, written
from . import ExampleRun, Job, Status, warn
from .generate import Answer
from .normal_form import normal_form
from .program import runnable
from .sandbox import Interpreter
from .verify import verify

# Compiling silences warnings for the whole process, which two threads must not do at once.
_ONE_AT_A_TIME = threading.Lock()

_NOT_RUN = Check("examples", True, "running examples is switched off")

_MOST_NAMED = 8

# A candidate that fails one of these is offered on request alone, marked failed.
_SOFT = ("names", "imports", "python", "duplicate", "examples", *warn.SOFT)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer with its verdicts; `code` is empty if there was none in it."""

    id: str
    answer: Answer
    code: str = ""
    imports: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    status: Status = "failed"
    checks: tuple[Check, ...] = ()
    examples: tuple[ExampleRun, ...] = ()
    origin: Origin = "greedy"
    agreement: int = 0
    """How many candidates give the same values on the same inputs, itself included; 0 if none does."""
    unused: int = 0
    """How many of the names in `Frame.uses` it does without."""

    @property
    def greedy(self) -> bool:
        """Whether it is the model's first choice."""
        return self.origin == "greedy"

    @property
    def faults(self) -> int:
        """How many checks it fails besides its examples: what a wrong value is less bad than."""
        return sum(not check.ok for check in self.checks if check.check != "examples")

    @property
    def mean_logprob(self) -> float | None:
        """Log-probability per token, where the endpoint tells."""
        if self.answer.logprob is None or not self.answer.tokens:
            return None
        return self.answer.logprob / self.answer.tokens

    @property
    def harmless(self) -> bool:
        """Whether the file still parses with it: the least that anything offered must do."""
        return bool(self.edits) and all(check.ok for check in self.checks if check.check not in _SOFT)


def examples_of(job: Job) -> tuple[Example, ...]:
    """Return the examples that the instruction gives."""
    return find_examples(job.instruction.text)


async def judge(
    job: Job,
    placement: Placement,
    frame: Frame,
    answer: Answer,
    candidate_id: str,
    *,
    comment: str,
    sandbox: Interpreter | None,
    origin: Origin = "greedy",
    before: Sequence[Candidate] = (),
) -> Candidate:
    """Turn an answer into a candidate. Without a sandbox its examples are not run.

    A program that is among those `before` is not run again: it takes over their verdict.
    """
    bare = Candidate(candidate_id, answer, origin=origin)
    if answer.finish_reason == "repetition":
        return replace(bare, checks=(Check("answer", False, "the model repeats itself"),))
    unit = extract(answer.raw, frame, prefilled=answer.prefilled)
    if unit is None:
        return replace(bare, checks=(Check("answer", False, "the answer holds no code"),))
    # Off the event loop: a long file takes a tenth of a second to compile.
    candidate = await asyncio.to_thread(_in_file, job, placement, bare, unit, comment)
    words = set(re.findall(r"\w+", candidate.code))
    candidate = replace(candidate, unused=len(set(frame.uses) - words))
    if not all(check.ok for check in candidate.checks):
        return candidate
    if sandbox is None:
        return replace(candidate, status="valid", checks=(*candidate.checks, _NOT_RUN))
    if (twin := _twin(candidate, before)) is not None:
        checks = (check for check in twin.checks if check.check == "examples")
        return replace(
            candidate, status=twin.status, examples=twin.examples, checks=(*candidate.checks, *checks)
        )
    return await _verified(job, placement, candidate, sandbox)


def _twin(candidate: Candidate, before: Sequence[Candidate]) -> Candidate | None:
    """Return the same program from those that were run before."""
    program = normal_form(candidate.code)
    for one in before:
        if one.imports == candidate.imports and normal_form(one.code) == program:
            return one if any(check.check == "examples" for check in one.checks) else None
    return None


def edits_for(
    job: Job, placement: Placement, code: str, imports: tuple[str, ...], *, comment: str
) -> tuple[Edit, ...]:
    """Return the edits that bring code and its imports into the file."""
    return (
        *insert_imports(job.snapshot, imports),
        *splice(job.snapshot, job.instruction, placement, code, comment=comment),
    )


def _in_file(job: Job, placement: Placement, bare: Candidate, unit: Unit, comment: str) -> Candidate:
    """Splice the unit and check the whole file against the file without it."""
    with _ONE_AT_A_TIME:
        return _checked(job, placement, bare, unit, comment)


def _checked(job: Job, placement: Placement, bare: Candidate, unit: Unit, comment: str) -> Candidate:
    snapshot = job.snapshot
    before = snapshot.text
    code = visible(conform(unit.code, job.known.quotes))
    if placement.place == "module":
        code = without_known(code, {symbol.name for symbol in symbols(snapshot)})
    edits = edits_for(job, placement, code, (), comment=comment)
    missing = missing_imports(undefined(before, apply(snapshot, edits)), code, job.known.definitions)
    own = needed(tuple(map(visible, unit.imports)), code, job.known.definitions, job.known.importable)
    imports = _new_lines(before, (*own, *missing.values()))
    edits = edits_for(job, placement, code, imports, comment=comment)
    after = snapshot.edited(edits)
    checks = (
        *validate(snapshot, edits, placement),
        _names(job, after),
        *_suits_project(job, after),
        *warn.warnings_of(job, placement, after, code, imports, "\n".join([*unit.imports, unit.code])),
    )
    return replace(bare, code=code, imports=imports, edits=edits, checks=checks)


def _names(job: Job, after: Snapshot) -> Check:
    """Check that the code uses nothing that nobody defines; of an attribute, say what there is instead."""
    before, text, modules = job.snapshot.text, after.text, tuple(job.modules.values())
    said = list(undefined(before, text))
    for name in missing_attributes(before, text, modules):
        instead = ", ".join(offered_instead(name, text, modules)[:_MOST_NAMED])
        said.append(f"{name} (there are {instead})" if instead else name)
    return Check("names", not said, f"not defined: {', '.join(said)}" if said else "")


def _suits_project(job: Job, after: Snapshot) -> tuple[Check, ...]:
    """Check a file against the Python that its project supports and the packages that it has."""
    known, checks = job.known, []
    if known.python:
        newer = too_new(job.snapshot.text, after.text, known.python)
        detail = f"{', '.join(newer)}; the project supports {written(known.python)}" if newer else ""
        checks.append(Check("python", not newer, detail))
    if absent := missing_members(job.snapshot, after, job.modules):
        checks.append(Check("imports", False, f"not in the project: {', '.join(absent)}"))
    if not known.importable:
        return tuple(checks)
    missing = unknown_imports(job.snapshot, after, known.importable)
    wanted = [name for name in missing if name.lower() in job.instruction.text.lower()]
    detail = f"not installed in the project's environment: {', '.join(missing)}" if missing else ""
    if missing and not known.environment:
        detail = f"no environment of the project was found to look for {', '.join(missing)}"
    # A package that the user names may be about to be installed.
    ok = not known.environment or len(wanted) == len(missing)
    return (*checks, Check("imports", ok, detail))


async def _verified(job: Job, placement: Placement, candidate: Candidate, sandbox: Interpreter) -> Candidate:
    """Run the examples of the instruction against the candidate."""
    examples = examples_of(job)

    def prepared() -> tuple[str, str, tuple[Example, ...]]:
        with _ONE_AT_A_TIME:
            after = _with_imports_for(examples, job, job.snapshot.edited(candidate.edits))
        return runnable(after, candidate.code, placement.scope, examples, job.modules)

    code, context, fitting = await asyncio.to_thread(prepared)
    verdict = await verify(code, context, fitting, sandbox)
    check = Check("examples", verdict.status != "failed", verdict.reason)
    return replace(candidate, status=verdict.status, examples=verdict.runs, checks=(*candidate.checks, check))


def _with_imports_for(examples: Sequence[Example], job: Job, after: Snapshot) -> Snapshot:
    """Return the file with imports of what examples alone use: `total(Order("al"))` says which `Order` is meant."""
    said = "\n".join(part for one in examples for part in (one.setup, f"({one.call})", f"({one.expected})"))
    names = undefined(after.text, f"{after.text}\n{said}\n") if examples else ()
    lines = missing_imports(names, said, job.known.definitions).values()
    return after.edited(insert_imports(after, lines)) if lines else after


def _new_lines(before: str, imports: Iterable[str]) -> tuple[str, ...]:
    """Return the import lines that the file does not have yet, each once."""
    present = {line.strip() for line in before.splitlines()}
    return tuple(dict.fromkeys(line for line in imports if line not in present))
