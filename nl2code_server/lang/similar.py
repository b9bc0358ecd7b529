"""Which earlier instructions are like this one: by shared words, by pairs of characters where there are none."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

LEAST = 0.2
"""Similarity below which an instruction says nothing about another."""

_COMMON_WORDS = """
a about above all also an and any are as at be by called code comment compute create def do each eg for from function
functions generate get gets give given gives has have if implement in into is it its list make method named new of on
not one or out python return returned returns should string take takes that the them then there these this to two up
use uses using value values when which with without write
"""
_COMMON = frozenset(_COMMON_WORDS.split())
# Scripts that put no space between words.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\uac00-\ud7af"
_COMMON_PAIRS = frozenset(
    [
        "写一",
        "一个",
        "个函",
        "函数",
        "数返",
        "返回",
        "编写",
        "实现",
        "関数",
        "する",
        "して",
        "を返",
        "返す",
        "함수",
        "하는",
    ]
)


@dataclass(frozen=True, slots=True)
class Snippet:
    """An instruction of this project and the code that was kept for it."""

    instruction: str
    code: str


def most_similar(
    instruction: str, snippets: Sequence[Snippet], *, most: int, least: float = LEAST
) -> list[Snippet]:
    """Return the snippets whose instructions are most like this one, the best first; of equal codes one.

    The measure is the share of common features, each weighted by how rare it is among the instructions (0 to 1).
    """
    asked = features(instruction)
    known = [features(snippet.instruction) for snippet in snippets]
    counts = Counter(feature for one in [asked, *known] for feature in one)
    ranked = sorted(
        ((_similarity(asked, theirs, counts, len(known) + 1), -index) for index, theirs in enumerate(known)),
        reverse=True,
    )
    found: dict[str, Snippet] = {}
    for value, index in ranked:
        if value < least or len(found) == most:
            break
        snippet = snippets[-index]
        found.setdefault(" ".join(snippet.code.split()), snippet)
    return list(found.values())


def features(text: str) -> frozenset[str]:
    """Return what is compared of an instruction: its telling words, and pairs of characters of unspaced scripts."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).replace("_", " ").lower()
    words = {_stem(word) for word in re.findall(rf"[^\W\d_{_UNSPACED}]{{2,}}", split) if word not in _COMMON}
    runs = re.findall(f"[{_UNSPACED}]+", split)
    pairs = {run[at : at + 2] for run in runs for at in range(max(1, len(run) - 1))} - _COMMON_PAIRS
    return frozenset(words | pairs)


def _stem(word: str) -> str:
    """Let a plural and its like fall together; only for comparison."""
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for ending in ("ing", "ed", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] else word


def _similarity(one: frozenset[str], other: frozenset[str], counts: Counter[str], total: int) -> float:
    def weight(features: frozenset[str]) -> float:
        return sum(math.log(1 + total / counts[feature]) for feature in features)

    union = weight(one | other)
    return weight(one & other) / union if union else 0.0
