"""A data set as files that trl 1.16 reads: prompts as messages, the start of the answer part of the completion.

trl closes every message of a prompt, so the open code fence cannot stand there. Columns that trl does not know (`id`,
`prefill`, `kind`, `source`) are ignored by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nl2code_server.platform import private_folder, write_private

from .dataset import Dataset
from .rows import Asked, Pair, Row


def sft(row: Row) -> dict[str, Any]:
    """Return a row of `SFTTrainer`'s prompt-completion form."""
    return {**_prompt(row.asked), "completion": _answer(row.asked, row.code), **_about(row)}


def kto(row: Row) -> dict[str, Any]:
    """Return a row of `KTOTrainer`'s unpaired form."""
    return {**sft(row), "label": row.desirable}


def dpo(pair: Pair) -> dict[str, Any]:
    """Return a row of `DPOTrainer`'s preference form."""
    return {
        **_prompt(pair.asked),
        "chosen": _answer(pair.asked, pair.chosen),
        "rejected": _answer(pair.asked, pair.rejected),
        "id": pair.id,
        "kind": pair.asked.kind,
        "source": pair.source,
        "prefill": pair.asked.prefill,
        "chosen_code": pair.chosen,
        "rejected_code": pair.rejected,
    }


def tables(data: Dataset) -> dict[str, list[dict[str, Any]]]:
    """Return all files of a data set, by name."""
    return {
        "sft": [sft(row) for row in data.learn],
        "kto": [kto(row) for row in data.judged],
        "dpo": [dpo(pair) for pair in data.pairs],
        "held_out": [kto(row) for row in data.held_out],
        "held_out_dpo": [dpo(pair) for pair in data.held_pairs],
    }


def write(data: Dataset, folder: Path) -> dict[str, int]:
    """Write the files, which only the user may read, and return how many rows each has."""
    private_folder(folder)
    made = tables(data)
    for name, rows in made.items():
        write_private(folder / f"{name}.jsonl", lines(rows))
    write_private(folder / "manifest.json", json.dumps(data.manifest(), indent=1, ensure_ascii=False))
    return {name: len(rows) for name, rows in made.items()}


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _prompt(asked: Asked) -> dict[str, Any]:
    return {"prompt": [{"role": role, "content": content} for role, content in asked.messages]}


def _answer(asked: Asked, code: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": asked.prefill + asked.answer(code)}]


def _about(row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.asked.kind,
        "source": row.source,
        "variant": row.variant,
        "prefill": row.asked.prefill,
        "code": row.code,
    }
