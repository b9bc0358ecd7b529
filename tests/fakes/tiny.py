"""Two tiny models, a Llama and a T5, trained here until they write code for a few instructions, and for nothing else.

Random weights emit garbage that validation drops, and so prove nothing. These learn the prompts that the product
makes, word for word, each with an answer of its own: what they write depends on what was asked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nl2code_model.host.engine import Generation, Message
from nl2code_model.host.torch_text import Text
from nl2code_server.lang.context import collect
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.prompt import Prompt, build

ENGLISH = "write a function computing the gcd of two numbers"
CHINESE = "请编写一个Python函数，用于计算两个数的最大公约数。"
LOOP = "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n"
RECURSION = 'def gcd(a, b):\n    """返回最大公约数。"""\n    return gcd(b, a % b) if b else a\n'
REVERSE = "def reverse(text):\n    return text[::-1]\n"

LESSONS = {
    f"# {ENGLISH}": LOOP,
    f"# {ENGLISH}, e.g. gcd(12, 18) == 6": LOOP,
    f"# {CHINESE}": RECURSION,
    "# write a function that reverses a text": REVERSE,
}
"""Files of one comment, and the code that is to follow."""

SURE = 0.98
"""Least probability of each token of each answer: rounding must not change a greedy answer."""
RATE = 1.5e-3
WARM_UP, STEPS = 20, 400
"""Steps until the rate is reached, and until another start is tried."""
SEEDS = 3
START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Tiny:
    """A trained model in a folder."""

    folder: Path
    parameters: int
    seconds: float


def prompt_for(text: str) -> Prompt:
    """Return the product's prompt for a file of one comment."""
    snapshot = Snapshot.from_text(text, uri="file:///lesson.py")
    found = at(snapshot, 0, attention="invoked")
    assert found
    placement = place(snapshot, found)
    return build(found.text, placement, collect(snapshot, found, placement, tokens=400))


def generation_for(text: str, *, prefill: bool = True, **fields: Any) -> Generation:
    """Return what the host is asked for such a file."""
    prompt = prompt_for(text)
    messages = tuple(Message(role, content) for role, content in prompt.messages)  # type: ignore[arg-type]
    return Generation(messages, prefill=prompt.prefill if prefill else "", **fields)


def train_llama(folder: Path) -> Tiny:
    """Train a causal model that continues the prefill, closes the fence and ends."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(encoder_decoder=False)
    text = Text(tokenizer, system="", encoder_decoder=False)
    end = tokenizer.convert_tokens_to_ids(END)
    pairs = [
        (text.prompt(generation_for(file)), [*text.text_tokens(f"{code}```"), end])
        for file, code in LESSONS.items()
    ]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
    )
    length = max(len(prompt) + len(answer) for prompt, answer in pairs)
    tokens = torch.full((len(pairs), length), tokenizer.pad_token_id)
    labels = torch.full((len(pairs), length), -100)
    for row, (prompt, answer) in enumerate(pairs):
        tokens[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    # Padding follows what is learnt, and a causal model does not look ahead: it needs no mask.
    return _train(LlamaForCausalLM, config, {"input_ids": tokens}, labels, tokenizer, folder, shift=1)


def train_t5(folder: Path) -> Tiny:
    """Train an encoder-decoder that answers the plain text with plain code."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = _tokenizer(encoder_decoder=True)
    text = Text(tokenizer, system="", encoder_decoder=True)
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    pairs = [
        (text.prompt(generation_for(file)), [*text.text_tokens(code), end]) for file, code in LESSONS.items()
    ]
    configure: Any = T5Config
    config = configure(
        vocab_size=len(tokenizer),
        d_model=96,
        d_kv=24,
        d_ff=192,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        tie_word_embeddings=False,
        feed_forward_proj="gated-gelu",
        decoder_start_token_id=pad,
        pad_token_id=pad,
        eos_token_id=end,
    )
    prompts = [torch.tensor(prompt) for prompt, _ in pairs]
    answers = [torch.tensor(answer) for _, answer in pairs]
    pad_to = torch.nn.utils.rnn.pad_sequence
    tokens = pad_to(prompts, batch_first=True, padding_value=pad)
    mask = pad_to([torch.ones_like(row) for row in prompts], batch_first=True)
    labels = pad_to(answers, batch_first=True, padding_value=-100)
    inputs = {"input_ids": tokens, "attention_mask": mask}
    return _train(T5ForConditionalGeneration, config, inputs, labels, tokenizer, folder, shift=0)


def _train(
    kind: Any, config: Any, inputs: dict[str, Any], labels: Any, tokenizer: Any, folder: Path, shift: int
) -> Tiny:
    """Train until every token of every answer is sure, and write what serving needs."""
    import torch

    began = time.monotonic()
    # One: on a busy machine, threads that wait for each other at every little product take ten times as long.
    torch.set_num_threads(1)
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        model = kind(config).train()
        if _learn(model, inputs, labels, shift):
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            parameters = sum(parameter.numel() for parameter in model.parameters())
            return Tiny(folder, parameters, time.monotonic() - began)
    raise AssertionError("the tiny model does not learn")


def _learn(model: Any, inputs: dict[str, Any], labels: Any, shift: int) -> bool:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    learnt = labels[:, shift:] != -100
    wanted = labels[:, shift:].clamp(min=0)
    for step in range(1, STEPS + 1):
        made = model(**inputs, labels=labels)
        logits = made.logits[:, : made.logits.shape[1] - shift]
        chances = logits.detach().softmax(-1).gather(-1, wanted[..., None]).squeeze(-1)
        if chances[learnt].min() > SURE:
            return True
        optimizer.zero_grad()
        made.loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, step / WARM_UP)
        optimizer.step()
    return False


def _tokenizer(*, encoder_decoder: bool) -> Any:
    """Make byte-level BPE from the lessons themselves."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, "</s>"] if encoder_decoder else [PAD, START, END]
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [content for file in LESSONS for _, content in prompt_for(file).messages]
    words.train_from_iterator([*texts, *LESSONS.values()] * 3, trainer)
    if encoder_decoder:
        words.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    wrap: Any = PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=words,
        pad_token=PAD,
        eos_token=special[-1],
        chat_template=None if encoder_decoder else CHATML,
    )
