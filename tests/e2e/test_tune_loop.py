"""The loop, on a model trained here: what was edited is learnt, compared, served, and taken back byte for byte."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from e2e.door import COMMENT, MARK, door, store
from e2e.serving import get, serving
from fakes.tiny import ENGLISH, LOOP, RECURSION, REVERSE, Tiny
from fakes.tuning import candidate, event, record
from nl2code_model.tune import dataset
from nl2code_model.tune.recipe import Recipe
from nl2code_model.tune.registry import Registry
from nl2code_model.tune.run import Options, tune
from nl2code_model.tune.swap import tell_hosts
from nl2code_server.feedback.store import Record, Store

pytestmark = pytest.mark.timeout(240)

RECIPE = Recipe().with_values(
    {
        "training.rank": "4",
        "training.lora_alpha": "8",
        "training.batch": "2",
        "training.accumulation": "1",
        "training.epochs": "20",
        "training.sft_rate": "0.005",
        "training.replay_share": "0",
        "training.stages": "sft",
        "cleaning.near": "1.1",
        "split.share": "0.34",
        "least.judged": "3",
        "least.sft": "1",
        "least.held_out": "1",
        "gate.least_held_out": "1",
        "gate.least_tasks": "0",
        "gate.length_band": "10",
        "gate.parse_margin": "1",
        "gate.repeat_margin": "1",
    }
)


NOT_LOGGED = f"# {ENGLISH}, e.g. gcd(4, 6) == 2"


def _taken(number: int, comment: str, offered: str, kept: str) -> Record:
    """Return a suggestion that was taken, and what the user made of it."""
    ratio = 1.0 if kept == offered else 0.7
    measured = event("kept", number, time=2000.0, checkpoint="save", kept_ratio=ratio, final_text=kept)
    return record(
        number,
        instruction=comment.removeprefix("# "),
        candidates=[candidate(number, text=offered.rstrip())],
        events=[event("accepted", number), measured],
    )


async def test_edits_change_what_is_suggested_and_rolled_back_nothing_is_left(
    tiny_llama: Tiny, tmp_path: Path
) -> None:
    model = str(tiny_llama.folder)
    old, new = f"{NOT_LOGGED}\n{LOOP.rstrip()}", f"{NOT_LOGGED}\n{RECURSION.rstrip()}"
    async with serving(model) as record_, door(None) as editor:
        assert await editor.completed(f"{NOT_LOGGED}{MARK}") == old
        with Store(store()) as opened:
            opened.purge()
            for one in (
                _taken(1, f"# {ENGLISH}", LOOP, RECURSION),
                _taken(2, "# write a function that reverses a text", REVERSE, REVERSE),
                _taken(3, COMMENT, LOOP, RECURSION),
            ):
                opened.add([one.request, *one.candidates, *one.events])
        data = dataset.build(dataset.read_log(store()), RECIPE)
        assert (len(data.held_out), data.counts()["sft"]) == (1, 2)
        said: list[str] = []
        outcome = await asyncio.to_thread(
            tune,
            data,
            RECIPE,
            Options(model=model, device="cpu", threads=1, task_limit=1),
            lambda line: said.append(str(line)),
        )
        assert outcome.promoted, outcome.verdict.report
        assert outcome.verdict.report["held_out"]["delta"] > 0.05
        assert [told.problem for told in outcome.hosts] == [""]
        [entry] = (await get(record_, "/v1/models")).json()["data"]
        assert entry["adapter"] == outcome.version
        assert await editor.completed(f"{NOT_LOGGED}{MARK}") == new
        registry = Registry(tiny_llama.folder.name)
        assert registry.rollback() == ""
        assert [told.problem for told in tell_hosts(registry.model, "", None)] == [""]
        assert await editor.completed(f"{NOT_LOGGED}{MARK}") == old
    assert any("'stage': 'sft'" in line and "seconds_left" in line for line in said)
    assert list((tmp_path / "data" / "tune").glob("run-*")) == [], "the user's text does not stay behind"
