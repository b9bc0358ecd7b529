"""The data set of one run: labels, cleaned, split, varied and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nl2code_server.feedback.events import SCHEMA_VERSION
from nl2code_server.feedback.store import Record, Store
from nl2code_server.lang.prompt import PROMPT_VERSION

from ..evaluate import tasks
from ..evaluate.tasks import Anchor
from .augment import variants
from .clean import Grams, benchmark_grams, capped, clean, without_doubles, without_near
from .labels import Labels, label
from .recipe import Recipe
from .rows import Pair, Row, fingerprint, row_json
from .split import Parts, interleaved, split

FORMAT = 1
REPOSITORY = "repository"
"""Source of rows that nobody was asked about: they are learnt, and are no verdict."""


@dataclass(slots=True)
class Dataset:
    """Everything that a run learns from and is judged by."""

    learn: list[Row]
    """Learnt word for word: the user's, and variants of them."""
    judged: list[Row]
    """Told apart: desirable or not, in the order in which KTO takes them."""
    pairs: list[Pair]
    held_out: list[Row]
    held_pairs: list[Pair]
    parts: Parts
    labels: Labels
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def desirable(self) -> int:
        """How many judged rows are to be said more often."""
        return sum(row.desirable for row in self.judged)

    @property
    def hash(self) -> str:
        """Tell this data from other data: every row, in its order."""
        return fingerprint(
            [
                [row_json(row) for row in (*self.learn, *self.judged, *self.held_out)],
                [[one.id, one.chosen, one.rejected] for one in (*self.pairs, *self.held_pairs)],
            ]
        )

    def counts(self) -> dict[str, Any]:
        """Return the sizes, as `tune --dry-run --json` begins."""
        originals = [row for row in self.learn if not row.variant]
        return {
            "sft": len(originals),
            "kto": {"desirable": self.desirable, "undesirable": len(self.judged) - self.desirable},
            "dpo": len(self.pairs),
            "held_out": len(self.held_out),
        }

    def details(self) -> dict[str, Any]:
        """Return what is in it and what is not, and why."""
        return {
            "requests": self.labels.requests,
            "judged": self.labels.judged,
            "from_repository": sum(row.source == REPOSITORY and not row.variant for row in self.learn),
            "unmeasured": self.labels.unmeasured,
            "variants": dict(Counter(row.variant for row in self.learn if row.variant)),
            "kinds": dict(Counter(row.asked.kind for row in self.learn if not row.variant)),
            "sources": dict(Counter(row.source for row in (*self.learn, *self.judged) if not row.variant)),
            "pair_sources": dict(Counter(one.source for one in self.pairs)),
            "held_out_kinds": dict(Counter(row.asked.kind for row in self.held_out)),
            "dropped": dict(sorted(self.dropped.items())),
            "skipped": dict(sorted(self.labels.skipped.items())),
            "split_by": self.parts.by,
        }

    def manifest(self) -> dict[str, Any]:
        """Return what a manifest says of the data; no text."""
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "prompt_version": PROMPT_VERSION,
            "tasks_version": tasks.VERSION,
            "data_hash": self.hash,
            "split_hash": self.parts.hash,
            **self.counts(),
            **self.details(),
        }


def build(
    records: Iterable[Record],
    recipe: Recipe,
    *,
    repository: Sequence[Row] = (),
    benchmark: Grams | None = None,
) -> Dataset:
    """Make the data set of a log, and of functions from a repository."""
    cleaning, seed = recipe.cleaning, recipe.training.seed
    known = gate_grams(cleaning.overlap) if benchmark is None else benchmark
    found = label(records, recipe.cuts, seed=seed)
    dropped: Counter[str] = Counter()
    length = recipe.training.max_length
    rows = clean([*found.rows, *repository], cleaning, known, dropped, max_length=length)
    rows = capped(without_doubles(rows, cleaning, dropped), cleaning, dropped)
    pairs = clean(found.pairs, cleaning, known, Counter(), max_length=length)
    parts = split(rows, recipe.split)
    held_out = [row for row in rows if row.asked.request_id in parts.held_out]
    train = [row for row in rows if row.asked.request_id in parts.train]
    near = [row for row in held_out if row.desirable]
    train = without_near(train, near, cleaning, dropped)
    ours = [one for one in pairs if one.asked.request_id not in parts.held_out]
    learn = [row for row in train if row.desirable and row.learn]
    if recipe.augmentation.diversity:
        spare = [row for row in found.spare if row.asked.request_id in parts.train]
        learn += without_near(
            clean(spare, cleaning, known, dropped, max_length=length), near, cleaning, dropped
        )
    return Dataset(
        learn=interleaved([*learn, *variants(learn, recipe.augmentation, seed)]),
        judged=interleaved([row for row in train if row.source != REPOSITORY]),
        pairs=without_near(ours, near, cleaning, Counter()),
        held_out=held_out,
        held_pairs=[one for one in pairs if one.asked.request_id in parts.held_out],
        parts=parts,
        labels=found,
        dropped=dropped,
    )


def read_log(database: Path, *, project: str = "") -> list[Record]:
    """Return the records of a store, of one project if it is named; none where there is no store."""
    if not database.exists():
        return []
    with Store(database) as store:
        return [one for one in store.records() if not project or one.request.project_id == project]


def gate_grams(size: int) -> Grams:
    """Return the runs of tokens of our own tasks: their instructions and the answers to them."""
    texts = []
    for task in tasks.read():
        if isinstance(task, Anchor):
            texts += [task.reference, _instruction(task)]
    return benchmark_grams(texts, size)


def _instruction(task: Anchor) -> str:
    lines = task.files[task.target].split("\n")
    first = task.line
    while first and lines[first - 1].lstrip().startswith("#") and lines[first].lstrip().startswith("#"):
        first -= 1
    return " ".join(line.strip().lstrip("#").strip() for line in lines[first : task.line + 1])
