"""The learned ranking: found from verdicts, used where it is better, scored alike where it is learnt and served."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fakes.tuning import candidate, event, record
from nl2code_model.tune import rerank
from nl2code_model.tune.recipe import Cuts
from nl2code_model.tune.rerank import Example, Ranking, area, examples, fit, learn
from nl2code_server.feedback.store import Record
from nl2code_server.lang.traits import NAMES, RANKING, traits
from nl2code_server.platform import paths
from nl2code_server.suggest import Status, learned
from nl2code_server.suggest.rank import Features, likelihood, order

PLAIN = "def f(a):\n    return a"
STYLED = "def f(a: int) -> int:\n    return a"


@dataclass(frozen=True)
class Offer:
    """What ranking looks at."""

    code: str
    mean_logprob: float | None = -0.5
    status: Status = "valid"
    greedy: bool = False
    agreement: int = 0
    faults: int = 0
    unused: int = 0


def _given(n: int = 200, *, seed: int = 1, noise: float = 0.1) -> list[Example]:
    """Return verdicts of somebody who likes annotations, and does not care about length or the model's opinion."""
    draw = random.Random(seed)
    found = []
    for number in range(n):
        styled = draw.random() < 0.5
        lines = draw.randint(1, 9)
        code = (STYLED if styled else PLAIN) + "\n    # so" * lines
        taken = styled != (draw.random() < noise)
        found.append(Example(f"r{number}", traits(code, draw.uniform(-1, 0), greedy=False), taken))
    return found


HELD = {f"r{number}" for number in range(0, 200, 3)}


@cache
def _learnt() -> tuple[Ranking | None, dict[str, Any]]:
    return learn(_given(), HELD)


def test_code_in_numbers() -> None:
    found = dict(zip(NAMES, traits(f"import os\n\n\n# why\n{STYLED}", -0.5, greedy=True), strict=True))
    assert (found["logprob"], found["greedy"], found["annotated"], found["comments"]) == (
        -0.5,
        1.0,
        1.0,
        0.25,
    )
    assert found["imports"] > 0 and found["documented"] == found["loops"] == 0
    assert len(traits("def f(:", None, greedy=False)) == len(NAMES)


def test_what_the_user_likes_is_found_and_its_chances_are_right() -> None:
    ranking, report = _learnt()
    assert ranking and report["used"], report
    assert report["auc"]["learned"] > 0.8
    assert max(report["auc"]["logprob"], report["auc"]["length"]) < 0.65
    assert max(report["weights"], key=lambda name: abs(report["weights"][name])) == "annotated"
    train = _given()
    expected = sum(fit(train).chance(one) for one in train)
    assert expected == pytest.approx(sum(one.taken for one in train), abs=0.01)
    assert report["brier"] < 0.6 * report["brier_of_share"]


@pytest.mark.parametrize("seed", range(4))
def test_verdicts_that_mean_nothing_are_seldom_learnt_and_never_by_much(seed: int) -> None:
    draw = random.Random(seed)
    given = _given(seed=seed)
    verdicts = [one.taken for one in given]
    draw.shuffle(verdicts)
    _, report = learn([replace(one, taken=taken) for one, taken in zip(given, verdicts, strict=True)], HELD)
    assert report["auc"]["learned"] < 0.68
    assert not report["used"] or report["brier"] > 0.9 * report["brier_of_share"]


def test_length_alone_is_no_reason_for_a_ranking() -> None:
    given = [replace(one, taken=one.trait("characters") > 4.1) for one in _given()]
    ranking, report = learn(given, HELD)
    assert ranking is None and report["auc"]["length"] == 1.0


def test_too_few_verdicts_are_refused() -> None:
    ranking, report = learn(_given(30), HELD)
    assert ranking is None and "too few" in report["reason"]


def test_the_server_ranks_as_it_was_learnt_and_forgets(tmp_path: Path) -> None:
    plain, styled = Offer(PLAIN, -0.1), Offer(STYLED, -0.9)
    assert order([plain, styled]) == [plain], "one program, so one of them"
    ranking, _ = _learnt()
    assert ranking
    rerank.use(ranking)
    assert order([plain, styled]) == [styled]
    assert order([plain, styled], likelihood) == [plain]
    score = learned.in_force()
    assert score
    made = Example("r", traits(STYLED, -0.9, greedy=False), True)
    assert score(Features(False, -0.9, STYLED)) == pytest.approx(ranking.score(made))
    rerank.use(None)
    assert order([plain, styled]) == [plain]


@pytest.mark.parametrize(
    "change",
    [{"version": 0}, {"weights": [1.0]}, {"scale": [0.0] * len(NAMES)}, {"centre": "x"}, {"weights": None}],
)
def test_a_file_that_is_not_as_it_should_be_changes_nothing(change: dict[str, object]) -> None:
    ranking, _ = _learnt()
    assert ranking
    ranking.write()
    path = paths().data / RANKING
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert learned.in_force() is None


def test_a_log_gives_what_was_offered_as_it_was_offered() -> None:
    mended = event("kept", 2, time=2000.0, checkpoint="save", kept_ratio=0.7, final_text=STYLED)
    sure = candidate(1, text=STYLED, logprob_sum=-4.0, n_tokens=8)
    logged: list[Record] = [
        record(1, candidates=[sure], events=[event("accepted", 1)]),
        record(2, candidates=[candidate(2, text=PLAIN)], events=[event("accepted", 2), mended]),
        record(3, candidates=[candidate(3, text=PLAIN)], events=[event("rejected", 3)]),
        record(4, candidates=[candidate(4, text=PLAIN)], events=[event("ignored", 4)]),
    ]
    found = examples(logged, Cuts())
    assert [(one.request, one.taken) for one in found] == [("r1", True), ("r2", False), ("r3", False)]
    assert found[0].trait("logprob") == -0.5


def test_areas() -> None:
    assert area([(1.0, True), (0.0, False)]) == 1.0
    assert area([(0.0, True), (0.0, False)]) == 0.5
    assert area([(1.0, True)]) == 0.5
