"""The Python grammar, and questions to a syntax tree that several modules ask."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Language, Tree


@cache
def language() -> Language:
    """Return the Python grammar; importing it takes some 10 ms, so it waits for the first use."""
    import tree_sitter_python
    from tree_sitter import Language

    return Language(tree_sitter_python.language())


# Parsing bytes holds the interpreter lock throughout; a callback lets go of it between slices.
_LONG = 1 << 20
_SLICE = 1 << 12


def parse(source: bytes, old: Tree | None = None) -> Tree:
    """Parse a text, re-using what an older tree (edited to fit) has in common with it. Any thread."""
    from tree_sitter import Parser

    parser = Parser(language())  # not thread-safe, and made in a microsecond
    if old is not None:
        return parser.parse(source, old)
    if len(source) < _LONG:
        return parser.parse(source)
    return parser.parse(lambda offset, _point: source[offset : offset + _SLICE])
