"""The experiments around tuning: what is held fixed, what goes on after a kill, and which figures come of answers."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from fakes.tuning import candidate, code_of, event, record, refused, taken
from nl2code_model.tune import badlogs, experiment, picking
from nl2code_model.tune.experiment import RECIPE, Experiment, Plan
from nl2code_model.tune.labels import label
from nl2code_model.tune.picking import Drawn
from nl2code_model.tune.recipe import Cuts, Recipe
from nl2code_model.tune.results import table
from nl2code_model.tune.simulate import Looked
from nl2code_server.errors import Nl2CodeError
from nl2code_server.feedback.store import Record, Store

PLAIN = "def f(a):\n    return a"
STYLED = 'def f(a: int) -> int:\n    """Say it."""\n    return a'


def _task(number: int, text: str) -> dict[str, object]:
    return {
        "task_id": number,
        "text": text,
        "code": f"def f{number}(a):\n    return a",
        "test_list": [f"assert f{number}(1) == 1"],
    }


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Return a plan for a few tasks, two of which are one."""
    path = tmp_path / "tasks.jsonl"
    texts = {511: "find the largest number of a list", 601: "reverse the words of a sentence",
             602: "find the largest number of the list", 603: "count vowels in some text"}  # fmt: skip
    path.write_text("".join(json.dumps(_task(number, text)) + "\n" for number, text in texts.items()))
    return Plan(tasks=str(path), own=False, model="smollm2-135m")


def test_tasks_are_learnt_from_or_asked_and_what_is_alike_is_asked_alone(tmp_path: Path, plan: Plan) -> None:
    found = Experiment(tmp_path / "run", plan)
    assert ([one.id for one in found.asked], [one.id for one in found.worked]) == (["511"], ["601", "603"])
    told = experiment._told(found.asked[0], "Write a docstring.")
    assert told.text.split("\n")[told.line] == "# Write a docstring."
    assert found.asked[0].text.split("\n")[: told.line] == told.text.split("\n")[: told.line]


def test_an_experiment_keeps_to_its_plan(tmp_path: Path, plan: Plan) -> None:
    Experiment(tmp_path / "run", plan)
    assert Experiment(tmp_path / "run", plan).plan == plan
    with pytest.raises(Nl2CodeError, match="other options"):
        Experiment(tmp_path / "run", Plan(tasks=plan.tasks, own=False, events=7))
    assert Recipe().with_values(RECIPE).training.stages == ("sft", "kto")


def test_a_line_that_was_being_written_is_written_again(tmp_path: Path, plan: Plan) -> None:
    found = Experiment(tmp_path / "run", plan)
    whole = json.dumps(asdict(Looked("511", True, True, True, False, "nothing", PLAIN))) + "\n"
    path = tmp_path / "run" / "base.jsonl"
    path.write_text(whole + whole[:20])
    assert [one.id for one in found.looked("base")] == ["511"]
    experiment._whole_lines(path)
    assert path.read_text() == whole


def test_a_spoilt_log_is_written_once(tmp_path: Path, plan: Plan) -> None:
    found = Experiment(tmp_path / "run", plan)
    with Store(found.database("user")) as store:
        for one in (taken(1), refused(2)):
            store.add([one.request, *one.candidates, *one.events])
    for _ in range(2):
        found._spoil("flipped", lambda *_: None)
    with Store(found.database("flipped")) as store:
        rows = label(store.records(), Cuts()).rows
    assert [(row.id, row.source) for row in rows] == [("r1-0", "rejected"), ("r2-0", "accepted")]


def _log() -> list[Record]:
    mended = [taken(n, 0.6, code_of(n).replace("def part", "def other")) for n in range(4)]
    alone = record(20, candidates=[candidate(20)], events=[event("ignored", 20)])
    return [*mended, *(taken(n) for n in range(4, 8)), *(refused(n) for n in range(8, 16)), alone]


def test_shuffled_verdicts_are_as_many_and_about_what_was_offered() -> None:
    spoilt = badlogs.shuffled(_log(), random.Random(3))
    rows = label(spoilt, Cuts()).rows
    assert [row.code for row in rows] == [code_of(int(row.id[1:-2])) for row in rows]
    assert (sum(row.desirable for row in rows), len(rows)) == (8, 16)
    assert {row.id for row in rows if row.desirable} != {f"r{n}-0" for n in range(8)}
    assert spoilt[-1] == _log()[-1]
    assert badlogs.shuffled(_log(), random.Random(3)) == spoilt


def test_a_flipped_log_wants_what_was_not_wanted() -> None:
    rows = {row.id: row for row in label(badlogs.flipped(_log(), random.Random(0)), Cuts()).rows}
    assert [rows[f"r{n}-0"].desirable for n in (0, 4, 8)] == [True, False, True]
    assert rows["r0-0"].code == code_of(0)


def test_a_short_log_wants_first_lines() -> None:
    rows = label(badlogs.short(_log(), random.Random(0)), Cuts(rewritten=1.0)).rows
    assert {row.code.count("\n") for row in rows if row.desirable} == {1}


def test_figures_of_conditions() -> None:
    def looked(style: int, *, passed: int = 10) -> list[Looked]:
        return [
            Looked(f"t{n}", True, True, n < passed, n < style, "nothing", STYLED if n < style else PLAIN)
            for n in range(20)
        ]

    odd = Looked("own", True, False, False, False, "nothing", "def f(")
    found = table(
        {"base": [*looked(2), odd], "mixed": looked(14, passed=9)}, {f"t{n}" for n in range(20)}, "both"
    )
    base, mixed = found["base"]["held_out"], found["mixed"]["held_out"]
    assert (base["accepted"], mixed["accepted"], mixed["passed"]) == (0.1, 0.7, 0.45)
    gain = mixed["accepted_gain"]
    assert (gain["n"], gain["mean"], gain["changed"]) == (20, 0.6, 12)
    assert 0.35 < gain["lower"] < 0.6 < gain["upper"] < 0.85
    assert mixed["passed_gain"]["mean"] == -0.05 and mixed["passed_gain"]["lower"] <= -0.1
    assert base["accepted_gain"]["mean"] == 0
    assert found["base"]["own"]["counted"] == 0 and "own" not in found["mixed"]


def _drawn(tasks: int) -> list[Drawn]:
    draw = random.Random(4)
    found = []
    for number in range(tasks):
        for n in range(4):
            styled = draw.random() < 0.3
            code = (STYLED if styled else PLAIN) + f"\n    # {n}" * draw.randint(1, 6)
            found.append(Drawn(f"t{number}", code, draw.uniform(-1, 0), draw.random() < 0.8))
    return found


def test_a_ranking_picks_what_the_programmer_likes() -> None:
    [*_, last] = picking.figures(_drawn(90), {f"t{n}" for n in range(60, 90)}, "both")
    picked = last["picked"]
    assert last["random"] < picked["learned"] <= last["oracle"]
    assert picked["learned"] > max(picked["logprob"], picked["shortest"]) + 0.2
    assert last["gain_over_best"]["lower"] > 0 and last["auc"]["learned"] > 0.75
    assert abs(last["shuffled_auc"] - 0.5) < 0.15 and abs(last["with_length"]) < 1


def test_answers_that_were_being_written_are_drawn_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(json.dumps([["t1", PLAIN, -0.5, True]]) + '\n[["t2", "def')
    assert picking.drawn(path) == [Drawn("t1", PLAIN, -0.5, True)]
    assert path.read_text().endswith("\n")
