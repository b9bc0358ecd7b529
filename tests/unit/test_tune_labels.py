"""What a user did with a suggestion, and the label that it becomes."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from fakes.tuning import candidate, code_of, event, record, refused, taken
from nl2code_model.tune.labels import Labels, label
from nl2code_model.tune.prompts import situation
from nl2code_model.tune.recipe import Cuts, Recipe, recipe_of
from nl2code_model.tune.rows import with_instruction
from nl2code_server.errors import ConfigError
from nl2code_server.lang.unit import extract

EDITED = code_of(1).replace("total / 1", "total / 100")


def _one(found: Labels) -> tuple[str, bool, bool]:
    [row] = found.rows
    return row.source, row.desirable, row.learn


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (taken(1), ("accepted", True, True)),
        (taken(1, 0.96), ("accepted", True, True)),
        (taken(1, 0.9, EDITED), ("edited", True, True)),
        (taken(1, 0.51, EDITED), ("edited", True, True)),
        (taken(1, 0.0, ""), ("undone", False, False)),
        (refused(1), ("rejected", False, False)),
        (record(1, events=[event("accepted", 1)]), ("accepted", True, True)),
        (
            record(1, events=[event("accepted", 1)], candidates=[candidate(1, finish_reason="length")]),
            ("accepted", True, False),
        ),
        (
            record(1, events=[event("rejected", 1), event("instead", 1, kept_ratio=0.6, final_text=EDITED)]),
            ("instead", True, True),
        ),
    ],
)
def test_a_verdict(made: object, expected: tuple[str, bool, bool]) -> None:
    found = label([made], Cuts())  # type: ignore[list-item]
    assert _one(found) == expected
    assert found.judged == 1


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (taken(1, 0.3, "def other():\n    return 1"), "rewritten"),
        (record(1), "not decided on"),
        (record(1, events=[event("ignored", 1, cause="typed-over", visible_ms=5000)]), "left alone"),
        (record(1, events=[event("dismissed", 1)]), "closed"),
        (record(1, candidates=[candidate(1, text="")]), "nothing was made of it"),
        (
            record(1, events=[event("ignored", 1), event("instead", 1, kept_ratio=0.1, final_text="x = 1")]),
            "something else was written",
        ),
    ],
)
def test_no_verdict(made: object, reason: str) -> None:
    found = label([made], Cuts())  # type: ignore[list-item]
    assert (found.rows, dict(found.skipped)) == ([], {reason: 1})


def test_what_is_left_last_counts() -> None:
    first = event("kept", 1, time=1010.0, checkpoint="30s", kept_ratio=1.0, final_text=code_of(1))
    last = event("kept", 1, time=1600.0, checkpoint="10min", kept_ratio=0.0, final_text="")
    found = label([record(1, events=[event("accepted", 1), last, first])], Cuts())
    assert _one(found) == ("undone", False, False)


def test_an_accepted_answer_without_a_measurement_is_counted() -> None:
    assert label([record(1, events=[event("accepted", 1)])], Cuts()).unmeasured == 1
    assert label([taken(1)], Cuts()).unmeasured == 0


def test_an_edit_gives_what_the_user_made_of_it_and_a_pair() -> None:
    found = label([taken(1, 0.9, f"    {EDITED}".replace("\n", "\n    "))], Cuts())
    [row], [pair] = found.rows, found.pairs
    assert row.code == EDITED
    assert (pair.chosen, pair.rejected, pair.source) == (EDITED, code_of(1), "edited")


def test_only_what_was_seen_is_worse_than_what_was_taken() -> None:
    candidates = [candidate(1), *(candidate(1, n, text=code_of(10 + n)) for n in (1, 2, 3))]
    events = [
        event("accepted", 1),
        event("shown", 1, 1, visible_ms=2000),
        event("shown", 1, 2, visible_ms=200),
        event("offered", 1, 3),
    ]
    found = label([record(1, events=events, candidates=candidates)], Cuts())
    assert [(pair.chosen, pair.rejected, pair.source) for pair in found.pairs] == [
        (code_of(1), code_of(11), "sibling")
    ]
    assert [row.id for row in found.rows] == ["r1-0"]


def test_a_candidate_that_fails_the_example_is_worse_than_one_that_passes() -> None:
    failing = [{"call": "part(1)", "expected": "1", "got": "2", "ok": False}]
    candidates = [
        candidate(1, status="verified"),
        candidate(1, 1, text=code_of(11), status="failed", examples=failing),
        candidate(1, 2, text=code_of(12), status="failed"),
    ]
    found = label([record(1, candidates=candidates)], Cuts())
    assert [(pair.rejected, pair.source) for pair in found.pairs] == [(code_of(11), "verifier")]
    undone = [event("accepted", 1), event("kept", 1, kept_ratio=0.0, final_text="", checkpoint="save")]
    assert label([record(1, candidates=candidates, events=undone)], Cuts()).pairs == []


def test_verified_answers_that_nobody_saw_are_spare() -> None:
    other = candidate(1, 1, text=code_of(11), status="verified")
    found = label([record(1, events=[event("accepted", 1)], candidates=[candidate(1), other])], Cuts())
    assert [row.code for row in found.spare] == [code_of(11)]


def test_ignored_answers_count_only_in_the_share_that_is_asked_for() -> None:
    records = [
        record(n, events=[event("shown", n), event("ignored", n, visible_ms=5000)]) for n in range(200)
    ]
    assert label(records, Cuts()).rows == []
    some = label(records, Cuts(ignored_share=0.3)).rows
    assert 40 < len(some) < 80 and not any(row.desirable for row in some)
    assert [row.id for row in some] == [row.id for row in label(records, Cuts(ignored_share=0.3)).rows]


def test_without_text_nothing_is_learnt() -> None:
    made = taken(1)
    bare = replace(made, request=replace(made.request, messages=[], instruction=""))
    assert (label([bare], Cuts()).rows, label([bare], Cuts()).skipped.total()) == ([], 1)


PLACES = [
    ("# write a function that adds two numbers\n", 0, "def add(a, b):\n    return a + b"),
    (
        "class Box:\n    def __init__(self):\n        self.items = []\n\n    # a method that counts the items\n",
        4,
        "def count(self):\n    return len(self.items)",
    ),
    ("def f(values):\n    # sort the values and return the first\n", 1, "values.sort()\nreturn values[0]"),
    ("def half(x):\n    '''Return half of x.'''\n", 0, "if x:\n    return x / 2\nreturn 0"),
]


@pytest.mark.parametrize(("text", "row", "code"), PLACES)
def test_what_is_learnt_is_what_serving_understands(text: str, row: int, code: str) -> None:
    found = situation(text, row)
    assert found
    asked = found.asked("r1")
    answer = asked.answer(code)
    unit = extract(answer, found.prompt.frame)
    assert unit and unit.code == code
    if asked.head:
        ast.parse(asked.head + answer.removesuffix("\n```"))


def test_imports_that_the_model_wrote_are_learnt_too() -> None:
    text = "def root(x):\n    return math.sqrt(x)"
    made = replace(candidate(1, text=text), raw=f"import math\n\n\n{text}\n```")
    [row] = label([record(1, events=[event("accepted", 1)], candidates=[made])], Cuts()).rows
    assert row.code == f"import math\n\n\n{text}"


def test_an_instruction_in_other_words_stands_in_the_same_prompt() -> None:
    [row] = label([taken(1)], Cuts()).rows
    changed = with_instruction(row.asked, "give the first part")
    assert changed and changed.messages[-1][1].endswith(":\n\ngive the first part")
    assert with_instruction(replace(row.asked, instruction="not in it"), "x") is None


def test_a_recipe_survives_its_manifest_and_names_what_it_does_not_know() -> None:
    changed = Recipe().with_values(
        {"training.rank": "8", "training.stages": "sft,kto", "cuts.trivial": "0.1"}
    )
    assert (changed.training.rank, changed.training.stages) == (8, ("sft", "kto"))
    assert recipe_of(changed.as_json()) == changed
    for pairs in ({"training.rnk": "8"}, {"training.rank": "eight"}, {"training.stages": "ppo"}):
        with pytest.raises(ConfigError):
            Recipe().with_values(pairs)
