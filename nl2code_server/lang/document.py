"""The text of one open file: edits in the client's units, immutable snapshots, a syntax tree on demand."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

from . import Edit, Point, syntax

if TYPE_CHECKING:
    from tree_sitter import Tree

Encoding = Literal["utf-8", "utf-16", "utf-32"]
Range = tuple[int, int, int, int]
"""`(start line, start character, end line, end character)` in client units."""

_TreeEdit = tuple[int, int, int, Point, Point, Point]

# Past this many edits between two parses, re-using the old tree saves nothing.
_MAX_EDITS = 4096


class Document:
    """An open file that changes. Its rows end at `\\n`, `\\r\\n` or a lone `\\r`, as the protocol has it."""

    __slots__ = ("_anchor", "_history", "_lines", "_lone_cr", "_snapshot", "_version", "encoding", "uri")

    def __init__(self, uri: str, text: str = "", *, version: int = 0, encoding: Encoding = "utf-16") -> None:
        self.uri = uri
        self.encoding: Encoding = encoding
        self._version = version
        self._history = _History()
        self._snapshot: Snapshot | None = None
        self._lone_cr = False
        self._replace(text)

    @property
    def version(self) -> int:
        """The client's number for this text."""
        return self._version

    @version.setter
    def version(self, version: int) -> None:
        self._version = version
        self._snapshot = None

    @property
    def rows(self) -> Sequence[bytes]:
        """The live text, for a look that does not outlast the next change: a snapshot copies every row."""
        return self._lines

    def snapshot(self) -> Snapshot:
        """Return the text as it is now; the same object until the next change."""
        if self._snapshot is None:
            self._snapshot = Snapshot(
                tuple(self._lines),
                uri=self.uri,
                version=self._version,
                encoding=self.encoding,
                lone_cr=self._lone_cr,
                history=self._history,
            )
        return self._snapshot

    def apply(self, change_range: Range | None, text: str) -> None:
        """Replace a range, or everything for `None`. Positions outside the text move into it."""
        if change_range is None:
            self._replace(text)
            return
        lines = self._lines
        start = _locate(lines, change_range[0], change_range[1], self.encoding)
        end = start
        if change_range[2:] != change_range[:2]:
            end = _locate(lines, change_range[2], change_range[3], self.encoding)
            if end < start:
                start, end = end, start
        inserted = _encode(text)
        tree_edit = self._tree_edit(start, end, inserted)
        self._snapshot = None

        (first, start_column), (last, end_column) = start, end
        segment = lines[first][:start_column] + inserted + lines[last][end_column:]
        # A line feed that comes to stand behind a lone carriage return is one line ending with it.
        if first and segment[:1] == b"\n" and lines[first - 1][-1:] == b"\r":
            first -= 1
            segment = lines[first] + segment
            self._anchor = (0, 0)
        self._lone_cr = self._lone_cr or segment.count(b"\r") != segment.count(b"\r\n")
        if self._lone_cr:
            self._history.forget()  # bytes outside the edit may count differently now, see `Snapshot.tree`
        else:
            self._history.record(tree_edit)

        if first == last and b"\n" not in inserted and not self._lone_cr:
            lines[first] = segment
            return
        replacement = segment.splitlines(True)
        if last == len(lines) - 1 and (not replacement or replacement[-1][-1:] in b"\r\n"):
            replacement.append(b"")
        lines[first : last + 1] = replacement

    def _replace(self, text: str) -> None:
        source = _encode(text)
        self._lines = _split(source)
        self._lone_cr = source.count(b"\r") != source.count(b"\r\n")
        self._anchor = (0, 0)
        self._snapshot = None
        self._history.forget()

    def _tree_edit(self, start: Point, end: Point, inserted: bytes) -> _TreeEdit:
        lines = self._lines
        start_byte = self._line_offset(start[0]) + start[1]
        old_end = start_byte + sum(map(len, lines[start[0] : end[0]])) + end[1] - start[1]
        rows = inserted.count(b"\n")
        column = len(inserted) - inserted.rfind(b"\n") - 1 if rows else start[1] + len(inserted)
        return start_byte, old_end, start_byte + len(inserted), start, end, (start[0] + rows, column)

    def _line_offset(self, row: int) -> int:
        """Byte offset of a row, counted from the last edit's or from the top, whichever is nearer."""
        anchor_row, anchor_offset = self._anchor
        lines = self._lines
        if row >= anchor_row:
            offset = anchor_offset + sum(map(len, lines[anchor_row:row]))
        elif row < anchor_row - row:
            offset = sum(map(len, lines[:row]))
        else:
            offset = anchor_offset - sum(map(len, lines[row:anchor_row]))
        self._anchor = (row, offset)
        return offset


class Snapshot:
    """The text of a file at one version. Immutable; may be used from any thread."""

    def __init__(
        self,
        lines: tuple[bytes, ...],
        *,
        uri: str,
        version: int,
        encoding: Encoding,
        lone_cr: bool,
        history: _History,
        origin: int = 0,
        top: int = 0,
    ) -> None:
        self.lines = lines
        """UTF-8, line endings kept. The last line has none: it is empty if the text ends in a line ending."""
        self.uri = uri
        self.version = version
        self.encoding: Encoding = encoding
        self.origin = origin
        """The row that is the client's first: above it stands what a notebook's earlier cells define."""
        self.top = top
        """The first row that may be edited."""
        self._lone_cr = lone_cr
        self._history = history
        self._number = history.number
        self._tree: Tree | None = None
        self._parsing = threading.Lock()

    @classmethod
    def from_text(cls, text: str, *, uri: str = "", encoding: Encoding = "utf-16") -> Snapshot:
        """Return a snapshot of a text that is not being edited."""
        return Document(uri, text, encoding=encoding).snapshot()

    @cached_property
    def source(self) -> bytes:
        """The whole text in UTF-8. Lone surrogates, which it cannot express, have become `?`."""
        return b"".join(self.lines)

    @cached_property
    def text(self) -> str:
        """The whole text."""
        return self.source.decode()

    @property
    def tree(self) -> Tree:
        """The syntax tree. Its rows are `lines`, its bytes `source` with `\\n` for a lone `\\r`."""
        with self._parsing:
            if self._tree is None:
                self._tree = self._parse()
            return self._tree

    def _parse(self) -> Tree:
        # tree-sitter ends rows at line feeds only, its Python grammar knows no lone carriage return. CPython
        # and the protocol end a line there. The stand-in has the same length, so that offsets stay true.
        source = self.source
        if self._lone_cr:
            source = b"".join([*(_with_line_feed(line) for line in self.lines)])
        old = self._history.edited_tree(self._number)
        tree = syntax.parse(source, old)
        self._history.adopt(tree, self._number)
        return tree

    @cached_property
    def eol(self) -> str:
        """The line ending that the file uses most, `\\n` if it has none."""
        crlf = self.source.count(b"\r\n")
        lf = self.source.count(b"\n") - crlf
        cr = self.source.count(b"\r") - crlf
        if crlf > lf and crlf >= cr:
            return "\r\n"
        return "\r" if cr > lf else "\n"

    def line(self, row: int) -> bytes:
        """Return a row without its line ending."""
        line = self.lines[row]
        return line[: _content_length(line)]

    def to_point(self, line: int, character: int) -> Point:
        """Convert a client position, clamped to the text and moved back to the start of a code point."""
        if line < 0:
            return self.origin, 0
        return _locate(self.lines, line + self.origin, character, self.encoding)

    def to_position(self, point: Point) -> tuple[int, int]:
        """Convert a point to the client's `(line, character)`, clamped in the same way."""
        row, column = _locate(self.lines, *point, "utf-8")
        return row - self.origin, _client_column(self.lines[row], column, self.encoding)

    def offset(self, point: Point) -> int:
        """Return the byte offset of a point in `source`, clamped to its line and to the text."""
        row, column = point
        if row >= len(self.lines):
            return self._starts[-1]
        return self._starts[row] + min(column, len(self.lines[row]))

    def point(self, offset: int) -> Point:
        """Return the point at a byte offset of `source`, clamped to the text."""
        offset = min(max(offset, 0), self._starts[-1])
        row = min(bisect_right(self._starts, offset), len(self.lines)) - 1
        return row, offset - self._starts[row]

    @cached_property
    def _starts(self) -> list[int]:
        """Byte offset of each row, then the length of the text."""
        return list(accumulate(map(len, self.lines), initial=0))

    def edited(self, edits: Iterable[Edit]) -> Snapshot:
        """Return the text with edits applied, given in points of this one; its tree re-uses this one's."""
        ordered = sorted(edits, key=lambda edit: (edit.start, edit.end))
        if any(one.end > two.start for one, two in pairwise(ordered)):
            raise ValueError("edits overlap")
        copy = Document(self.uri, encoding="utf-8")
        if self._lone_cr:  # where an insertion can join two lines, and so move the points in front of it
            source = bytearray(self.source)
            for edit in reversed(ordered):
                source[self.offset(edit.start) : self.offset(edit.end)] = _encode(edit.text)
            copy.apply(None, source.decode())
        else:
            copy._lines = list(self.lines)
            copy._history.adopt(self.tree, copy._history.number)
            for edit in reversed(ordered):
                copy.apply((*edit.start, *edit.end), edit.text)
        copy.encoding, copy.version = self.encoding, self.version
        made = copy.snapshot()
        made.origin, made.top = self.origin, self.top
        return made


class _History:
    """The newest known tree of a document and the edits made since, shared with its snapshots."""

    __slots__ = ("_edits", "_lock", "_number", "_tree")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tree: Tree | None = (
            None  # as parsed, before `_edits`; never changed, so that others may read it
        )
        self._edits: list[_TreeEdit] = []
        self._number = 0  # of changes ever made

    @property
    def number(self) -> int:
        """The change that a snapshot taken now comes after."""
        return self._number

    def record(self, edit: _TreeEdit) -> None:
        with self._lock:
            self._number += 1
            self._edits.append(edit)
            if len(self._edits) > _MAX_EDITS:
                self._tree, self._edits = None, []

    def forget(self) -> None:
        with self._lock:
            self._number += 1
            self._tree, self._edits = None, []

    def edited_tree(self, number: int) -> Tree | None:
        """Return a tree to re-use for the text after a change, if there is one that is older than it."""
        with self._lock:
            count = number - self._number + len(self._edits)
            if self._tree is None or count < 0:
                return None
            tree, edits = self._tree.copy(), self._edits[:count]
        for edit in edits:
            tree.edit(*edit)
        return tree

    def adopt(self, tree: Tree, number: int) -> None:
        """Keep the tree parsed after a change, unless a newer one is known or the text was replaced since."""
        with self._lock:
            count = number - self._number + len(self._edits)
            if count >= 0:
                self._tree, self._edits = tree, self._edits[count:]


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")  # a lone surrogate: one UTF-16 unit, like the `?` it becomes


def _split(source: bytes) -> list[bytes]:
    lines = source.splitlines(True)  # of bytes: splits where the protocol does, unlike that of str
    if not lines or lines[-1][-1:] in b"\r\n":
        lines.append(b"")
    return lines


def _content_length(line: bytes) -> int:
    if line.endswith(b"\r\n"):
        return len(line) - 2
    return len(line) - line.endswith((b"\n", b"\r"))


def _with_line_feed(line: bytes) -> bytes:
    return line[:-1] + b"\n" if line.endswith(b"\r") else line


def _locate(lines: Sequence[bytes], line: int, character: int, encoding: Encoding) -> Point:
    if line < 0:
        return 0, 0
    if line >= len(lines):
        return len(lines) - 1, _content_length(lines[-1])
    return line, _byte_column(lines[line], character, encoding)


def _byte_column(line: bytes, character: int, encoding: Encoding) -> int:
    length = _content_length(line)
    if character <= 0:
        return 0
    if encoding == "utf-8" or line.isascii():
        column = min(character, length)
        while column < length and line[column] & 0xC0 == 0x80:
            column -= 1
        return column
    text = line[:length].decode()
    if encoding == "utf-32":
        return len(text[:character].encode())
    return len(text.encode("utf-16-le")[: 2 * character].decode("utf-16-le", "ignore").encode())


def _client_column(line: bytes, column: int, encoding: Encoding) -> int:
    before = line[:column]
    if encoding == "utf-8" or before.isascii():
        return len(before)
    text = before.decode()
    return len(text) if encoding == "utf-32" else len(text.encode("utf-16-le")) // 2
