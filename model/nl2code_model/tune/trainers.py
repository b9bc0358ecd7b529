"""trl's trainers, with three changes: rows come as tokens, KTO learns its good rows too, and nothing is pickled.

Built on what trl 1.16 does inside: `check_versions` refuses any other, and a test holds the loss to its definition.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import Seq2SeqTrainer, Trainer
from transformers.trainer import TRAINER_STATE_NAME
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.sft_trainer import SFTTrainer

from nl2code_server.errors import HostError

from ..host.torch_adapters import WEIGHTS

TRL = "1.16."
ADAPTER = "default"
OPTIMIZER = "optimizer.safetensors"
SCHEDULE = "schedule.json"
RANDOM = "random.safetensors"


def check_versions() -> None:
    """Raise `HostError` for a trl that this module was not written for."""
    found = metadata.version("trl")
    if not found.startswith(TRL):
        raise HostError(f"trl {found} is not {TRL}*", 'run: pip install "nl2code[tune]"')


class SafeCheckpoints(Trainer):
    """Checkpoints of safetensors and JSON: the adapter, the optimizer, the schedule, the random state."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        Trainer._save_checkpoint(self, model, trial)  # trl's own writes a model card first

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir or ".")
            folder.mkdir(parents=True, exist_ok=True)
            save_adapter(self.accelerator.unwrap_model(self.model), folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        target = model if model is not None else self.model
        weights = load_file(Path(resume_from_checkpoint) / WEIGHTS)
        set_peft_model_state_dict(target, weights, adapter_name=ADAPTER)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.args.should_save:
            return
        assert self.optimizer is not None and self.lr_scheduler is not None
        folder, state = Path(output_dir), self.optimizer.state_dict()
        tensors = {
            f"{number}.{name}": value.detach().cpu().contiguous()
            for number, values in state["state"].items()
            for name, value in values.items()
        }
        save_file(tensors, folder / OPTIMIZER)
        told = {"groups": state["param_groups"], "schedule": self.lr_scheduler.state_dict()}
        (folder / SCHEDULE).write_text(json.dumps(told))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        assert self.optimizer is not None and self.lr_scheduler is not None
        folder = Path(checkpoint)
        told = json.loads((folder / SCHEDULE).read_text())
        states: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in load_file(folder / OPTIMIZER).items():
            number, _, name = key.partition(".")
            states.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({"state": states, "param_groups": told["groups"]})
        self.lr_scheduler.load_state_dict(told["schedule"])

    def _save_rng_state(self, output_dir: str) -> None:
        if self.args.should_save:
            states = {"cpu": torch.random.get_rng_state()}
            if torch.cuda.is_available():
                states["cuda"] = torch.cuda.random.get_rng_state()
            save_file(states, Path(output_dir) / RANDOM)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None or not (Path(checkpoint) / RANDOM).is_file():
            return
        states = load_file(Path(checkpoint) / RANDOM)
        torch.random.set_rng_state(states["cpu"])
        if "cuda" in states and torch.cuda.is_available():
            torch.cuda.random.set_rng_state(states["cuda"])


class Learner(SafeCheckpoints, SFTTrainer):
    """Supervised learning of rows that are `input_ids` and `labels`."""


class PlainLearner(SafeCheckpoints, Seq2SeqTrainer):
    """The same for encoder-decoder models."""


class MixedKTO(SafeCheckpoints, KTOTrainer):
    """KTO with a supervised term: alpha * L_sft + (1 - alpha) * L_kto."""

    sft_alpha = 0.0
    parts: tuple[float, float] = (0.0, 0.0)
    """The two losses of the last step."""

    def _prepare_dataset(self, dataset: Any, _class: Any, args: Any, _name: str) -> Any:
        if not self.calculate_KL:
            return dataset

        def shifted(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            answers = batch["completion_ids"]
            return {"KL_completion_ids": [answers[-1], *answers[:-1]]}

        return dataset.map(shifted, batched=True, batch_size=args.per_device_train_batch_size)

    def _compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False) -> Any:
        seen: dict[str, Any] = {}

        def watched(*arguments: Any, **named: Any) -> Any:
            seen["made"] = made = model(*arguments, **named)  # the policy's own call comes last
            return made

        feedback = super()._compute_loss(watched, inputs, False)  # type: ignore[no-untyped-call]
        logprobs = seen["made"].log_probs[:, -(inputs["input_ids"].size(1) - 1) :]
        taught = inputs["completion_mask"][:, 1:].bool() & inputs["label"].bool()[:, None]
        supervised = -(logprobs * taught).sum() / taught.sum().clamp(min=1)
        self.parts = float(supervised.detach()), float(feedback.detach())
        loss = self.sft_alpha * supervised + (1 - self.sft_alpha) * feedback
        return (loss, seen["made"]) if return_outputs else loss


class MixedDPO(SafeCheckpoints, DPOTrainer):
    """DPO, whose supervised term trl has itself."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


def save_adapter(model: Any, folder: Path) -> None:
    """Write an adapter: two files, and nothing else."""
    weights = get_peft_model_state_dict(model, adapter_name=ADAPTER)
    save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, folder / WEIGHTS)
    config = model.peft_config[ADAPTER]
    config.inference_mode, was = True, config.inference_mode
    config.save_pretrained(str(folder))
    config.inference_mode = was


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that was written to its end."""
    found = []
    for path in folder.glob("checkpoint-*"):
        try:
            json.loads((path / TRAINER_STATE_NAME).read_text())  # written last
        except (OSError, ValueError):
            continue
        found.append((int(path.name.rpartition("-")[2]), path))
    return max(found)[1] if found else None
