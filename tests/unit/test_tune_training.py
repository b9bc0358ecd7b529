"""Training on a model made here: the same tokens as serving, the loss as defined, resumed as if never killed."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fakes.tiny import CHINESE, ENGLISH, LESSONS, LOOP, RECURSION, Tiny
from nl2code_model.host.engine import Generation, Message
from nl2code_model.models.source import find
from nl2code_model.tune import export
from nl2code_model.tune.lora_gguf import interleaved
from nl2code_model.tune.lora_gguf import write as write_gguf
from nl2code_model.tune.prompts import situation
from nl2code_model.tune.recipe import Recipe
from nl2code_model.tune.rows import Pair, Row
from nl2code_model.tune.run import train
from nl2code_model.tune.speak import Said, answers, speaking
from nl2code_model.tune.train import ADAPTER, PROGRESS, Task, run
from nl2code_server.errors import HostError

pytestmark = [
    pytest.mark.timeout(600),
    # Of transformers about the arguments that trl gives it.
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning"),
]
SMALL = {
    "training.rank": "4",
    "training.lora_alpha": "8",
    "training.batch": "2",
    "training.accumulation": "1",
    "training.sft_rate": "0.005",
    "training.kto_rate": "0.002",
    "training.dpo_rate": "0.002",
    "training.checkpoint_steps": "100",
}


def _rows() -> list[Row]:
    rows = []
    for number, (text, code) in enumerate(LESSONS.items()):
        found = situation(text, 0)
        assert found
        asked = found.asked(f"r{number}")
        wanted = RECURSION if code == LOOP else code
        rows.append(
            Row(
                id=f"{number}a",
                asked=asked,
                code=wanted.rstrip(),
                desirable=True,
                learn=True,
                source="edited",
            )
        )
        rows.append(
            Row(
                id=f"{number}b",
                asked=asked,
                code=LOOP.rstrip(),
                desirable=False,
                learn=False,
                source="rejected",
            )
        )
    return rows


def _prepared(folder: Path, model: Path, stages: tuple[str, ...], **values: str) -> Path:
    """Write the data and the task of a run."""
    folder.mkdir(mode=0o700)
    rows = _rows()
    pairs = [
        Pair(id=good.id, asked=good.asked, chosen=good.code, rejected=bad.code, source="edited")
        for good, bad in zip(rows[::2], rows[1::2], strict=True)
        if good.code != bad.code
    ]
    tables = {
        "sft": [export.sft(row) for row in rows if row.learn],
        "kto": [export.kto(row) for row in rows],
        "dpo": [export.dpo(pair) for pair in pairs],
    }
    for name, table in tables.items():
        (folder / f"{name}.jsonl").write_text(export.lines(table))
    Task(str(model), "cpu", stages, Recipe().with_values(SMALL | values), 1).write(folder)  # type: ignore[arg-type]
    return folder


def _hash(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


def _said(model: Path, adapter: Path | None, *texts: str) -> list[Said]:
    async def ask() -> list[Said]:
        async with speaking(str(model), device="cpu", threads=1) as engine:
            await engine.use_adapter("tuned" if adapter else "", adapter)
            asked = [found.asked("r") for text in texts if (found := situation(text, 0))]
            return await answers(engine, asked, max_tokens=80)

    return asyncio.run(ask())


def test_all_stages_teach_and_leave_no_pickle(tiny_llama: Tiny, tmp_path: Path) -> None:
    folder = _prepared(
        tmp_path / "run", tiny_llama.folder, ("sft", "kto", "dpo"), **{"training.epochs": "10"}
    )
    result = run(folder)
    assert result["adapter"] == f"dpo/{ADAPTER}"
    for stage in ("sft", "kto", "dpo"):
        assert result["stages"][stage]["loss_last"] < result["stages"][stage]["loss_first"], stage
    [before] = _said(tiny_llama.folder, None, f"# {ENGLISH}")
    [after] = _said(tiny_llama.folder, folder / result["adapter"], f"# {ENGLISH}")
    assert (before.code, after.code) == (LOOP.rstrip(), RECURSION.rstrip())
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert kinds <= {".json", ".jsonl", ".safetensors"}
    lines = [json.loads(line) for line in (folder / PROGRESS).read_text().splitlines()]
    assert [line["step"] for line in lines if line["stage"] == "sft"] == list(range(1, 21))
    assert lines[-1]["seconds_left"] == 0


def test_killed_and_gone_on_with_it_comes_to_the_same(
    tiny_llama: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nl2code_model.tune import stages

    class Killed(BaseException):
        """The process ends here."""

    values = {"training.epochs": "3", "training.checkpoint_steps": "2"}
    whole = run(_prepared(tmp_path / "whole", tiny_llama.folder, ("sft", "kto"), **values))
    folder = _prepared(tmp_path / "killed", tiny_llama.folder, ("sft", "kto"), **values)
    log = stages.Progress.on_log

    for stage, step in (("sft", 5), ("kto", 7)):

        def dying(
            self: Any, args: Any, state: Any, control: Any, stage: str = stage, step: int = step, **told: Any
        ) -> None:
            if (self._stage, state.global_step) == (stage, step) and "loss" in told.get("logs", {}):
                raise Killed
            log(self, args, state, control, **told)

        monkeypatch.setattr(stages.Progress, "on_log", dying)
        with pytest.raises(Killed):
            run(folder)
    monkeypatch.setattr(stages.Progress, "on_log", log)
    resumed = run(folder)
    assert resumed["stages"]["kto"]["resumed_at"] == 6
    assert _hash(folder / resumed["adapter"]) == _hash(tmp_path / "whole" / whole["adapter"])


def test_the_mixed_loss_is_the_sum_that_it_says(tiny_llama: Tiny, tmp_path: Path) -> None:
    import torch

    from nl2code_model.host.torch_load import load
    from nl2code_model.tune.stages import balance, trainer_for
    from nl2code_model.tune.tokens import Encoder

    source = find(str(tiny_llama.folder))
    loaded = load(source, device="cpu", dtype="float32", threads=1)
    encoder = Encoder.of(loaded, source.system, 1024)
    rows = encoder.kto([export.kto(row) for row in _rows()], Counter())
    training = Recipe().with_values(SMALL | {"training.kto_loss": "kto"}).training
    trainer = trainer_for("kto", loaded, rows, training, None, tmp_path / "kto", tmp_path / "progress.jsonl")
    batch = next(iter(trainer.get_train_dataloader()))
    losses = {}
    for alpha in (0.0, 1.0, 0.3):
        trainer.sft_alpha = alpha
        losses[alpha] = trainer._compute_loss(trainer.model, batch)
    assert losses[0.3].requires_grad
    assert torch.isclose(losses[0.3], 0.3 * losses[1.0] + 0.7 * losses[0.0], atol=1e-6)
    assert losses[1.0] > 0.1, "the model has not learnt these yet"
    good = next(row for row in rows if row["label"])
    assert good["completion_ids"][-1] == encoder.end
    assert (balance(3, 6), balance(6, 3), balance(4, 0)) == ((1.0, 0.5), (0.5, 1.0), (1.0, 1.0))


async def test_rows_are_the_tokens_that_serving_sees(tiny_llama: Tiny) -> None:
    from nl2code_model.host.torch_load import load
    from nl2code_model.tune.tokens import Encoder

    source = find(str(tiny_llama.folder))
    encoder = Encoder.of(load(source, device="cpu", dtype="float32", threads=1), source.system, 1024)
    [row] = [row for row in _rows() if row.id == "0a"]
    [made] = encoder.kto([export.kto(row)], Counter())
    async with speaking(str(tiny_llama.folder), device="cpu", threads=1) as engine:
        messages = tuple(Message(role, text) for role, text in row.asked.messages)  # type: ignore[arg-type]
        assert made["prompt_ids"] == await engine.prompt(Generation(messages, prefill=row.asked.prefill))  # type: ignore[attr-defined]
    [whole] = encoder.sft([export.sft(row)], Counter())
    assert whole["input_ids"] == [*made["prompt_ids"], *made["completion_ids"]]
    assert whole["labels"] == [*[-100] * len(made["prompt_ids"]), *made["completion_ids"]]
    short, dropped = Encoder(encoder.text, encoder.end, False, 50), Counter[str]()
    assert (short.sft([export.sft(row)], dropped), dropped["too long in tokens"]) == ([], 1)


def test_an_encoder_decoder_is_taught_plain_code(tiny_t5: Tiny, tmp_path: Path) -> None:
    folder = _prepared(
        tmp_path / "run", tiny_t5.folder, ("sft",), **{"training.epochs": "25", "training.sft_rate": "0.01"}
    )
    result = run(folder)
    assert (
        result["encoder_decoder"]
        and result["stages"]["sft"]["loss_last"] < result["stages"]["sft"]["loss_first"]
    )
    said = _said(tiny_t5.folder, folder / result["adapter"], f"# {ENGLISH}", f"# {CHINESE}")
    assert [one.code for one in said] == [RECURSION.rstrip()] * 2


def test_an_adapter_for_llama_cpp(tiny_llama: Tiny, tmp_path: Path) -> None:
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    folder = _prepared(tmp_path / "run", tiny_llama.folder, ("sft",), **{"training.epochs": "1"})
    adapter = folder / run(folder)["adapter"]
    config = find(str(tiny_llama.folder)).config
    count = write_gguf(adapter, dict(config), tmp_path / "adapter.gguf")
    weights = load_file(adapter / "adapter_model.safetensors")
    reader = gguf.GGUFReader(tmp_path / "adapter.gguf")
    assert count == len(reader.tensors) == len(weights) == 2 * 7 * 2
    assert reader.fields["adapter.lora.alpha"].contents() == 8.0
    there = {tensor.name: np.asarray(tensor.data) for tensor in reader.tensors}
    name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight"
    assert np.array_equal(there["blk.1.attn_q.weight.lora_b"], interleaved(weights[name], 4))
    assert not np.array_equal(interleaved(weights[name], 4), weights[name])
    down = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"
    assert np.array_equal(there["blk.0.ffn_down.weight.lora_a"], weights[down])
    with pytest.raises(HostError, match="t5"):
        write_gguf(adapter, {"model_type": "t5"}, tmp_path / "no.gguf")


def test_a_training_process_that_fails_says_why(tiny_t5: Tiny, tmp_path: Path) -> None:
    folder = _prepared(tmp_path / "run", tiny_t5.folder, ("dpo",))
    with pytest.raises(HostError, match="not for encoder-decoder"):
        train(folder)


def test_two_processes_share_the_steps(tiny_llama: Tiny, tmp_path: Path) -> None:
    folder = _prepared(tmp_path / "run", tiny_llama.folder, ("sft",), **{"training.epochs": "2"})
    told: list[Mapping[str, Any]] = []
    train(folder, 2, told.append)
    done = json.loads((folder / "result.json").read_text())["stages"]["sft"]
    assert (done["processes"], done["steps"]) == (2, 2)
    assert [line["step"] for line in told] == [1, 2]
    assert (folder / "sft" / ADAPTER / "adapter_model.safetensors").exists()
