"""The document against a naive reference: edits, positions, trees; in three encodings and with every line ending."""

from __future__ import annotations

import json
import re
import threading
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nl2code_server.lang import Edit, Point, syntax
from nl2code_server.lang.document import _MAX_EDITS, Document, Encoding, Range, Snapshot

if TYPE_CHECKING:
    from tree_sitter import Node, Tree

ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

# What Python's own `splitlines`, but not the protocol, takes for line ends is in here too.
PIECES = ["a", "b1", " ", "\t", "\n", "\r\n", "é", "写", "😋", "\u2028", "\x0c", "\x85", "\x0b", "\x00"]
CODE = [
    "def f():\n",
    "    return 1\n",
    "'",
    '"""',
    "(",
    ")",
    "# c\n",
    ":",
    "if x:\n",
    "    ",
    "class A:\r\n",
    "\\\n",
]
RANGES = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
TEXTS = st.lists(st.sampled_from(PIECES + CODE), max_size=14).map("".join)
TEXTS_WITH_CR = st.lists(st.sampled_from([*PIECES, *CODE, "\r", "\r"]), max_size=14).map("".join)


def units(text: str, encoding: Encoding) -> int:
    """Length of a text in client units."""
    return len(text.encode(f"{encoding}-le" if encoding != "utf-8" else encoding)) // (int(encoding[4:]) // 8)


def rows(text: str) -> list[tuple[int, int]]:
    """Start and end, without the line ending, of each of the protocol's lines."""
    found, start = [], 0
    for match in re.finditer(r"\r\n|\n|\r", text):
        found.append((start, match.start()))
        start = match.end()
    return [*found, (start, len(text))]


def index(text: str, line: int, character: int, encoding: Encoding) -> int:
    """Index in the text of a client position, clamped as the protocol asks."""
    lines = rows(text)
    if line >= len(lines):
        return len(text)
    start, end = lines[line]
    at = start
    while at < end and units(text[start : at + 1], encoding) <= character:
        at += 1
    return at


def replaced(text: str, change: Range, inserted: str, encoding: Encoding) -> str:
    """The naive way to apply an edit."""
    start, end = sorted((index(text, *change[:2], encoding), index(text, *change[2:], encoding)))
    return text[:start] + inserted + text[end:]


def flat(tree: Tree) -> list[tuple[str, int, int, Point, Point, bool]]:
    """All nodes of a tree as plain values."""
    found = []
    waiting: list[Node] = [tree.root_node]
    while waiting:
        node = waiting.pop()
        start, end = node.start_point, node.end_point
        found.append(
            (
                node.type,
                node.start_byte,
                node.end_byte,
                (start.row, start.column),
                (end.row, end.column),
                node.is_missing,
            )
        )
        waiting.extend(node.children)
    return found


def check(snapshot: Snapshot, text: str) -> None:
    """Compare everything that a snapshot tells with the text that it should have."""
    assert snapshot.text == text
    assert [snapshot.line(row).decode() for row in range(len(snapshot.lines))] == [
        text[a:b] for a, b in rows(text)
    ]
    assert b"".join(snapshot.lines) == snapshot.source == text.encode()
    assert snapshot.lines[-1][-1:] not in (b"\n", b"\r")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("texts", [TEXTS, TEXTS_WITH_CR], ids=["lf-crlf", "lone-cr"])
def test_edits_equal_a_naive_reference(encoding: Encoding, texts: st.SearchStrategy[str]) -> None:
    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(texts, st.lists(st.tuples(RANGES, st.booleans(), st.booleans(), texts), max_size=8))
    def run(text: str, changes: list[tuple[Range, bool, bool, str]]) -> None:
        document = Document("file:///a.py", text, encoding=encoding)
        for change, insertion, parse, inserted in changes:
            change_range = (*change[:2], *change[:2]) if insertion else change
            before, kept = document.snapshot(), text
            if parse:
                _ = before.tree
            document.apply(change_range, inserted)
            text = replaced(text, change_range, inserted, encoding)
            check(document.snapshot(), text)
            check(before, kept)
            if parse:
                assert flat(document.snapshot().tree) == flat(Snapshot.from_text(text).tree)
        assert flat(document.snapshot().tree) == flat(Snapshot.from_text(text).tree)

    run()


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(TEXTS_WITH_CR, st.integers(-1, 12), st.integers(-1, 12), st.sampled_from(ENCODINGS))
def test_positions_and_offsets_agree(text: str, line: int, character: int, encoding: Encoding) -> None:
    snapshot = Snapshot.from_text(text, encoding=encoding)
    point = snapshot.to_point(line, character)
    at = index(text, max(line, 0), character if line >= 0 else 0, encoding)
    assert snapshot.offset(point) == len(text[:at].encode())
    assert snapshot.point(snapshot.offset(point)) == point
    start = rows(text)[point[0]][0]
    assert snapshot.to_position(point) == (point[0], units(text[start:at], encoding))
    assert snapshot.to_point(*snapshot.to_position(point)) == point


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(TEXTS_WITH_CR)
def test_tree_rows_are_the_lines(text: str) -> None:
    snapshot = Snapshot.from_text(text)
    for kind, start, end, first, last, _missing in flat(snapshot.tree):
        if kind != "module":  # which starts at its first statement and ends behind everything
            assert snapshot.point(start) == first
            assert snapshot.point(end) == last


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(TEXTS_WITH_CR, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), TEXTS_WITH_CR), max_size=4))
def test_edited_applies_all_edits_at_once(text: str, cuts: list[tuple[int, int, str]]) -> None:
    snapshot = Snapshot.from_text(text)
    spans, at = [], 0
    for gap, length, inserted in cuts:
        start = min(at + gap, len(text))
        at = min(start + length, len(text))
        if any(text[max(cut - 1, 0) : cut + 1] == "\r\n" for cut in (start, at)):
            return  # there is no point in the middle of a line ending
        spans.append((start, at, inserted))
    edits = [
        Edit(snapshot.point(len(text[:a].encode())), snapshot.point(len(text[:b].encode())), inserted)
        for a, b, inserted in spans
    ]
    expected = text
    for start, end, inserted in reversed(spans):
        expected = expected[:start] + inserted + expected[end:]
    after = snapshot.edited(edits)
    check(after, expected)
    check(snapshot, text)
    assert flat(after.tree) == flat(Snapshot.from_text(expected).tree)


def test_edited_refuses_overlaps_and_keeps_the_order_of_insertions() -> None:
    snapshot = Snapshot.from_text("abc\n", uri="file:///a.py", encoding="utf-8")
    with pytest.raises(ValueError, match="overlap"):
        snapshot.edited([Edit((0, 0), (0, 2), ""), Edit((0, 1), (0, 3), "")])
    after = snapshot.edited(
        [Edit((0, 1), (0, 1), "1"), Edit((0, 1), (0, 1), "2"), Edit((1, 0), (1, 0), "end")]
    )
    assert (after.text, after.uri, after.encoding) == ("a12bc\nend", "file:///a.py", "utf-8")


@pytest.mark.parametrize(
    ("encoding", "character", "column"),
    [
        ("utf-16", 1, 1),
        ("utf-16", 2, 1),
        ("utf-16", 3, 5),
        ("utf-8", 3, 1),
        ("utf-8", 5, 5),
        ("utf-32", 2, 5),
    ],
)
def test_a_position_inside_a_code_point_moves_to_its_start(
    encoding: Encoding, character: int, column: int
) -> None:
    assert Snapshot.from_text("a😋b", encoding=encoding).to_point(0, character) == (0, column)


def test_to_position_clamps_points_too() -> None:
    snapshot = Snapshot.from_text("a😋b\r\n")
    assert snapshot.to_position((0, 3)) == (0, 1)
    assert snapshot.to_position((0, 99)) == (0, 4)
    assert snapshot.to_position((9, 9)) == (1, 0)
    assert snapshot.offset((9, 9)) == len(snapshot.source)
    assert snapshot.point(-5) == (0, 0)
    assert snapshot.point(99) == (1, 0)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lone_surrogates_lose_nothing_else(encoding: Encoding) -> None:
    half = json.loads('"\\ud83d"')
    document = Document("file:///a.py", f"x = '{half}'\n", encoding=encoding)
    document.apply((0, 5, 0, 6), f"{half}{half}y")
    assert document.snapshot().text == "x = '??y'\n"
    document.apply(None, half)
    assert document.snapshot().text == "?"
    assert document.snapshot().to_position((0, 1)) == (0, 1)


def test_a_byte_order_mark_is_kept_and_counts() -> None:
    snapshot = Snapshot.from_text("\ufeffx = 1\n")
    assert snapshot.text == "\ufeffx = 1\n"
    assert snapshot.to_point(0, 1) == (0, 3)
    assert not snapshot.tree.root_node.has_error


@pytest.mark.parametrize(
    ("text", "eol"),
    [
        ("", "\n"),
        ("x", "\n"),
        ("a\nb\r\nc\n", "\n"),
        ("a\r\nb\r\nc\n", "\r\n"),
        ("a\rb\r", "\r"),
        ("a\r\nb\n", "\n"),
    ],
)
def test_the_dominant_line_ending(text: str, eol: str) -> None:
    assert Snapshot.from_text(text).eol == eol


def test_reversed_ranges_and_negative_positions() -> None:
    document = Document("file:///a.py", "one\ntwo\n")
    document.apply((1, 2, 0, 1), "-")
    assert document.snapshot().text == "o-o\n"
    document.apply((-1, -1, -1, -1), ">")
    assert document.snapshot().text == ">o-o\n"


def test_a_fault_in_a_change_leaves_the_text_alone() -> None:
    document = Document("file:///a.py", "x = 1\n")
    before = document.snapshot()
    for change, text in [
        (("0", 0, 0, 0), "a"),
        ((0, None, 0, 1), "a"),
        ((0, 0.5, 0, 1), "a"),
        ((0, 0, 0, 1), 5),
    ]:
        with pytest.raises((TypeError, AttributeError)):
            document.apply(change, text)  # type: ignore[arg-type]
    assert document.snapshot() is before


def test_a_snapshot_is_shared_until_something_changes() -> None:
    document = Document("file:///a.py", "x = 1\n", version=3)
    one = document.snapshot()
    assert document.snapshot() is one
    document.version = 4
    two = document.snapshot()
    assert (one.version, two.version, two.lines) == (3, 4, one.lines)
    document.apply((0, 0, 0, 1), "y")
    assert (one.text, document.snapshot().text) == ("x = 1\n", "y = 1\n")


def test_old_snapshots_parse_their_own_text() -> None:
    document = Document("file:///a.py", "x = 1\n")
    snapshots, texts = [document.snapshot()], ["x = 1\n"]
    for number in range(40):
        document.apply((0, 0, 0, 0), f"def f{number}():\n    pass\n" if number % 3 else "'")
        snapshots.append(document.snapshot())
        texts.append(snapshots[-1].text)
    for at in (30, 5, 40, 39, 0, 17):
        assert flat(snapshots[at].tree) == flat(Snapshot.from_text(texts[at]).tree)


def test_parsing_again_reuses_the_newest_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    reused: list[bool] = []
    parse = syntax.parse

    def spy(source: bytes, old: Tree | None = None) -> Tree:
        reused.append(old is not None)
        return parse(source, old)

    monkeypatch.setattr(syntax, "parse", spy)
    document = Document("file:///a.py", "x = 1\n" * 20)
    first = document.snapshot()
    document.apply((3, 0, 3, 1), "y")
    _ = first.tree  # parsed only after the next edit: still what the next snapshot starts from
    _ = document.snapshot().tree
    _ = document.snapshot().edited([Edit((4, 0), (4, 1), "z")]).tree
    document.apply(None, "x = 1\n")
    _ = document.snapshot().tree
    document.apply((0, 0, 0, 0), "a\rb")
    _ = document.snapshot().tree
    assert reused == [False, True, True, False, False]


def test_many_edits_without_a_parse_are_not_hoarded() -> None:
    document = Document("file:///a.py", "x = 1\n")
    _ = document.snapshot().tree
    for _ in range(_MAX_EDITS + 10):
        document.apply((0, 0, 0, 0), "y")
    assert len(document._history._edits) <= 10
    assert flat(document.snapshot().tree) == flat(Snapshot.from_text(document.snapshot().text).tree)


def test_threads_parse_while_the_document_changes() -> None:
    document = Document("file:///a.py", "x = 1\n" * 300)
    taken: list[Snapshot] = []
    faults: list[str] = []
    done = threading.Event()

    def parse() -> None:
        while not done.is_set() or taken:
            if taken:
                snapshot = taken.pop()
                if flat(snapshot.tree) != flat(Snapshot.from_text(snapshot.text).tree):
                    faults.append(snapshot.text)

    threads = [threading.Thread(target=parse) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(120):
        document.apply((number, 0, number, 1), ["def f():\n    pass\n", "'", "# c\n", "y"][number % 4])
        if number % 3 == 0:
            taken.append(document.snapshot())
    done.set()
    for thread in threads:
        thread.join(30)
    assert not faults
    assert flat(document.snapshot().tree) == flat(Snapshot.from_text(document.snapshot().text).tree)
