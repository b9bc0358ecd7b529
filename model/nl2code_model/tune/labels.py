"""What a user did with a suggestion, as a label: a record of the log in, judged answers and pairs out. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import cast, get_args

from nl2code_server.feedback.events import CandidateRow, EventRow, RequestRow
from nl2code_server.feedback.store import Record
from nl2code_server.feedback.tracker import normalised
from nl2code_server.lang.placement import Place
from nl2code_server.lang.prompt import FENCE
from nl2code_server.lang.unit import extract

from .recipe import Cuts
from .rows import Asked, Pair, Row

CUT_OFF = ("length", "budget", "repetition")
"""Ends of an answer that were not the model's: learnt from, they would teach it to stop in the middle."""


@dataclass(slots=True)
class Labels:
    """All rows and pairs of a log, and what became of the suggestions that gave none."""

    rows: list[Row] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    spare: list[Row] = field(default_factory=list)
    """Verified answers that nobody saw, to requests of which another was accepted: for more variety."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Suggestions without a label, by the reason."""
    requests: int = 0
    judged: int = 0
    """Suggestions with a label."""
    unmeasured: int = 0
    """Accepted ones of which nobody saw what was left; they count as kept."""


@dataclass(slots=True)
class _Fate:
    """What is known of one candidate."""

    candidate: CandidateRow
    events: list[EventRow]
    row: Row | None = None
    ratio: float = 1.0
    why: str = ""

    def has(self, *kinds: str) -> bool:
        return any(event.event in kinds for event in self.events)

    def last(self, kind: str) -> EventRow | None:
        return max((one for one in self.events if one.event == kind), key=lambda one: one.time, default=None)

    def seen(self, cuts: Cuts) -> bool:
        """Whether there is evidence that somebody looked at it."""
        if self.has("accepted", "partially_accepted", "rejected"):
            return True
        visible = [event.visible_ms for event in self.events if event.visible_ms is not None]
        shown = [event for event in self.events if event.event == "shown"]
        return bool(shown) and (not visible or max(visible) >= cuts.visible_ms)


def label(records: Iterable[Record], cuts: Cuts, *, seed: int = 0) -> Labels:
    """Judge every suggestion of a log."""
    found = Labels()
    for record in records:
        found.requests += 1
        _judge(record, cuts, seed, found)
    return found


def asked_of(request: RequestRow) -> Asked:
    """Return what a request showed to the model."""
    messages = [(one.get("role", ""), one.get("content", "")) for one in request.messages]
    prefill = messages.pop()[1] if messages and messages[-1][0] == "assistant" else ""
    depth = request.context.get("depth", 0)
    return Asked(
        request_id=request.request_id,
        messages=tuple(messages),
        prefill=prefill,
        depth=depth if isinstance(depth, int) else 0,
        instruction=request.instruction,
        kind=request.kind,
        place=_place(request, prefill),
        group=request.file_id,
        project=request.project_id,
        time=request.time,
        model=request.model,
        adapter=request.adapter,
    )


def _judge(record: Record, cuts: Cuts, seed: int, found: Labels) -> None:
    asked = asked_of(record.request)
    if not asked.messages:  # the level `no-code`
        found.skipped["no text was logged"] += len(record.candidates)
        return
    events = sorted(record.events, key=lambda one: (one.suggestion_id, one.time))
    by_id = {key: list(group) for key, group in groupby(events, key=lambda one: one.suggestion_id)}
    fates = [_Fate(one, by_id.get(one.candidate_id, [])) for one in record.candidates]
    for fate in fates:
        if not fate.candidate.text:
            fate.why = "nothing was made of it"
            continue
        fate.row = _row(asked, fate, cuts, seed, found)
        if fate.row:
            found.rows.append(fate.row)
            found.judged += 1
    found.pairs += _pairs(asked, fates, cuts)
    found.spare += _spare(asked, fates)
    found.skipped.update(fate.why for fate in fates if fate.row is None and fate.why)


def _row(asked: Asked, fate: _Fate, cuts: Cuts, seed: int, found: Labels) -> Row | None:
    """Give one suggestion its label, or say why it gets none."""
    candidate = fate.candidate
    shown = _code(asked, candidate)
    if fate.has("accepted"):
        return _accepted(asked, fate, shown, cuts, found)
    instead = fate.last("instead")
    if instead and instead.final_text and fate.has("rejected", "dismissed", "ignored"):
        if (instead.kept_ratio or 0.0) >= cuts.instead:
            return _made(
                asked, candidate, normalised(instead.final_text), "instead", desirable=True, learn=True
            )
        fate.why = "something else was written"
    if fate.has("rejected"):
        return _made(asked, candidate, shown, "rejected", desirable=False, learn=False)
    if fate.has("ignored") and fate.seen(cuts) and _drawn(candidate.candidate_id, seed) < cuts.ignored_share:
        return _made(asked, candidate, shown, "ignored", desirable=False, learn=False)
    fate.why = fate.why or (
        "left alone" if fate.has("ignored") else "closed" if fate.has("dismissed") else "not decided on"
    )
    return None


def _accepted(asked: Asked, fate: _Fate, shown: str, cuts: Cuts, found: Labels) -> Row | None:
    candidate, kept = fate.candidate, fate.last("kept")
    complete = candidate.finish_reason not in CUT_OFF
    if kept is None or kept.kept_ratio is None:
        found.unmeasured += 1
        return _made(asked, candidate, shown, "accepted", desirable=True, learn=complete)
    fate.ratio = kept.kept_ratio
    if kept.final_text is not None and not kept.final_text.strip():
        return _made(asked, candidate, shown, "undone", desirable=False, learn=False)
    distance = 1 - fate.ratio
    if distance <= cuts.trivial:
        return _made(asked, candidate, shown, "accepted", desirable=True, learn=complete)
    if distance > cuts.rewritten or kept.final_text is None:
        fate.why = "rewritten"
        return None
    final = normalised(kept.final_text)
    imports = _imports(asked, candidate)
    return _made(asked, candidate, _joined(imports, final), "edited", desirable=True, learn=True)


def _made(
    asked: Asked, candidate: CandidateRow, code: str, source: str, *, desirable: bool, learn: bool
) -> Row:
    return Row(
        id=candidate.candidate_id, asked=asked, code=code, desirable=desirable, learn=learn, source=source
    )


def _pairs(asked: Asked, fates: Sequence[_Fate], cuts: Cuts) -> list[Pair]:
    """Return who was preferred to whom among the answers to one request."""
    made = [
        (fate.row.code, _code(asked, fate.candidate), fate.row.source)
        for fate in fates
        if fate.row and fate.row.source in ("edited", "instead")
    ]
    good = [
        fate
        for fate in fates
        if fate.row and fate.row.desirable and fate.row.source != "instead" and fate.ratio >= cuts.retained
    ]
    for better in good:
        for other in fates:
            passed_over = other.seen(cuts) and (other.row is None or not other.row.desirable)
            if other is not better and other.candidate.text and passed_over and not other.has("accepted"):
                made.append((_text(better), _code(asked, other.candidate), "sibling"))
    made += _by_verdict(asked, fates)
    unique = {
        (chosen, rejected): source
        for chosen, rejected, source in reversed(made)
        if normalised(chosen) != normalised(rejected)
    }
    return [
        Pair(id=f"{asked.request_id}/{n}", asked=asked, chosen=chosen, rejected=rejected, source=source)
        for n, ((chosen, rejected), source) in enumerate(reversed(unique.items()))
    ]


def _by_verdict(asked: Asked, fates: Sequence[_Fate]) -> list[tuple[str, str, str]]:
    """Prefer what passes the user's example to what fails it: the first that passes, to each that fails."""
    passing = [
        fate
        for fate in fates
        if fate.candidate.status == "verified"
        and fate.candidate.text
        and not (fate.row and not fate.row.desirable)
    ]
    failing = [
        fate
        for fate in fates
        if fate.candidate.text
        and not (fate.row and fate.row.desirable)
        and any(run.get("ok") is False for run in fate.candidate.examples)
    ]
    if not passing:
        return []
    kept = next((fate for fate in passing if fate.row), passing[0])
    chosen = _text(kept) if kept.row else _code(asked, kept.candidate)
    return [(chosen, _code(asked, fate.candidate), "verifier") for fate in failing]


def _spare(asked: Asked, fates: Sequence[_Fate]) -> list[Row]:
    taken = [fate.row.code for fate in fates if fate.row and fate.row.desirable]
    if not taken:
        return []
    codes = {
        _code(asked, fate.candidate): fate.candidate
        for fate in fates
        if fate.row is None and not fate.events and fate.candidate.status == "verified"
    }
    return [
        _made(asked, candidate, code, "sibling", desirable=True, learn=True)
        for code, candidate in codes.items()
        if code not in taken
    ]


def _text(fate: _Fate) -> str:
    assert fate.row
    return fate.row.code


def _code(asked: Asked, candidate: CandidateRow) -> str:
    """Return what was offered, with the imports that the model wrote for it."""
    return _joined(_imports(asked, candidate), candidate.text)


def _place(request: RequestRow, prefill: str) -> Place:
    told = request.context.get("place")
    if told in get_args(Place):
        return cast("Place", told)
    return "body" if prefill.removeprefix(FENCE) else "module"


def _imports(asked: Asked, candidate: CandidateRow) -> tuple[str, ...]:
    unit = extract(candidate.raw, asked.frame, prefilled=bool(asked.prefill)) if candidate.raw else None
    return tuple(line for line in unit.imports if line not in candidate.text) if unit else ()


def _joined(imports: Sequence[str], code: str) -> str:
    return "\n\n\n".join(part for part in ("\n".join(imports), code.strip("\n").rstrip()) if part)


def _drawn(key: str, seed: int) -> float:
    """Return a number from 0 to 1 that depends on the key alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:4]) / 2**32
