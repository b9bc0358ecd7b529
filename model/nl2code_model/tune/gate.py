"""The gate: what serves and what was tuned answer the same prompts, and only what is better may serve."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nl2code_server.feedback.events import CandidateRow
from nl2code_server.feedback.redact import redact
from nl2code_server.feedback.tracker import similarity
from nl2code_server.lang.context import Around
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.prompt import PROMPT_VERSION

from ..evaluate import tasks
from ..evaluate.isolate import Isolation
from ..evaluate.judging import Judge
from ..evaluate.tasks import Anchor
from ..evaluate.transplant import Case, case
from ..host.engine import Engine
from .clean import parses
from .compare import Score, Verdict, judge
from .prompts import situation
from .recipe import GateLimits
from .rows import Asked, Row, fingerprint
from .speak import Kept, Said, answers

MAX_TOKENS = 256
REPLAYED = 3
"""One task in so many is for replay, the others for the gate: nothing is judged by what it was trained on."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Asking:
    """A task of our own set as a request."""

    task: Anchor
    case: Case
    asked: Asked


def own_tasks(*, for_replay: bool, limit: int = 0) -> list[Asking]:
    """Return the tasks of one side, as the product would ask about them; `limit` takes the first so many."""
    found = []
    for task in tasks.read():
        assert isinstance(task, Anchor)
        drawn = hashlib.sha256(task.id.encode()).digest()[0] % REPLAYED == 0
        if drawn is for_replay and (made := asking(task)):
            found.append(made)
    return found[:limit] if limit else found


def asking(task: Anchor) -> Asking | None:
    """Return a task as a request, with the modules of its project around it."""
    made = case(task)
    modules = {
        path.removesuffix(".py").replace("/", "."): Snapshot.from_text(text, uri=f"file:///{path}")
        for path, text in task.files.items()
        if path != task.target and path.endswith(".py")
    }
    found = situation(
        made.text,
        made.line,
        uri=f"file:///{task.target}",
        around=Around(modules=modules) if modules else None,
    )
    return Asking(task, made, found.asked(task.id)) if found else None


async def compare(
    engine: Engine,
    before: tuple[str, Path | None],
    after: tuple[str, Path],
    held_out: Sequence[Row],
    limits: GateLimits,
    *,
    folder: Path,
    own: Path,
    task_limit: int = 0,
    max_tokens: int = MAX_TOKENS,
    tell: Tell = lambda _: None,
) -> Verdict:
    """Ask both, by name and folder of their adapters, and judge. What was turned down is no example of anything.

    Answers are kept in `folder` until the run is over; those of the model itself to our own tasks stay in `own`.
    """
    wanted = [row for row in held_out if row.desirable]
    ours = own_tasks(for_replay=False, limit=task_limit)
    total = len(wanted) + len(ours)
    scores: list[tuple[list[Score], list[Score]]] = []
    for what, (name, adapter) in (("what serves", before), ("the new adapter", after)):
        await engine.use_adapter(name if adapter else "", adapter)
        kept = Kept(folder / f"said-{name or 'model'}.json")
        tasks_kept = kept if adapter else kept_of_model(engine, own)

        def told(done: int, what: str = what) -> None:
            tell(f"asking {what}: {done} of {total}")

        said = await answers(
            engine, [row.asked for row in wanted], max_tokens=max_tokens, kept=kept, tell=told
        )
        held = [_likeness(row, one) for row, one in zip(wanted, said, strict=True)]
        said = await answers(
            engine,
            [one.asked for one in ours],
            max_tokens=max_tokens,
            kept=tasks_kept,
            tell=lambda done, told=told: told(len(wanted) + done),  # type: ignore[misc]
        )
        scores.append((held, _tested(ours, said)))
    (held_before, tasks_before), (held_after, tasks_after) = scores
    return judge((held_before, held_after), (tasks_before, tasks_after), limits)


def kept_of_model(engine: Engine, folder: Path) -> Kept:
    """Return the answers of the model itself to our own tasks, which hold nothing of the user's."""
    made_by = fingerprint([engine.name, engine.model, PROMPT_VERSION, tasks.VERSION])[:12]
    return Kept(folder / f"answers-{made_by}.json")


def _likeness(row: Row, said: Said) -> Score:
    return _score(row.id, similarity(said.code, row.code) if said.code else 0.0, row.asked, said)


def _tested(ours: Sequence[Asking], said: Sequence[Said]) -> list[Score]:
    with Isolation() as isolation:
        return [
            _score(one.task.id, float(passes(one, answer, isolation)), one.asked, answer)
            for one, answer in zip(ours, said, strict=True)
        ]


def passes(one: Asking, said: Said, isolation: Isolation) -> bool:
    """Run the tests of a task on an answer, behind walls."""
    if not said.code:
        return False
    row = CandidateRow(
        candidate_id="c", request_id="r", choice_index=0, rank=0, n_candidates=1, raw=said.raw, text=said.code,
        status="valid",
    )  # fmt: skip
    judged = Judge(one.case, isolation)
    return judged.file(judged.accepted(row)).passed


def _score(id: str, value: float, asked: Asked, said: Said) -> Score:
    whole = bool(said.code) and parses(said.code, asked.head, asked.depth)
    return Score(id, value, whole, len(said.code), said.repeated, asked.kind, leaks(asked, said))


def leaks(asked: Asked, said: Said) -> bool:
    """Tell whether an answer holds a key or token that was not in what was asked: it can only have been learnt."""
    shown = "".join(text for _, text in asked.messages)
    return any(
        one.secret not in shown and not one.kind.startswith(("email", "ip", "user"))
        for one in redact(said.raw).findings
    )
