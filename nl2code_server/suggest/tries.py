"""What to ask next, given what came so far: the model's first choice, a repair of it, samples; or nothing more."""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..feedback.events import Origin
from ..lang.document import Snapshot
from ..lang.examples import Example
from ..lang.naming import defining, opening
from ..lang.prompt import Prompt
from ..lang.unit import Frame
from .generate import GREEDY, Sampling
from .judge import Candidate
from .normal_form import normal_form
from .program import called_by
from .rank import order
from .repair import best_wrong, repair_prompt
from .think import thinking_prompt

MOST = 6
"""Answers at most for one instruction, besides the further candidates that are wanted."""

EXPLAINED = 2
"""So many answers after a wrong first one explain themselves, the first of them without chance."""

REPAIR_AT = 3
"""After so many wrong answers the next one is a repair."""

_WORTH = 300
"""The search ends when it has cost so many tokens: what has not been found by then is seldom found."""

_LONGER, _LONG = 3, 220
"""An answer with an explanation may be so many times longer than the first one, and in any case so many tokens."""

_PATIENCE = 2
"""So many answers more while the best one does without what the file imports for it."""

_WARM, _HOT = 0.8, 1.1
_LONGEST_HINT = 120
_DRY = 3
"""So many answers in a row that bring no new program mean that there is no more to come."""
_ASYNC = re.compile(r"\basync\b|asynchron|异步")
# With these words the definition may need a line above its `def`.
_DECORATED = re.compile(
    r"decorat|dataclass|@|\bcached?\b|propert|static|context\s*manager|装饰|缓存|属性", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Try:
    """One question to the model."""

    origin: Origin
    prompt: Prompt
    temperature: float
    lead: str = ""
    """The code's first characters, which the model goes on from where the endpoint lets it."""
    hint: str = ""
    """A comment that the model sees above the lead; not part of the code."""
    most: int = 0
    """Tokens at most, fewer than the user's limit; 0 leaves it at that."""

    def sampling(self, seed: int) -> Sampling:
        """Return how the answer is drawn; the seed makes it repeatable from the log."""
        return Sampling(self.temperature, 0.95, seed) if self.temperature else GREEDY


def next_try(
    prompt: Prompt,
    candidates: Sequence[Candidate],
    *,
    wanted: int = 1,
    fresh: bool = False,
    lead: str = "",
    hint: str = "",
    show: bool = False,
) -> Try | None:
    """Return the next question, or None if there are as many good candidates as wanted, or no hope of more.

    The first answer is short: most are right, and all are waited for. After a wrong one come two that explain
    themselves, then short ones that see the hint, but for every third: what one way of asking never finds another
    may. `show` says that the model may be shown a wrong answer.
    """
    if not candidates:
        return Try("sample" if fresh else "greedy", prompt, _WARM if fresh else 0.0, lead)
    good = order(candidate for candidate in candidates if candidate.status != "failed")
    if len(good) >= wanted and (wanted > 1 or not _may_be_better(good[0], candidates)):
        return None
    if len(candidates) >= MOST + wanted - 1 or _run_dry(candidates):
        return None
    if wanted == 1 and _dear(candidates):
        return None
    repaired = any(candidate.origin == "repair" for candidate in candidates)
    wrong = [candidate for candidate in candidates if candidate.status == "failed"]
    if wrong and not repaired and (len(candidates) == REPAIR_AT or best_wrong(wrong).faults):
        return Try("repair", repair_prompt(prompt, best_wrong(wrong), show=show), _WARM, lead, hint)
    temperature = _HOT if repeats(candidates) else _WARM
    if wrong and len(candidates) <= EXPLAINED:
        cold = len(candidates) == 1
        most = max(_LONGER * candidates[0].answer.tokens, _LONG)
        return Try("sample", thinking_prompt(prompt), 0.0 if cold else temperature, lead, most=most)
    lead = (wrong and _signature(lead, candidates[0])) or lead
    return Try("sample", prompt, temperature, lead, "" if len(candidates) % 3 == 0 else hint)


def _signature(lead: str, first: Candidate) -> str:
    """Return the first answer's first line, which need not be written again; empty if it may be what is wrong."""
    match = re.match(rf"{re.escape(lead)}\(.*\).*:[ \t]*\n", first.answer.raw) if lead else None
    misfit = any("argument" in run.got for run in first.examples)
    return match[0] if match and not misfit else ""


def repeats(candidates: Sequence[Candidate]) -> bool:
    """Tell whether the last candidate is a program that came before."""
    *before, last = candidates
    return normal_form(last.code) in {normal_form(one.code) for one in before}


def _dear(candidates: Sequence[Candidate]) -> bool:
    """Tell whether the answers have cost more than the instruction seems to be worth."""
    return len(candidates) > 1 and sum(candidate.answer.tokens for candidate in candidates) >= _WORTH


def _may_be_better(best: Candidate, candidates: Sequence[Candidate]) -> bool:
    """Tell whether an answer that nothing speaks for does without what was imported for it: that is often wrong."""
    return best.status == "valid" and best.unused > 0 and len(candidates) <= _PATIENCE


def _run_dry(candidates: Sequence[Candidate]) -> bool:
    return len(candidates) > _DRY and all(
        repeats(candidates[: len(candidates) - back]) for back in range(_DRY)
    )


def lead_for(snapshot: Snapshot, instruction: str, frame: Frame, examples: Iterable[Example]) -> str:
    """Return how the code must begin: with the definition that the examples call or the instruction names; empty if
    neither tells.

    The model then cannot choose another name, nor talk before it writes. The bracket is left to it: the tokens that
    it knows join the bracket with the first parameter.
    """
    if frame.place == "stub" or _DECORATED.search(instruction):
        return ""
    called = dict.fromkeys(name for example in examples for name in called_by(example))
    unknown = [name for name in called if not hasattr(builtins, name) and not _is_defined(snapshot, name)]
    if len(unknown) == 1:
        first = defining(unknown[0], instruction)
    else:
        first = "" if unknown or frame.place == "body" else opening(instruction)
        if first and _is_defined(snapshot, first.split()[1]):
            return ""
    if first.startswith("def ") and _ASYNC.search(instruction):
        first = f"async {first}"
    return " " * frame.depth + first if first else ""


def hint_for(lead: str, examples: Iterable[Example]) -> str:
    """Return the first example as a comment for above the lead; empty without a lead, or if it is long."""
    depth = len(lead) - len(lead.lstrip())
    for example in examples:
        wanted = f"raises {example.raises}" if example.raises else f"-> {example.expected}"
        line = f"{' ' * depth}# {example.call} {wanted}\n"
        if lead and not example.setup and line.count("\n") == 1 and len(line) <= _LONGEST_HINT:
            return line
    return ""


def _is_defined(snapshot: Snapshot, name: str) -> bool:
    """Tell whether a line of the file defines, assigns or imports a name."""
    return bool(
        re.search(
            rf"^[ \t]*(?:(?:async\s+)?(?:def|class)\s+{name}\b|{name}\s*[:=,)]|{name}\s*$"
            rf"|(?:from\s+\S+\s+)?import\b[^\n]*\b{name}\b)",
            snapshot.text,
            re.MULTILINE,
        )
    )
