"""A notebook's cells as documents: each is read with the code of the cells above it, and edited alone.

A cell's snapshot holds those cells, then `# %%`, then the cell. Rows count from the top of all that; positions that
go to the client count from the cell (`Snapshot.origin`), and nothing above it is ever edited.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..lang import syntax
from ..lang.document import Document, Encoding, Range, Snapshot

_BREAK = b"\n# %%\n\n"
_MAGIC = re.compile(rb"\s*(?:[%!?]|(?P<name>[^#'\"=]*=\s*)[%!]|[^#'\"]*\?\s*\Z)")
_OF_PYTHON = re.compile(rb"%%(?:time|timeit|capture|prun|memit|mprun|lprun|debug|script\s+python3?)\b")
"""Cell magics whose cell is Python all the same."""


class Cell(Document):
    """One cell, with a way to those above it."""

    __slots__ = ("_alone", "_combined", "_earlier", "_key")

    def __init__(
        self,
        uri: str,
        text: str,
        *,
        version: int,
        encoding: Encoding,
        earlier: Callable[[], Sequence[Cell]],
    ) -> None:
        super().__init__(uri, text, version=version, encoding=encoding)
        self._earlier = earlier
        self._alone: tuple[bytes, bytes, int] | None = None
        self._combined: Snapshot | None = None
        self._key: tuple[object, ...] = ()

    def apply(self, change_range: Range | None, text: str) -> None:
        """Replace a range, or everything for `None`, in the rows of the cell."""
        self._alone = None
        super().apply(change_range, text)

    def own(self) -> Snapshot:
        """Return the cell as it is, alone."""
        return super().snapshot()

    def snapshot(self) -> Snapshot:
        """Return the cell below the code of those above it; the same object until one of them changes."""
        parts = [source for cell in self._earlier() if (source := cell.context())]
        code, magics = self._code()
        key = (self.version, code, *parts)
        if self._combined is None or key != self._key:
            above = b"".join(part.rstrip(b"\r\n") + b"\n" + _BREAK for part in parts)
            whole = Snapshot.from_text((above + code).decode(), uri=self.uri, encoding=self.encoding)
            whole.version = self.version
            whole.origin = len(above.splitlines())
            whole.top = whole.origin + magics
            self._combined, self._key = whole, key
        return self._combined

    def context(self) -> bytes:
        """Return what the cells below may build on; nothing if it is no Python."""
        source, code, _ = self._masked()
        return code if source.strip() and code.strip() and not _broken(code) else b""

    def _code(self) -> tuple[bytes, int]:
        _, code, magics = self._masked()
        return code, magics

    def _masked(self) -> tuple[bytes, bytes, int]:
        """Return the cell's source, the same without magics, and how many rows of magics begin it."""
        if self._alone is None:
            self._alone = masked(self.own().source)
        return self._alone


def masked(source: bytes) -> tuple[bytes, bytes, int]:
    """Return a cell's source, the same with magics made statements of their length, and the rows of cell magics.

    Statements, because a comment there would belong to the comment above it. A `%` at the start of a line may also
    be an operator: only a cell that is no Python as it is has magics.
    """
    lines = source.splitlines(True)
    if lines and lines[0].startswith(b"%%") and not _OF_PYTHON.match(lines[0]):
        return source, b"".join(_blank(line, b"") for line in lines), len(lines)
    if not _broken(source):
        return source, source, 0
    top = 0
    while top < len(lines) and lines[top].startswith(b"%%"):
        top += 1
    return source, b"".join(_without_magic(line) for line in lines), top


def _without_magic(line: bytes) -> bytes:
    found = _MAGIC.match(line)
    if found is None:
        return line
    # What a magic assigns is a name that the code below may use.
    return _blank(line, found["name"].lstrip() + b"0" if found["name"] else b"0")


def _blank(line: bytes, statement: bytes) -> bytes:
    """Return a line of the same length that says nothing."""
    content = line.rstrip(b"\r\n")
    indent = content[: len(content) - len(content.lstrip())]
    return (indent + statement).ljust(len(content)) + line[len(content) :]


def _broken(source: bytes) -> bool:
    return bool(syntax.parse(source).root_node.has_error)
