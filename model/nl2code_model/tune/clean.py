"""What is not learnt from: broken code, secrets, tasks of the gate, doubles, too much of one file. Pure."""

from __future__ import annotations

import ast
import io
import textwrap
import tokenize
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from nl2code_server.feedback.redact import redact, redact_all
from nl2code_server.feedback.tracker import normalised

from .recipe import Cleaning
from .rows import Asked, Pair, Row

T = TypeVar("T", Row, Pair)
Grams = frozenset[tuple[str, ...]]

SECRET = "<SECRET:"  # noqa: S105 - how `redact` begins what it puts in a secret's place
BYTES_PER_TOKEN = 3.0  # at least, of Python and the prompt's English, with the tokenizers of code models
NEAR_SIZE = 5  # tokens of a shingle


def clean(
    items: Sequence[T], cleaning: Cleaning, benchmark: Grams, dropped: Counter[str], *, max_length: int = 0
) -> list[T]:
    """Return the items that may be learnt from, secrets in their prompts replaced; count the others by reason."""
    kept = []
    for item in items:
        reason = _fault(item, cleaning, benchmark, max_length)
        if reason:
            dropped[reason] += 1
        else:
            kept.append(replace(item, asked=_without_secrets(item.asked)))
    return kept


def codes(item: Row | Pair) -> tuple[str, ...]:
    """Return the answers that an item holds."""
    return (item.code,) if isinstance(item, Row) else (item.chosen, item.rejected)


def _fault(item: Row | Pair, cleaning: Cleaning, benchmark: Grams, max_length: int) -> str:
    # What is turned down may be as broken as it was.
    taught = [codes(item)[0]] if isinstance(item, Pair) or item.desirable else []
    for code in codes(item):
        if len(words(code)) < cleaning.least_tokens:
            return "too short"
        if SECRET in code or redact(code).findings:
            return "holds a secret"
        if max_length and _length(item.asked, code) > max_length:
            return "too long"
    if not all(parses(code, item.asked.head, item.asked.depth) for code in taught):
        return "does not parse"
    texts = [item.asked.instruction, *codes(item)]
    if any(not benchmark.isdisjoint(grams(text, cleaning.overlap)) for text in texts):
        return "is a task of the gate"
    return ""


def parses(code: str, head: str = "", depth: int = 0) -> bool:
    """Say whether code parses in its place: below the lines that it continues, else by itself."""
    placed = head + textwrap.indent(code, " " * depth)
    return any(_is_python(text) for text in ([placed, code] if head else [code]))


def _is_python(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _length(asked: Asked, code: str) -> int:
    """Estimate the tokens of a prompt and its answer."""
    texts = [*(content for _, content in asked.messages), asked.prefill, code]
    return int(sum(len(text.encode("utf-8", "replace")) for text in texts) / BYTES_PER_TOKEN)


def _without_secrets(asked: Asked) -> Asked:
    texts = [content for _, content in asked.messages]
    content, prefill, instruction = redact_all([texts, asked.prefill, asked.instruction])
    messages = tuple((role, text) for (role, _), text in zip(asked.messages, content, strict=True))
    return replace(asked, messages=messages, prefill=prefill, instruction=instruction)


# --- likeness ---


def words(text: str) -> list[str]:
    """Return the tokens of code or prose, comments and layout aside."""
    left_out = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    try:
        found = tokenize.generate_tokens(io.StringIO(text).readline)
        return [one.string for one in found if one.type not in left_out and one.string]
    except (tokenize.TokenError, SyntaxError):
        return text.split()


def grams(text: str, size: int) -> Grams:
    """Return the runs of `size` tokens of a text; the whole of it where it is shorter, but for a few words."""
    found = words(text)
    if len(found) < size:
        return frozenset([tuple(found)]) if len(found) > size // 2 else frozenset()
    return frozenset(tuple(found[at : at + size]) for at in range(len(found) - size + 1))


def benchmark_grams(texts: Iterable[str], size: int) -> Grams:
    """Return all runs of tokens that the gate's tasks hold."""
    return frozenset(gram for text in texts for gram in grams(text, size))


def without_doubles(rows: Sequence[Row], cleaning: Cleaning, dropped: Counter[str]) -> list[Row]:
    """Leave one of rows that are the same, and of those with one verdict one of nearly the same.

    Where the same answer has both verdicts, the majority's holds; a draw says nothing. Answers that are nearly the
    same and have other verdicts stay: what sets them apart is what is to be learnt.
    """
    same: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        same[(" ".join(row.asked.instruction.lower().split()), normalised(row.code))].append(row)
    left = []
    for group in same.values():
        votes = Counter(row.desirable for row in group)
        if votes[True] == votes[False]:
            dropped["verdicts conflict"] += len(group)
            continue
        winners = [row for row in group if row.desirable == (votes[True] > votes[False])]
        left.append(_best(winners))
        dropped["double"] += len(winners) - 1
        dropped["verdicts conflict"] += len(group) - len(winners)
    kept = []
    for verdict in (True, False):
        groups = _groups([row for row in left if row.desirable is verdict], cleaning.near)
        kept += [_best(group) for group in groups]
        dropped["near double"] += sum(len(group) - 1 for group in groups)
    kept.sort(key=_in_time)
    return kept


def _best(rows: Sequence[Row]) -> Row:
    """Return what is learnt word for word before others, then the latest: that is how the user writes now."""
    return max(rows, key=lambda row: (row.learn, row.asked.time, row.id))


def without_near(
    items: Sequence[T], others: Sequence[Row], cleaning: Cleaning, dropped: Counter[str]
) -> list[T]:
    """Leave out what is nearly the same as one of the others, such as a row that is held out."""
    known = [_shingles(row.asked.instruction, row.code) for row in others]
    index = _index(known)
    kept = []
    for item in items:
        own = [_shingles(item.asked.instruction, code) for code in codes(item)]
        if any(_alike(one, known, index, cleaning.near) is not None for one in own):
            dropped["like one held out"] += 1
        else:
            kept.append(item)
    return kept


def capped(rows: Sequence[Row], cleaning: Cleaning, dropped: Counter[str]) -> list[Row]:
    """Take no more of one file than its share, the newest first."""
    most = max(cleaning.file_least, int(cleaning.file_share * len(rows)))
    taken: Counter[str] = Counter()
    kept = []
    for row in sorted(rows, key=_in_time, reverse=True):
        if taken[row.asked.group] >= most:
            dropped["too many of one file"] += 1
            continue
        taken[row.asked.group] += 1
        kept.append(row)
    return kept[::-1]


def _in_time(row: Row) -> tuple[float, str]:
    return row.asked.time, row.id


def _groups(rows: Sequence[Row], near: float) -> list[list[Row]]:
    """Gather rows that are nearly the same as the first of their group."""
    groups: list[list[Row]] = []
    leaders: list[Grams] = []
    index: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for row in sorted(rows, key=_in_time):
        own = _shingles(row.asked.instruction, row.code)
        found = _alike(own, leaders, index, near)
        if found is not None:
            groups[found].append(row)
            continue
        for one in own:
            index[one].append(len(groups))
        groups.append([row])
        leaders.append(own)
    return groups


def _shingles(instruction: str, code: str) -> Grams:
    found = [*words(instruction.lower()), "\n", *words(code)]
    return frozenset(tuple(found[at : at + NEAR_SIZE]) for at in range(max(1, len(found) - NEAR_SIZE + 1)))


def _index(known: Sequence[Grams]) -> dict[tuple[str, ...], list[int]]:
    index: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, one in enumerate(known):
        for gram in one:
            index[gram].append(number)
    return index


def _alike(
    own: Grams, known: Sequence[Grams], index: dict[tuple[str, ...], list[int]], near: float
) -> int | None:
    """Return the most like one, if it is like enough."""
    shared: Counter[int] = Counter()
    for gram in own:
        shared.update(index.get(gram, ()))
    value, number = max(
        ((count / (len(own) + len(known[n]) - count), -n) for n, count in shared.items()), default=(0.0, 0)
    )
    return -number if value >= near else None
