"""Does a comment say what the code below it says? Then it describes that code, and asks for none."""

from __future__ import annotations

import re

_WORD = re.compile(r"[A-Za-z]{3,}")
_PART = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{3,}(?![a-z])")
_QUOTED = re.compile(r"`[^`\n]*`|\w+\(.*?\)")
_SMALL = frozenset(
    """
    the and for with that this from into not all any each its has have are was were but one two out per via
    use using new can may when then than only also which where while must should self none true false def class
    return
    """.split()  # noqa: SIM905
)
_STEM = 5
"""Letters that two forms of a longer word have in common: `compute`, `computing`; `tokens`, `tokenize`."""


def echoes(text: str, code: str) -> int:
    """Count the words of a comment that a line of code says, too, in its names; its first word counts double."""
    parts = {part.lower() for part in _PART.findall(code)} - _SMALL
    words = [word.lower() for word in _WORD.findall(_QUOTED.sub(" ", text))]
    said = {word for word in words if word not in _SMALL and any(_same(word, part) for part in parts)}
    return len(said) + (words[:1] != [] and words[0] in said)


def _same(word: str, part: str) -> bool:
    shorter, longer = sorted((word, part), key=len)
    if len(shorter) < _STEM - 1:
        return longer.startswith(shorter) and len(longer) - len(shorter) <= 3
    return word[:_STEM] == part[:_STEM] or longer.startswith(shorter) or (len(word) >= _STEM and word in part)
