"""What becomes of suggestions, told from edits alone; with a clock that the test turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from fakes.rows import event_row
from nl2code_server.feedback.events import EventKind, Source
from nl2code_server.feedback.identity import file_id
from nl2code_server.feedback.store import Unfinished
from nl2code_server.lang.document import Document
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import inline, splice
from nl2code_server.lsp.offers import Offer
from nl2code_server.lsp.outcomes import Outcomes
from nl2code_server.suggest import Suggestion

COMMENT = "# write a function computing the gcd of two numbers"
GCD = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
URI = "file:///work/demo.py"
Row = tuple[str, str, dict[str, Any]]


@dataclass
class Timer:
    """A timer of the fake clock."""

    when: float
    run: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class World:
    """An editor, a journal and a clock around the outcomes."""

    text: str
    uri: str = URI
    now: float = 100.0
    timers: list[Timer] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    documents: dict[str, Document] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.documents[self.uri] = Document(self.uri, self.text)

        def later(delay: float, run: Callable[[], None]) -> Any:
            self.timers.append(Timer(self.now + delay, run))
            return self.timers[-1]

        def lines(uri: str) -> Any:
            return self.documents[uri].rows if uri in self.documents else None

        self.outcomes = Outcomes(self, lines, clock=lambda: self.now, later=later)

    # --- the journal

    def event(self, kind: EventKind, offer: Offer, *, source: Source, **details: Any) -> None:
        assert source == "inferred"
        if kind == "partially_accepted" or kind not in offer.logged:
            offer.logged[kind] = source
            self.rows.append((offer.suggestion.id, kind, details))

    def record(
        self, kind: EventKind, suggestion_id: str, request_id: str, source: Source, **details: Any
    ) -> None:
        self.rows.append((suggestion_id, kind, details))

    def finish(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run(work)

    @property
    def kinds(self) -> list[tuple[str, str]]:
        return [
            (kind, details.get("checkpoint") or details.get("cause", "")) for _, kind, details in self.rows
        ]

    # --- the editor

    @property
    def document(self) -> Document:
        return self.documents[self.uri]

    def wait(self, seconds: float) -> None:
        """Let time pass, and timers ring."""
        end = self.now + seconds
        while due := [timer for timer in self.timers if not timer.cancelled and timer.when <= end]:
            first = min(due, key=lambda timer: timer.when)
            self.timers.remove(first)
            self.now = max(self.now, first.when)
            first.run()
        self.now = end

    def offer(self, code: str = GCD, name: str = "c1", *, request: str = "", ghost: bool = True) -> Offer:
        """Offer code for the first instruction of the file."""
        snapshot = self.document.snapshot()
        row = next(row for row, line in enumerate(snapshot.lines) if line.lstrip().startswith((b"#", b"def")))
        found = at(snapshot, row, attention="invoked")
        assert found
        where = place(snapshot, found)
        edits = splice(snapshot, found, where, code)
        shown = inline(snapshot, found, where, code, where.after) if ghost else None
        suggestion = Suggestion(name, request or f"r{name}", code, found, where, edits, "valid")
        offer = Offer(suggestion, self.uri, snapshot, shown.edit if shown else None)
        self.outcomes.told("offered", offer)
        return offer

    def change(self, first: int, start: int, last: int, end: int, text: str) -> None:
        """Edit as a client does, in UTF-16 units."""
        self.document.apply((first, start, last, end), text)
        self.outcomes.changed(self.document, [((first, start, last, end), text)], None)

    def replace(self, text: str) -> None:
        """Send the whole text, as some clients do at each change."""
        before = self.document.snapshot()
        self.document.apply(None, text)
        self.outcomes.changed(self.document, [(None, text)], before)

    def type(self, row: int, column: int, text: str) -> None:
        """Press keys, one after another."""
        for character in text:
            self.change(row, column, row, column, character)
            row, column = (row + 1, 0) if character == "\n" else (row, column + 1)
            self.now += 0.05

    def take(self) -> None:
        """Put the code below the comment in one edit."""
        row = next(r for r, line in enumerate(self.document.snapshot().lines) if b"write a" in line)
        column = len(self.document.snapshot().line(row).decode().encode("utf-16-le")) // 2
        self.change(row, column, row, column, "\n" + GCD.rstrip("\n"))


@pytest.fixture
def world() -> World:
    return World(f'import os\n\ns = "\U0001f600"\n\n{COMMENT}\n\n\nx = 1\n')


def test_text_that_appears_was_accepted_once(world: World) -> None:
    world.offer()
    world.offer()  # asked for again
    world.type(7, 5, "0")
    world.take()
    world.type(1, 0, "#\n")
    world.wait(5)
    assert world.kinds == [("accepted", "text-appeared")]


@pytest.mark.parametrize("how", ["all", "rows", "indented", "imports", "full text", "word away and back"])
def test_clients_put_code_in_in_ways_of_their_own(world: World, how: str) -> None:
    world.offer()
    code = GCD.rstrip("\n")
    if how == "all":
        world.change(4, len(COMMENT), 5, 0, f"\n{code}\n")
    elif how == "rows":
        for number, line in enumerate(GCD.splitlines(keepends=True)):
            world.change(5 + number, 0, 5 + number, 0, line)
    elif how == "indented":
        world.change(5, 0, 5, 0, GCD.replace("\n", "\n    "))
    elif how == "imports":
        world.change(0, 0, 0, 0, "import math\n")
        world.take()
    elif how == "full text":
        text = world.document.snapshot().text.replace(f"{COMMENT}\n", f"{COMMENT}\n{GCD}")
        world.replace(f"import math\n{text}")
    else:
        column = len(COMMENT) - len("numbers")
        world.change(4, column, 4, len(COMMENT), "")
        world.change(4, column, 4, column, f"numbers\n{code}")
    world.wait(2)
    assert world.kinds == [("accepted", "text-appeared")]
    world.wait(30)
    assert world.rows[1] == (
        "c1",
        "kept",
        {"kept_ratio": 1.0, "checkpoint": "30s", "final_text": world.rows[1][2]["final_text"], "cause": ""},
    )
    assert [line.strip() for line in world.rows[1][2]["final_text"].split("\n")] == [
        line.strip() for line in GCD.splitlines()
    ]


def test_word_by_word(world: World) -> None:
    world.offer()
    world.change(4, len(COMMENT), 4, len(COMMENT), "\ndef")
    world.change(5, 3, 5, 3, " gcd")
    world.wait(1.5)
    world.change(5, 7, 5, 7, "(a,")
    world.wait(1.5)
    assert [details["accepted_length"] for _, _, details in world.rows] == [8, 11]  # the line feed counts
    world.change(5, 10, 5, 10, " b):\n" + "\n".join(GCD.splitlines()[1:]))
    assert world.kinds[-1] == ("accepted", "text-appeared")


def test_typing_the_same_is_no_acceptance_until_all_of_it_is_there(world: World) -> None:
    world.offer()
    world.type(4, len(COMMENT), "\ndef gcd")
    world.wait(3)
    world.change(5, 7, 5, 7, "()")  # an auto-pair
    world.wait(3)
    assert world.rows == []


def test_something_else_typed_is_told_with_what_was_written_instead(world: World) -> None:
    world.offer()
    world.wait(2)
    world.type(4, len(COMMENT), "\nfrom math import gcd\n")
    world.wait(1.5)
    assert world.kinds == [("ignored", "typed-over")]
    assert 2000 <= world.rows[0][2]["visible_ms"] < 5000
    world.type(6, 0, "\n\n# something else\ny = 2")
    world.outcomes.saved(URI)
    world.outcomes.saved(URI)
    world.wait(700)
    assert world.kinds == [("ignored", "typed-over"), ("instead", "save")]
    assert world.rows[1][2]["final_text"] == "from math import gcd"
    assert 0 < world.rows[1][2]["kept_ratio"] < 0.5


def test_the_instruction_is_changed_or_asked_again(world: World) -> None:
    world.offer()
    world.type(4, len(COMMENT), " of any sign")
    world.wait(1.5)
    assert world.kinds == [("superseded", "instruction-changed")]
    world.offer(name="c2")
    world.offer(name="c3")
    assert world.kinds[1:] == [("superseded", "newer-offer")]
    world.take()
    assert world.rows[2][:2] == ("c3", "accepted")


def test_left_alone_closed_or_over(world: World) -> None:
    offers = [world.offer()]
    world.wait(601)
    assert world.kinds == [("ignored", "left-alone")]
    offers.append(world.offer(name="c2"))
    world.outcomes.closed(URI)
    offers.append(world.offer(name="c3"))
    world.outcomes.close()
    assert [details["cause"] for _, _, details in world.rows] == ["left-alone", "closed", "session-ended"]


def test_the_clients_word_counts(world: World) -> None:
    told = world.offer()
    told.logged["accepted"] = "client"
    world.outcomes.told("accepted", told)  # the command overtakes the change
    world.take()
    world.wait(31)
    assert world.kinds == [("kept", "30s")]

    other = World(world.document.snapshot().text)
    rejected = other.offer(code="def other():\n    pass\n")
    rejected.logged["rejected"] = "client"
    other.outcomes.told("rejected", rejected)
    other.wait(700)
    assert other.rows == []  # nothing was written instead


def test_a_sibling_that_is_taken_settles_the_others_without_a_verdict(world: World) -> None:
    world.offer()
    rejected = world.offer(code="def gcd(a, b):\n    return 1\n", name="c2", request="rc1")
    rejected.logged["rejected"] = "client"
    world.outcomes.told("rejected", rejected)
    world.take()
    world.outcomes.saved(URI)
    world.wait(700)
    assert {kind for _, kind, _ in world.rows} == {"accepted", "kept"}


def test_what_is_kept_at_each_checkpoint(world: World) -> None:
    world.offer()
    world.take()
    world.wait(40)
    world.type(0, 0, "import sys\n")
    world.change(9, 12, 9, 12, "  # done")  # row of `return a`, one further down
    world.wait(90)
    world.outcomes.saved(URI)
    world.outcomes.saved(URI)  # nothing new
    world.change(6, 0, 10, 0, "")
    world.wait(600)
    kept = [(kind, details["checkpoint"]) for _, kind, details in world.rows[1:]]
    assert kept == [
        ("kept", "30s"),
        ("kept", "2min"),
        ("edited", "2min"),
        ("kept", "save"),
        ("kept", "10min"),
    ]
    ratios = [details["kept_ratio"] for _, _, details in world.rows[1:]]
    assert ratios[0] == 1
    assert 0.8 < ratios[1] < 1
    assert ratios[2:4] == [ratios[1]] * 2
    assert ratios[4] == 0
    assert world.rows[-1][2]["cause"] == "undone"
    assert world.rows[-1][2]["final_text"] == ""
    assert world.rows[2][2]["final_text"].endswith("return a  # done")


def test_undo_and_redo(world: World) -> None:
    world.offer()
    world.take()
    world.change(4, len(COMMENT), 8, len("    return a"), "")
    world.wait(31)
    assert world.rows[-1][2]["kept_ratio"] == 0
    world.take()
    world.wait(100)
    assert (world.rows[-1][1], world.rows[-1][2]["kept_ratio"]) == ("kept", 1.0)
    assert [kind for _, kind, _ in world.rows].count("accepted") == 1


def test_undo_in_an_editor_that_sends_the_whole_text(world: World) -> None:
    before = world.document.snapshot().text
    world.offer()
    world.replace(before.replace(f"{COMMENT}\n", f"{COMMENT}\n{GCD}"))
    world.replace(before)
    world.wait(31)
    assert world.kinds == [("accepted", "text-appeared"), ("kept", "30s")]
    assert (world.rows[1][2]["kept_ratio"], world.rows[1][2]["cause"]) == (0, "undone")


def test_what_was_written_instead_in_a_file_that_is_renamed(world: World) -> None:
    offer = world.offer()
    offer.logged["rejected"] = "client"
    world.outcomes.told("rejected", offer)
    world.type(4, len(COMMENT), "\nfrom math import gcd")
    text = world.document.snapshot().text
    world.outcomes.closed(URI)
    del world.documents[URI]
    world.uri = "file:///work/renamed.py"
    world.documents[world.uri] = Document(world.uri, f"import json\n{text}")
    world.outcomes.opened(world.uri)
    world.type(6, len("from math import gcd"), "  # all of it")
    world.outcomes.saved(world.uri)
    assert world.kinds == [("instead", "save")]
    assert world.rows[0][2]["final_text"] == "from math import gcd  # all of it"


def test_a_file_under_another_name_and_one_that_is_edited_elsewhere(world: World) -> None:
    world.offer()
    world.take()
    world.outcomes.saved(URI)
    text = world.document.snapshot().text
    world.outcomes.closed(URI)
    del world.documents[URI]
    world.wait(40)  # nobody knows what happens to it meanwhile
    assert [kind for kind, _ in world.kinds] == ["accepted", "kept"]
    world.uri = "file:///work/renamed.py"
    world.documents[world.uri] = Document(world.uri, f"import json\n{text}")
    world.outcomes.opened(world.uri)
    world.type(7, 8, "not ")
    world.wait(120)
    assert world.kinds[2:] == [("kept", "2min"), ("edited", "2min")]


def test_work_of_a_server_that_died_is_taken_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1100.0)
    world.take()
    accepted = event_row("accepted", time=1040.0)
    unknown = event_row("accepted", "c2", time=10.0)
    world.outcomes.resume(
        [Unfinished(accepted, file_id(URI), GCD, [""]), Unfinished(unknown, file_id(URI), GCD, [""])]
    )
    world.outcomes.opened("file:///work/other.py")
    world.outcomes.opened(URI)
    world.wait(61)
    assert world.kinds == [("kept", "2min")]
    assert world.rows[0][2]["kept_ratio"] == 1


@pytest.mark.parametrize(
    ("done", "there", "logged"),
    [
        (["30s", "2min"], True, [("kept", "10min")]),
        (["30s", "2min", "10min"], True, []),
        # It went while nobody looked: nobody knows when, or by whom.
        ([], False, []),
    ],
)
def test_what_a_dead_server_knew_is_not_asked_again_and_what_it_missed_stays_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch, done: list[str], there: bool, logged: list[Any]
) -> None:
    monkeypatch.setattr("time.time", lambda: 1100.0)
    if there:
        world.take()
    accepted = event_row("accepted", time=1070.0)
    world.outcomes.resume([Unfinished(accepted, file_id(URI), GCD, done)])
    world.outcomes.opened(URI)
    world.outcomes.saved("file:///work/other.py")
    world.wait(700)
    assert world.kinds == logged


def test_nothing_is_looked_at_far_from_an_offer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.offer()

    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("nl2code_server.lsp.watch.read", forbidden)
    world.type(7, 5, " + 2")
    world.type(0, 0, "\n\n")
    world.uri = "file:///work/other.py"
    world.documents[world.uri] = Document(world.uri, "x\n")
    world.type(0, 0, "y")
