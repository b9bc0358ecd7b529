"""A trainer for each stage: the recipe in trl's words. Imports torch and trl."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset  # type: ignore[import-untyped]
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainingArguments, TrainerCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.kto_config import KTOConfig
from trl.trainer.sft_config import SFTConfig

from .recipe import Stage, Training
from .trainers import Learner, MixedDPO, MixedKTO, PlainLearner

if TYPE_CHECKING:
    from ..host.torch_load import Loaded


def trainer_for(
    stage: Stage, loaded: Loaded, rows: Sequence[dict[str, Any]], training: Training, before: Path | None,
    folder: Path, progress: Path,
) -> Any:  # fmt: skip
    """Return the trainer of a stage that goes on from the adapter `before`, or begins a fresh one."""
    model: Any = loaded.model
    policy: Any
    if before is None:
        policy = get_peft_model(model, _lora(training, seq2seq=loaded.encoder_decoder))
    else:
        policy = PeftModel.from_pretrained(model, str(before), is_trainable=True)
    told = Progress(stage, progress)
    data = Dataset.from_list(list(rows))
    common = _common(training, loaded, folder)
    tokenizer = loaded.tokenizer
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if loaded.encoder_decoder:
        args = Seq2SeqTrainingArguments(**common, learning_rate=training.sft_rate, data_seed=training.seed)
        collator = DataCollatorForSeq2Seq(tokenizer, model=model, label_pad_token_id=-100)
        return PlainLearner(policy, args, data_collator=collator, train_dataset=data, callbacks=[told])
    common |= {"max_length": training.max_length, "data_seed": training.seed}
    made: Any
    if stage == "sft":
        sft = SFTConfig(**common, learning_rate=training.sft_rate, shuffle_dataset=True)
        made = Learner(policy, args=sft, train_dataset=data, processing_class=tokenizer, callbacks=[told])
    elif stage == "kto":
        good = sum(row["label"] for row in rows)
        weights = balance(good, len(rows) - good)
        kto = KTOConfig(
            **common,
            learning_rate=training.kto_rate,
            beta=training.beta,
            loss_type=training.kto_loss,
            desirable_weight=weights[0],
            undesirable_weight=weights[1],
            # The order is ours: verdicts alternate in it.
            train_sampling_strategy="sequential",
            dataloader_drop_last=training.kto_loss == "kto",
        )
        made = MixedKTO(policy, args=kto, train_dataset=data, processing_class=tokenizer, callbacks=[told])
        made.sft_alpha = training.alpha
    else:
        dpo = DPOConfig(
            **common,
            learning_rate=training.dpo_rate,
            beta=training.beta,
            loss_type=["sft", "sigmoid"],
            loss_weights=[training.alpha, 1 - training.alpha],
        )
        made = MixedDPO(policy, args=dpo, train_dataset=data, processing_class=tokenizer, callbacks=[told])
    return made


def balance(good: int, bad: int) -> tuple[float, float]:
    """Return weights under which both verdicts count the same. The larger is 1: more would make longer steps."""
    if not good or not bad:
        return 1.0, 1.0
    return (1.0, good / bad) if bad > good else (bad / good, 1.0)


def _lora(training: Training, *, seq2seq: bool) -> LoraConfig:
    return LoraConfig(
        r=training.rank,
        lora_alpha=training.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="SEQ_2_SEQ_LM" if seq2seq else "CAUSAL_LM",
    )


def _common(training: Training, loaded: Loaded, folder: Path) -> dict[str, Any]:
    cuda = loaded.device.type == "cuda"
    return {
        "output_dir": str(folder),
        "num_train_epochs": training.epochs,
        "per_device_train_batch_size": training.batch,
        "gradient_accumulation_steps": training.accumulation,
        "lr_scheduler_type": "cosine",
        "warmup_steps": training.warmup,
        "max_grad_norm": 1.0,
        "save_strategy": "steps",
        "save_steps": training.checkpoint_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": training.seed,
        "use_cpu": not cuda,
        "bf16": cuda or training.bfloat16,
        "gradient_checkpointing": cuda,
        "dataloader_pin_memory": cuda,
    }


class Progress(TrainerCallback):
    """Lines of JSON about each step, for whoever waits."""

    def __init__(self, stage: Stage, path: Path) -> None:
        self._stage = stage
        self._path = path
        self._began = (0, 0.0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Remember where this process began."""
        self._began = (state.global_step, time.monotonic())

    def on_log(self, args: Any, state: Any, control: Any, **told: Any) -> None:  # noqa: ARG002
        """Tell step, loss and the seconds left, by the steps of this process."""
        logs = told.get("logs")
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        first, began = self._began
        done = max(1, state.global_step - first)
        left = (state.max_steps - state.global_step) * (time.monotonic() - began) / done
        line = {
            "stage": self._stage,
            "step": state.global_step,
            "steps": state.max_steps,
            "loss": round(logs["loss"], 4),
            "seconds_left": round(left, 1),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
