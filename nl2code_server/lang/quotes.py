"""The quotes of string literals: which ones a file uses, and new code in the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .syntax import parse

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

_ENOUGH = 300  # literals
_FEWEST = 3
_SHARE = 0.9


def preferred(tree: Tree) -> str:
    """Return the quote that a file uses nearly throughout; empty if it has too few strings or no habit."""
    seen: Counter[str] = Counter()
    for node in _strings(tree.root_node):
        if quote := _quote(node):
            seen[quote] += 1
            if seen.total() >= _ENOUGH:
                break
    if seen.total() < _FEWEST:
        return ""
    quote, times = seen.most_common(1)[0]
    return quote if times >= _SHARE * seen.total() else ""


def conform(code: str, quote: str) -> str:
    """Return code with its short strings in this quote; those stay that hold a quote or a backslash."""
    if quote not in ("'", '"'):
        return code
    source = code.encode("utf-8", "replace")
    for node in reversed(list(_strings(parse(source).root_node))):
        text = source[node.start_byte : node.end_byte]
        if not _quote(node) or _quote(node) == quote or node.has_error or _inside_string(node):
            continue
        start = node.children[0].end_byte - 1
        inner = source[start + 1 : node.end_byte - 1]
        if any(mark in inner for mark in (b"'", b'"', b"\\")) or text.count(b"\n"):
            continue
        source = source[:start] + quote.encode() + inner + quote.encode() + source[node.end_byte :]
    return source.decode("utf-8", "replace")


def _strings(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        if node.type == "string":
            yield node
        stack.extend(reversed(node.named_children))


def _quote(node: Node) -> str:
    """Return the quote of a literal in single quotes of either kind that could as well have the other."""
    if not node.children or node.children[-1].type != "string_end":
        return ""
    opening = (node.children[0].text or b"").decode("utf-8", "replace").lstrip("bBfFrRtTuU")
    inner = (node.text or b"")[len(node.children[0].text or b"") : -1]
    return opening if len(opening) == 1 and b'"' not in inner and b"'" not in inner else ""


def _inside_string(node: Node) -> bool:
    """Tell whether a literal stands in the braces of another, whose quotes it must not have."""
    while node.parent is not None:
        node = node.parent
        if node.type == "string":
            return True
    return False
