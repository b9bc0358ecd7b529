"""Follow rows of a file through edits, and measure how much of a text is left. Pure: rows and strings in, values out.

How much is left (`kept_ratio`) is `1 - d / n`: d the Levenshtein distance in characters between the text as it was
taken and as it is now, n the length of the longer. Both are normalised before: common indentation, white space at
line ends, blank lines around, and line endings do not count. Moving code into a class so keeps all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import dropwhile
from textwrap import dedent
from typing import NamedTuple

CHECKPOINTS = {"30s": 30.0, "2min": 120.0, "10min": 600.0}
"""When to look what became of a suggestion, in seconds after it was taken or turned down."""

_LONGEST = 8_000  # characters compared
_RECOGNISED = 0.5  # part of the lines that must be found again

Range = tuple[int, int, int, int]
_BREAK = re.compile(r"\r\n|\n|\r")


class Splice(NamedTuple):
    """Rows `first` to `first + old` (excluded) have become `new` rows."""

    first: int
    old: int
    new: int


class Span(NamedTuple):
    """Rows `start` to `end` (excluded)."""

    start: int
    end: int


def splice_of(replaced: Range, text: str) -> Splice:
    """Return what a change of a range does to rows. Of a range only whole lines are told from parts of them."""
    first, column, last, end = replaced
    breaks = len(_BREAK.findall(text))
    if column == end == 0 and (not text or text[-1] in "\r\n"):
        return Splice(first, last - first, breaks)
    return Splice(first, last - first + 1, breaks + 1)


def splice_between(before: Sequence[bytes], after: Sequence[bytes]) -> Splice:
    """Return the smallest splice that makes one text of the other."""
    shorter = min(len(before), len(after))
    head = 0
    while head < shorter and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < shorter - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    return Splice(head, len(before) - head - tail, len(after) - head - tail)


def touches(span: Span, splice: Splice) -> bool:
    """Tell whether a splice changes a span, or adds rows right at its end."""
    return splice.first <= span.end and splice.first + splice.old >= span.start


def follow(span: Span, splice: Splice) -> Span:
    """Return where a span is after a splice. An empty one takes rows that appear at its place."""
    start, end = span
    first, last, grown = splice.first, splice.first + splice.old, splice.new - splice.old
    if start == end and grown > 0 and start in (first, last):
        return Span(start, start + grown)
    if last <= start:
        return Span(start + grown, end + grown)
    if first >= end:
        return span
    begins = start if first >= start else min(start, first + splice.new)
    ends = end + grown if last <= end else min(end, first + splice.new)
    return Span(begins, max(begins, ends))


def reach(span: Span, splice: Splice) -> Span:
    """Return the most that a span may have become, where a splice goes beyond it or adds rows at its end."""
    start, end = follow(span, splice)
    first, last = splice.first, splice.first + splice.old
    if first == last == span.end:
        return Span(span.start, span.end + splice.new)
    if first < span.end and last > span.start:
        start = min(start, first) if first < span.start else start
        end = max(end, first + splice.new) if last > span.end else end
    return Span(start, end)


def relocate(known: Sequence[str], lines: Sequence[str]) -> Span | None:
    """Find lines again in a text, whatever their indentation, though some were edited; None if too few are left."""
    wanted, there = [compact(line) for line in known], [compact(line) for line in lines]
    matcher = SequenceMatcher(None, wanted, there, autojunk=False)
    longest = matcher.find_longest_match()
    # Matches far from the longest one are lines that any file has.
    low, high = longest.b - longest.a - len(wanted), longest.b + 2 * len(wanted)
    blocks = [
        block
        for block in matcher.get_matching_blocks()
        if block.size and low <= block.b <= high and any(wanted[block.a : block.a + block.size])
    ]
    found = sum(bool(line) for block in blocks for line in wanted[block.a : block.a + block.size])
    if not blocks or found < _RECOGNISED * sum(map(bool, wanted)):
        return None
    first, last = blocks[0], blocks[-1]
    start, end = first.b, last.b + last.size
    # Lines at either end that were edited stand beside those that were not.
    for _ in range(first.a):
        start -= start > 0 and bool(there[start - 1])
    for _ in range(len(wanted) - last.a - last.size):
        end += end < len(there) and bool(there[end])
    return Span(start, end)


def compact(line: str) -> str:
    """Return a line without its white space, which clients and formatters change."""
    return "".join(line.split())


def normalised(text: str) -> str:
    """Return a text without what does not count as an edit."""
    lines = [line.rstrip() for line in _BREAK.split(text)]
    lines = list(dropwhile(lambda line: not line, lines))
    while lines and not lines[-1]:
        lines.pop()
    return dedent("\n".join(lines))


def similarity(one: str, other: str) -> float:
    """Return the kept ratio, as defined above: 1 for the same text, 0 for one that is gone."""
    one, other = normalised(one)[:_LONGEST], normalised(other)[:_LONGEST]
    longer = max(len(one), len(other))
    return 1 - _distance(one, other) / longer if longer else 1.0


def _distance(one: str, other: str) -> int:
    """Count the characters to insert, delete or replace (Myers' bit vectors, one big number for a column)."""
    head = 0
    while head < min(len(one), len(other)) and one[head] == other[head]:
        head += 1
    one, other = one[head:], other[head:]
    while one and other and one[-1] == other[-1]:
        one, other = one[:-1], other[:-1]
    if not one or not other:
        return len(one) + len(other)
    places: dict[str, int] = {}
    for index, character in enumerate(one):
        places[character] = places.get(character, 0) | 1 << index
    full, last = (1 << len(one)) - 1, 1 << len(one) - 1
    up, down, score = full, 0, len(one)
    for character in other:
        equal = places.get(character, 0)
        across = (((equal & up) + up) ^ up) | equal
        more, less = down | full & ~(across | up), up & across
        score += bool(more & last) - bool(less & last)
        more, less = (more << 1 | 1) & full, less << 1 & full
        up, down = less | full & ~(equal | down | more), more & (equal | down)
    return score


_NEXT = re.compile(r"(?:async\s+)?(?:def|class)\b|@|#")


def first_unit(lines: Sequence[str]) -> list[str]:
    """Return the first of the things that were written: up to a dedent, or to the next definition or comment."""
    lines = list(dropwhile(lambda line: not line.strip(), lines))
    unit: list[str] = []
    indent = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
    for line in lines:
        text = line.strip()
        deep = len(line) - len(line.lstrip())
        after_blank = bool(unit) and not unit[-1].strip()
        if text and unit and (deep < indent or (after_blank and deep == indent and _NEXT.match(text))):
            break
        unit.append(line)
    while unit and not unit[-1].strip():
        unit.pop()
    return unit
