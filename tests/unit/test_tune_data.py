"""The data set of a log: what is left out, what is held out, what is made of the rest."""

from __future__ import annotations

import ast
import json
import random
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.secrets import planted
from fakes.tuning import candidate, code_of, event, record, refused, taken
from nl2code_model.evaluate import tasks
from nl2code_model.tune import dataset, export, plan
from nl2code_model.tune.augment import rename_locals, variants
from nl2code_model.tune.clean import capped, clean, without_doubles
from nl2code_model.tune.dataset import Dataset
from nl2code_model.tune.history import functions, rows_from
from nl2code_model.tune.labels import label
from nl2code_model.tune.recipe import Augmentation, Cleaning, Cuts, Recipe, Split
from nl2code_model.tune.rows import Row
from nl2code_model.tune.split import interleaved, split
from nl2code_server.feedback.store import Record, Store

SECRETS = planted()
NOTHING: frozenset[tuple[str, ...]] = frozenset()


def _rows(*records: Record) -> list[Row]:
    return label(records, Cuts()).rows


def _log(good: int, bad: int) -> list[Record]:
    total = good + bad
    return [refused(n) if n * bad // total < (n + 1) * bad // total else taken(n) for n in range(total)]


def _data(records: list[Record], **values: str) -> Dataset:
    return dataset.build(records, Recipe().with_values(values), benchmark=NOTHING)


# --- cleaning ---


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def part(total:\n    return total", "does not parse"),
        ("x", "too short"),
        (f"def key():\n    return '{next(iter(SECRETS.values()))}'", "holds a secret"),
        ("def key():\n    return '<SECRET:github-token>'", "holds a secret"),
    ],
)
def test_what_is_not_learnt(code: str, reason: str) -> None:
    dropped: Counter[str] = Counter()
    rows = _rows(record(1, candidates=[candidate(1, text=code)], events=[event("accepted", 1)]))
    assert clean(rows, Cleaning(), NOTHING, dropped) == []
    assert dropped == {reason: 1}


def test_planted_secrets_never_reach_the_data_set() -> None:
    logged = [
        record(
            n,
            candidates=[candidate(n, text=f"def key_{n}():\n    password = {secret!r}\n    return password")],
            events=[event("accepted", n)],
        )
        for n, secret in enumerate(SECRETS.values())
    ]
    before = json.dumps([row.code for row in _rows(*logged)])
    data = _data(logged)
    after = json.dumps(export.tables(data))
    held = [secret for secret in SECRETS.values() if json.dumps(secret)[1:-1] in before]
    assert len(held) >= 10, "the control holds nothing"
    assert [secret for secret in held if json.dumps(secret)[1:-1] in after] == []


def test_a_secret_in_the_prompt_becomes_a_placeholder() -> None:
    secret = next(iter(SECRETS.values()))
    [row] = _rows(taken(1))
    role, content = row.asked.messages[-1]
    told = replace(row, asked=replace(row.asked, messages=((role, f"TOKEN = {secret!r}\n{content}"),)))
    [kept] = clean([told], Cleaning(), NOTHING, Counter())
    assert secret not in str(kept) and "<SECRET:" in kept.asked.messages[0][1]


def test_the_gate_s_own_tasks_are_not_learnt() -> None:
    anchor = next(one for one in tasks.read() if one.id == "parking-fee")
    made = record(1, candidates=[candidate(1, text=anchor.reference)], events=[event("accepted", 1)])
    data = dataset.build([made, taken(2)], Recipe(), benchmark=dataset.gate_grams(10))
    assert data.dropped["is a task of the gate"] == 1


def test_one_of_the_same_is_left_and_conflicts_are_settled() -> None:
    dropped: Counter[str] = Counter()
    rows = _rows(taken(1), taken(2), refused(3))
    same = [replace(row, asked=replace(row.asked, instruction="same"), code=rows[0].code) for row in rows]
    [kept] = without_doubles(same, Cleaning(), dropped)
    assert (kept.id, kept.desirable) == ("r2-0", True)
    assert dropped["verdicts conflict"] == 1
    assert without_doubles(same[1:], Cleaning(), dropped) == []


def test_near_doubles_go_but_what_sets_verdicts_apart_stays() -> None:
    [row] = _rows(taken(1))
    near = replace(row, id="near", code=row.code.replace("total / 1)", "total / 9)") + "\n")
    worse = replace(near, id="worse", code=row.code + "  # no", desirable=False)
    dropped: Counter[str] = Counter()
    kept = without_doubles([row, near, worse], Cleaning(), dropped)
    assert [one.desirable for one in kept] == [True, False]


def test_one_file_does_not_rule() -> None:
    rows = _rows(*(taken(n, file="same") for n in range(40)))
    dropped: Counter[str] = Counter()
    kept = capped(rows, Cleaning(file_least=10), dropped)
    assert [row.id for row in kept] == [f"r{n}-0" for n in range(30, 40)]
    assert dropped["too many of one file"] == 30


# --- split and order ---


def test_whole_files_the_newest_are_held_out() -> None:
    rows = _rows(*(taken(n, file=f"f{n // 4}") for n in range(40)))
    parts = split(rows, Split())
    sides = {row.asked.group: set[bool]() for row in rows}
    for row in rows:
        sides[row.asked.group].add(row.asked.request_id in parts.held_out)
    assert all(len(side) == 1 for side in sides.values())
    assert parts.by == "file" and 8 <= len(parts.held_out) <= 12
    assert {"r39", "r36"} <= parts.held_out and "r0" in parts.train
    assert parts.hash == split(list(reversed(rows)), Split()).hash


def test_one_file_is_divided_by_time() -> None:
    parts = split(_rows(*(taken(n, file="same") for n in range(20))), Split())
    assert parts.by == "time"
    assert parts.held_out == {f"r{n}" for n in range(15, 20)}


def test_verdicts_alternate_as_evenly_as_they_can() -> None:
    ordered = [row.desirable for row in interleaved(_rows(*_log(30, 10)))]
    assert all(not all(ordered[at : at + 4]) for at in range(0, 40, 4))


# --- variants ---


def test_variants_are_of_what_is_learnt_and_the_same_for_a_seed() -> None:
    rows = _rows(taken(1), refused(2))
    made = variants(rows, Augmentation(), 0)
    assert made == variants(rows, Augmentation(), 0)
    assert {row.parent for row in made} == {"r1-0"} and 1 <= len(made) <= 2
    assert variants(rows, Augmentation(paraphrase=False, fill=False, rename=False), 0) == []
    [filled] = variants(rows, Augmentation(paraphrase=False, rename=False), 0)
    assert filled.asked.instruction.endswith(": part_1(total)")
    [reworded] = variants(rows, Augmentation(fill=False, rename=False), 0)
    assert reworded.asked.instruction != rows[0].asked.instruction
    assert reworded.asked.instruction.endswith("a function that gives the 1th part of a sum")


def test_renaming_keeps_what_the_code_does() -> None:
    code = (
        "def count(lines, total=0):\n    result = {}\n    for line in lines:\n"
        "        for word in line.split():\n            result[word] = result.get(word, total) + 1\n    return result"
    )
    renamed = rename_locals(code, random.Random(0))
    assert renamed and renamed != code
    outcomes = []
    for text in (code, renamed):
        names: dict[str, object] = {}
        exec(text, names)
        outcomes.append(names["count"](["a b a"]))  # type: ignore[operator]
    assert outcomes[0] == outcomes[1] == {"a": 2, "b": 1}


@pytest.mark.parametrize(
    "code",
    [
        "def f(x):\n    return x",
        "result = 1\ndef f():\n    return result",
        "def f(words):\n    item = words[0]\n    return f'{item}'",
        "def f():\n    global total\n    total = 1",
        "not python",
    ],
)
def test_what_others_know_keeps_its_name(code: str) -> None:
    assert rename_locals(code, random.Random(0)) is None


# --- the whole ---


def test_the_sizes_of_a_log_and_what_is_missing() -> None:
    few = plan.report(_data(_log(5, 5)), Recipe())
    assert (few["ready"], few["sft"] > 0, len(few["missing"])) == (False, True, 2)
    assert "40 more suggestions" in few["missing"][0]
    assert {stage["stage"]: bool(stage["reason"]) for stage in few["stages"]} == dict.fromkeys(
        ("sft", "kto", "dpo"), True
    )
    many = plan.report(_data(_log(60, 40)), Recipe(), parameters=500_000_000)
    assert many["ready"] and not many["missing"] and many["seconds_estimated"] > 60
    assert [stage["stage"] for stage in many["stages"] if not stage["reason"]] == ["sft", "kto"]
    assert many["held_out"] == 25


def test_nothing_of_what_is_held_out_is_learnt() -> None:
    data = _data(_log(60, 40))
    held = {row.asked.request_id for row in data.held_out}
    assert held and held.isdisjoint({row.asked.request_id for row in (*data.learn, *data.judged)})
    again = taken(200, candidates=[candidate(200, text=data.held_out[-1].code)])
    assert data.hash == _data(_log(60, 40)).hash != _data([*_log(60, 40), again]).hash


def test_purged_text_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    with Store(path) as store:
        for one in _log(12, 0):
            store.add([one.request, *one.candidates, *one.events])
    assert "part_7(" in json.dumps(export.tables(_data(dataset.read_log(path))))
    with Store(path) as store:
        store.purge(suggestion="r7-0")
    assert "part_7(" not in json.dumps(export.tables(_data(dataset.read_log(path))))


def test_files_as_trl_reads_them(tmp_path: Path) -> None:
    edited = code_of(1).replace("total / 1", "total / 100")
    data = _data([taken(1, 0.9, edited), *_log(12, 4)[2:]], **{"split.share": "0"})
    assert export.write(data, tmp_path)["dpo"] == 1
    [pair] = export.read(tmp_path / "dpo.jsonl")
    assert [one["role"] for one in pair["prompt"]] == ["system", "user"]
    [chosen], [rejected] = pair["chosen"], pair["rejected"]
    assert chosen["role"] == "assistant"
    assert chosen["content"] == f"```python\n{edited}\n```"
    assert rejected["content"] == f"```python\n{code_of(1)}\n```"
    labels = [row["label"] for row in export.read(tmp_path / "kto.jsonl")]
    assert labels.count(True) == 11 and labels.count(False) == 4
    assert (tmp_path / "sft.jsonl").stat().st_mode & 0o077 == 0
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["data_hash"] == data.hash and manifest["schema_version"] >= 1


# --- a repository ---


def _git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=U", "-c", "user.email=u@x.org", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=30)


def test_functions_of_the_user_s_own_history(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q", ".")
    _git(tmp_path, "config", "user.email", "u@x.org")
    (tmp_path / "a.py").write_text(
        'import os\n\n\ndef area(r):\n    """Return the area of a circle of radius r."""\n    return 3 * r * r\n'
    )
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "b.py").write_text(
        'def b():\n    """Return the second letter of it."""\n    return 2\n'
    )
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "one")
    text = (tmp_path / "a.py").read_text()
    (tmp_path / "a.py").write_text(
        f"{text}\n\n# count the words of a text\ndef words(text):\n    return len(text.split())\n"
    )
    _git(tmp_path, "commit", "-qam", "two")
    (tmp_path / "a.py").write_text(
        (tmp_path / "a.py").read_text()
        + '\n\ndef c():\n    """Return the third one of all."""\n    return 3\n'
    )
    _git(tmp_path, "commit", "-qam", "three", "--author", "Other <other@x.org>")
    rows = rows_from(tmp_path)
    assert [(row.asked.instruction, row.code.split("(")[0], row.source) for row in rows] == [
        ("Return the area of a circle of radius r.", "def area", "repository"),
        ("count the words of a text", "def words", "repository"),
    ]
    shown = rows[1].asked.messages[-1][1]
    assert "def area" in shown and "def words" not in shown
    data = dataset.build([], Recipe().with_values({"split.share": "0"}), repository=rows, benchmark=NOTHING)
    assert (data.counts()["sft"], data.counts()["kto"]) == (2, {"desirable": 0, "undesirable": 0})


def test_a_folder_that_is_no_repository_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"cannot be read|does not say who"):
        rows_from(tmp_path / "nowhere")


def test_a_function_and_the_words_above_it() -> None:
    text = (
        "class A:\n    # noqa: X\n    def a(self):\n        return 1\n\n"
        "    # give the number of rows\n    @property\n    def b(self):\n        return len(self.rows)\n"
    )
    [found] = functions(text)
    assert (found.instruction, found.first, found.indent) == ("give the number of rows", 5, "    ")
    assert found.code == "@property\ndef b(self):\n    return len(self.rows)"
    ast.parse(found.code)
