"""Rows as tokens: exactly those that the torch engine sees and says, so that what is trained is what is served."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nl2code_server.lang.prompt import defuse

from ..host.engine import Generation, Message
from ..host.torch_text import Text

if TYPE_CHECKING:
    from ..host.torch_load import Loaded

Exported = Mapping[str, Any]
"""A row as `export` writes it."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """The tokenizer of one model, with the longest row that is taken."""

    text: Text
    end: int
    encoder_decoder: bool
    max_length: int

    @classmethod
    def of(cls, loaded: Loaded, system: str, max_length: int) -> Encoder:
        """Return the encoder of a loaded model."""
        text = Text(loaded.tokenizer, system=system, encoder_decoder=loaded.encoder_decoder)
        end = loaded.tokenizer.eos_token_id
        # A chat's message ends otherwise than a text in some models.
        return cls(text, end if end in loaded.ends else min(loaded.ends), loaded.encoder_decoder, max_length)

    def sft(self, rows: Sequence[Exported], dropped: Counter[str]) -> list[dict[str, list[int]]]:
        """Return rows as `input_ids` and `labels`; those too long are left out and counted."""
        made = []
        for row in rows:
            prompt, answer = self._prompt(row), self._answer(row, row["completion"], row["code"])
            if self._fits(prompt, answer, dropped):
                made.append(_labelled(prompt, answer, seq2seq=self.encoder_decoder))
        return made

    def kto(self, rows: Sequence[Exported], dropped: Counter[str]) -> list[dict[str, Any]]:
        """Return rows as KTO takes them, once they are tokens."""
        made = []
        for row in rows:
            prompt, answer = self._prompt(row), self._answer(row, row["completion"], row["code"])
            if self._fits(prompt, answer, dropped):
                made.append({"prompt_ids": prompt, "completion_ids": answer, "label": bool(row["label"])})
        return made

    def dpo(self, rows: Sequence[Exported], dropped: Counter[str]) -> list[dict[str, Any]]:
        """Return pairs as DPO takes them, once they are tokens."""
        made = []
        for row in rows:
            prompt = self._prompt(row)
            chosen = self._answer(row, row["chosen"], row["chosen_code"])
            rejected = self._answer(row, row["rejected"], row["rejected_code"])
            if self._fits(prompt, max(chosen, rejected, key=len), dropped):
                made.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
        return made

    def _prompt(self, row: Exported) -> list[int]:
        messages = tuple(Message(one["role"], one["content"]) for one in row["prompt"])
        prefill = "" if self.encoder_decoder else row["prefill"]
        return self.text.prompt(Generation(messages, prefill=prefill))

    def _answer(self, row: Exported, completion: Sequence[Mapping[str, str]], code: str) -> list[int]:
        """Return what follows the prefill; an encoder-decoder says plain code."""
        if self.encoder_decoder:
            return [*self.text.text_tokens(f"{defuse(code)}\n"), self.end]
        return [*self.text.text_tokens(completion[0]["content"][len(row["prefill"]) :]), self.end]

    def _fits(self, prompt: list[int], answer: list[int], dropped: Counter[str]) -> bool:
        longest = max(len(prompt), len(answer)) if self.encoder_decoder else len(prompt) + len(answer)
        if longest > self.max_length:
            dropped["too long in tokens"] += 1
        return longest <= self.max_length


def _labelled(prompt: list[int], answer: list[int], *, seq2seq: bool) -> dict[str, list[int]]:
    if seq2seq:
        return {"input_ids": prompt, "labels": answer}
    return {"input_ids": [*prompt, *answer], "labels": [*[-100] * len(prompt), *answer]}
