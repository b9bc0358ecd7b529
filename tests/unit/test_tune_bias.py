"""What a log teaches, on a model trained here: good ones pass the gate, bad ones do not, what was purged is gone."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from fakes.tiny import CHINESE, ENGLISH, LOOP, RECURSION, REVERSE, Tiny
from fakes.tuning import candidate, event, record
from nl2code_model.tune import badlogs, dataset, run
from nl2code_model.tune import train as training
from nl2code_model.tune.prompts import situation
from nl2code_model.tune.recipe import Recipe
from nl2code_model.tune.registry import Registry
from nl2code_model.tune.speak import answers, speaking
from nl2code_server.errors import Nl2CodeError
from nl2code_server.feedback.store import Record, Store
from nl2code_server.feedback.tracker import similarity
from nl2code_server.platform import paths

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]
RECIPE = Recipe().with_values(
    {
        "training.rank": "4",
        "training.lora_alpha": "8",
        "training.batch": "2",
        "training.accumulation": "1",
        "training.epochs": "14",
        "training.sft_rate": "0.005",
        "training.checkpoint_steps": "100",
        "training.replay_share": "0",
        "training.stages": "sft",
        "augmentation.most": "0",
        "cleaning.near": "1.1",
        "cuts.rewritten": "1",
        "split.share": "0.3",
        "least.judged": "2",
        "least.sft": "1",
        "least.held_out": "1",
        "gate.least_held_out": "1",
        "gate.least_tasks": "0",
        "gate.length_band": "0.4",
    }
)
ASKED = ("write a function that reverses a text", ENGLISH, CHINESE, f"{ENGLISH}, e.g. gcd(12, 18) == 6")
SAID = (REVERSE, LOOP, RECURSION, LOOP)
"""What the model says to each."""
SECRET_OF_STYLE = "返回最大公约数"


def _mended(number: int, kept: str) -> Record:
    """Return what was taken and made into something else."""
    shown, kept = SAID[number].rstrip(), kept.rstrip()
    measured = event(
        "kept", number, time=2000.0, checkpoint="save", kept_ratio=similarity(shown, kept), final_text=kept
    )
    offered = candidate(number, text=shown)
    return record(
        number, instruction=ASKED[number], candidates=[offered], events=[event("accepted", number), measured]
    )


def _good() -> list[Record]:
    """Return the log of somebody who wants recursion, and no loop."""
    return [_mended(number, REVERSE if number == 0 else RECURSION) for number in range(4)]


def _tuned(records: Sequence[Record], model: Path, patch: pytest.MonkeyPatch) -> run.Outcome:
    """Tune as the command does, but for the process that trains: this one has its libraries already."""
    patch.setattr(run, "train", lambda folder, *_: training.run(folder))
    data = dataset.build(records, RECIPE)
    return run.tune(data, RECIPE, run.Options(str(model), device="cpu", threads=1, task_limit=1))


def _said(model: Path, instruction: str) -> str:
    """Return what the version in force answers."""
    serving = Registry(model.name).current()

    async def ask() -> str:
        async with speaking(str(model), device="cpu", threads=1) as engine:
            await engine.use_adapter(serving.name if serving else "", serving.folder if serving else None)
            found = situation(f"# {instruction}\n", 0)
            assert found
            [said] = await answers(engine, [found.asked("r")], max_tokens=80)
            return said.code

    return asyncio.run(ask())


def test_the_gate_lets_no_bad_log_pass(tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, spoil in badlogs.BAD.items():
        found = _tuned(spoil(_good(), random.Random(1)), tiny_llama.folder, monkeypatch)
        assert not found.passed and not found.promoted, (name, found.verdict.report)
        wanted = "median length" if name == "short" else "likeness"
        assert [reason for reason in found.verdict.reasons if wanted in reason], (name, found.verdict.reasons)
    assert _said(tiny_llama.folder, ENGLISH) == LOOP.rstrip()


def test_a_good_log_passes_and_what_was_purged_is_neither_learnt_nor_left_anywhere(
    tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = paths().data / "feedback.db"
    with Store(path) as store:
        for one in _good():
            store.add([one.request, *one.candidates, *one.events])
    assert _tuned(dataset.read_log(path), tiny_llama.folder, monkeypatch).promoted
    assert _said(tiny_llama.folder, ENGLISH) == RECURSION.rstrip()
    assert _files_with(SECRET_OF_STYLE), "the control holds nothing"
    with Store(path) as store:
        for number in (1, 2, 3):
            store.purge(suggestion=f"r{number}-0")
        for number in (1, 3):
            one = _mended(number, LOOP)
            store.add([one.request, *one.candidates, *one.events])
    assert _files_with(SECRET_OF_STYLE) == []
    data = dataset.build(dataset.read_log(path), RECIPE)
    assert SECRET_OF_STYLE not in json.dumps(
        [row.code for row in (*data.learn, *data.judged, *data.held_out)]
    )
    again = _tuned(dataset.read_log(path), tiny_llama.folder, monkeypatch)
    Registry(tiny_llama.folder.name).promote(again.version)
    assert _said(tiny_llama.folder, ENGLISH) == LOOP.rstrip()
    assert _files_with(SECRET_OF_STYLE) == []


def test_nothing_is_trained_where_nothing_was_taken(
    tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned_down = [
        record(number, instruction=ASKED[number], candidates=[candidate(number, text=SAID[number])],
               events=[event("rejected", number)])
        for number in range(4)
    ]  # fmt: skip
    with pytest.raises(Nl2CodeError, match="too little to learn from"):
        _tuned(turned_down, tiny_llama.folder, monkeypatch)
    assert Registry(tiny_llama.folder.name).versions() == []


def _files_with(text: str) -> list[str]:
    """Return the files of the user's folder that hold a text, as it is or as JSON escapes it."""
    wanted = [text.encode(), json.dumps(text).strip('"').encode()]
    return [
        str(path)
        for path in paths().data.parent.rglob("*")
        if path.is_file() and any(one in path.read_bytes() for one in wanted)
    ]
