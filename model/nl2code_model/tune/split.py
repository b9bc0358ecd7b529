"""What is held out: whole files, the newest, as the product will next be asked about those that come. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from .recipe import Split
from .rows import Row, fingerprint


@dataclass(frozen=True, slots=True)
class Parts:
    """A split by requests, frozen by its hash."""

    train: frozenset[str]
    held_out: frozenset[str]
    by: str
    """`file`, or `time` where there are too few files."""

    @property
    def hash(self) -> str:
        """Tell this split from others."""
        return fingerprint([sorted(self.train), sorted(self.held_out), self.by])


def split(rows: Sequence[Row], wanted: Split) -> Parts:
    """Divide the requests of these rows. A file is never on both sides, unless all of them are in one or two."""
    times: dict[str, float] = {}
    files: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        times[row.asked.request_id] = row.asked.time
        files[row.asked.group].add(row.asked.request_id)
    target = round(wanted.share * len(times))
    newest = sorted(files.values(), key=lambda ids: (max(times[one] for one in ids), min(ids)), reverse=True)
    out: set[str] = set()
    for ids in newest:
        # A large file that would take half of all is left where it is.
        if len(out) < target and len(out) + len(ids) <= max(2 * target, 1):
            out |= ids
    by = "file"
    if len(files) < 4 or len(out) < target // 2:
        by = "time"
        ordered = sorted(times, key=lambda one: (times[one], one))
        out = set(ordered[len(ordered) - target :]) if target else set()
    return Parts(frozenset(times) - out, frozenset(out), by)


def interleaved(rows: Sequence[Row]) -> list[Row]:
    """Order rows so that kinds of instruction and verdicts alternate, and those of one request lie apart.

    KTO takes rows in this order and compares neighbours; variants come last, as a last batch that is not full is
    left out.
    """
    firsts = [row for row in rows if not row.variant]
    rest = [row for row in rows if row.variant]
    return [*_alternating(firsts), *_alternating(rest)]


def _alternating(rows: Sequence[Row]) -> Iterator[Row]:
    strata: defaultdict[tuple[bool, str], list[Row]] = defaultdict(list)
    for row in rows:
        strata[(row.desirable, row.asked.kind)].append(row)
    merged = {
        verdict: _round_robin([strata[key] for key in sorted(strata) if key[0] is verdict])
        for verdict in (True, False)
    }
    good, bad = merged[True], merged[False]
    few, many = sorted((good, bad), key=len)
    if not few:
        yield from many
        return
    # Spread the fewer evenly among the many.
    step, due = len(many) / len(few), 0.0
    at = 0
    for number, row in enumerate(many):
        yield row
        due += 1
        if at < len(few) and due >= step * (at + 0.5):
            yield few[at]
            at += 1
        if number == len(many) - 1:
            yield from few[at:]


def _round_robin(strata: Sequence[Sequence[Row]]) -> list[Row]:
    return [row for row in chain.from_iterable(zip_longest(*strata)) if row is not None]
