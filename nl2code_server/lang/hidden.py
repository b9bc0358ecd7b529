"""Characters that a reader does not see, or takes for others: found, taken out, or written as escapes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

from . import syntax

# Bidirectional controls, zero-width characters, tags, fillers and selectors that can carry a hidden text; and control
# characters that steer a terminal.
_HIDDEN = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufeff"
    "\uffa0\ufff0-\ufffb\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f]"
)
# What may stand in front of a quote: an escape means nothing in a raw string, and another thing in bytes.
_WITHOUT_ESCAPES = re.compile(r"(?i)^[a-z]*[rb]")
_NAME = re.compile(r"[^\W\d]\w*")
_MATHS = frozenset("αβγδεζηθικλμξπρστφχψωΓΔΘΛΞΠΣΦΨΩϵ")
"""Greek letters that nobody takes for Latin ones, or that formulas are full of."""


def hidden(text: str) -> tuple[str, ...]:
    """Name the hidden characters of a text, each once with how often it occurs: `U+202E ×2`."""
    counts = Counter(_HIDDEN.findall(text))
    return tuple(f"U+{ord(one):04X}" + (f" ×{n}" if n > 1 else "") for one, n in sorted(counts.items()))


def without_hidden(text: str) -> str:
    """Return a text as a reader sees it."""
    return _HIDDEN.sub("", text)


def visible(code: str) -> str:
    """Return Python code without hidden characters: escapes stand in for those in strings, which mean something."""
    if not _HIDDEN.search(code):
        return code
    inside = _in_strings(code)
    at = 0
    parts: list[str] = []
    for match in _HIDDEN.finditer(code):
        parts.append(code[at : match.start()])
        if match.start() in inside:
            number = ord(match[0])
            parts.append(f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}")
        at = match.end()
    return "".join([*parts, code[at:]])


def mixed_names(code: str) -> tuple[str, ...]:
    """Return the names in which letters of Latin and of a script that looks like it stand side by side."""
    found = [name for name in dict.fromkeys(_NAME.findall(code)) if not name.isascii()]
    return tuple(name for name in found if len(_scripts(name)) > 1)


def _scripts(name: str) -> set[str]:
    """Return which of the scripts that look alike a name has letters of."""
    words = {
        unicodedata.name(letter, "").partition(" ")[0]
        for letter in name
        if letter.isalpha() and letter not in _MATHS
    }
    return words & {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"}


def _in_strings(code: str) -> set[int]:
    """Return the offsets of the hidden characters inside string literals that know escapes."""
    source = code.encode("utf-8", "replace")
    offsets: set[int] = set()
    stack = [syntax.parse(source).root_node]
    while stack:
        node = stack.pop()
        if node.type != "string":
            stack.extend(node.children)
            continue
        prefix = (node.children[0].text or b"").decode() if node.children else ""
        if _WITHOUT_ESCAPES.match(prefix):
            continue
        for part in node.children:
            if part.type == "string_content":
                start = len(source[: part.start_byte].decode("utf-8", "replace"))
                content = source[part.start_byte : part.end_byte].decode("utf-8", "replace")
                offsets.update(start + match.start() for match in _HIDDEN.finditer(content))
    return offsets
