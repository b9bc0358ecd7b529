"""Parts of the torch engine by themselves: sampling, rows and their tokens, chats as tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from nl2code_model.host.engine import ChatNotSupported, Generation, Message


def draw(logits: Sequence[float], times: int, **options: Any) -> Counter[int]:
    import torch

    from nl2code_model.host.torch_sampling import Sampler, choose

    sampler = Sampler(options.get("temperature", 1.0), options.get("top_p", 1.0), options.get("seed", 0))
    tensor = torch.tensor([logits])
    return Counter(choose(tensor, [sampler])[0][0] for _ in range(times))


def test_tokens_are_drawn_as_likely_as_they_are() -> None:
    import math

    drawn = draw([math.log(p) for p in (0.5, 0.3, 0.15, 0.05)], 4000)
    for token, chance in enumerate((0.5, 0.3, 0.15, 0.05)):
        assert drawn[token] / 4000 == pytest.approx(chance, abs=0.03)


def test_temperature_and_nucleus() -> None:
    import math

    logits = [math.log(p) for p in (0.1, 0.6, 0.3)]
    assert draw(logits, 50, temperature=0.0) == {1: 50}
    assert draw(logits, 50, top_p=0.5) == {1: 50}
    assert draw(logits, 200, top_p=0.8).keys() == {1, 2}
    assert draw(logits, 400, top_p=0.95).keys() == {0, 1, 2}
    cold, hot = draw(logits, 2000, temperature=0.5), draw(logits, 2000, temperature=2.0)
    assert cold[1] / 2000 == pytest.approx(0.36 / 0.46, abs=0.04)
    assert hot[1] < cold[1]


def test_a_nucleus_larger_than_the_first_look() -> None:
    drawn = draw([0.0] * 1000, 3000, top_p=0.9)
    assert len(drawn) > 800  # 900 tokens share the nucleus
    assert draw([0.0] * 1000, 20, seed=5) == draw([0.0] * 1000, 20, seed=5)


def test_log_probabilities_are_those_before_temperature() -> None:
    import torch

    from nl2code_model.host.torch_sampling import Sampler, choose

    logits = torch.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 0.0]])
    tokens, logprobs = choose(logits, [Sampler(0.0, 1.0, 0), Sampler(2.0, 1.0, 1)])
    expected = logits.log_softmax(-1)
    assert logprobs == pytest.approx([float(expected[row, token]) for row, token in enumerate(tokens)])


# --- rows ---


def places(count: int = 3) -> Any:
    from nl2code_model.host.torch_cache import Places, Rows

    return Places(Rows(1, count, 64))


def use(rows: Any, prompt: Sequence[int]) -> tuple[int, int]:
    """Evaluate a prompt and give its row back, as a request does."""
    row, kept = rows.take(prompt)
    rows.add(row, prompt[kept:])
    rows.release(row)
    return row, kept


def test_a_prompt_finds_what_was_evaluated() -> None:
    rows = places()
    assert use(rows, range(10))[1] == 0
    assert use(rows, range(10))[1] == 9  # the last token is evaluated for what follows it
    assert use(rows, range(20))[1] == 10
    assert use(rows, [0, 1, 2, 9, 9])[1] == 3
    assert use(rows, range(20))[1] == 19, "a prompt that shares its start must not push it out"
    rows.flush()
    assert use(rows, range(20))[1] == 0


def test_the_row_unused_for_longest_goes() -> None:
    rows = places(2)
    use(rows, [1] * 5)
    use(rows, [2] * 5)
    use(rows, [1] * 5)
    use(rows, [3] * 5)
    assert use(rows, [1] * 5)[1] == 4
    assert use(rows, [2] * 5)[1] == 0


def test_rows_in_use_are_copied_from_and_never_given_twice() -> None:
    rows = places(3)
    first, _ = rows.take(range(10))
    rows.add(first, range(10))
    second, kept = rows.take([*range(8), 99])
    assert second != first and kept == 8
    third = rows.take_copy(first, 10)
    assert {first, second, third} == {0, 1, 2} and rows.free == 0
    assert rows.length(third) == 10
    rows.cut(first, 4)
    assert rows.length(first) == 4


def test_copied_rows_hold_the_same_values() -> None:
    import torch

    from nl2code_model.host.torch_cache import Rows

    table = Rows(2, 3, 16)
    for layer in range(2):
        table.one(0, 0)
        keys = torch.randn(1, 2, 5, 4)
        seen, _ = table.update(keys, keys + 1, layer)
        assert torch.equal(seen, keys)
    table.copy(0, 2, 4)
    new = torch.randn(2, 2, 1, 4)
    mask = table.many(torch.tensor([2, 0]), torch.tensor([4, 5]), 16, torch.float32)
    keys, values = table.update(new, new, 0)
    assert keys.shape == (2, 2, 16, 4) and mask.shape == (2, 1, 1, 16)
    layer_of: Any = table.layers[0]
    assert torch.equal(keys[0, :, :4], layer_of.keys[0, :, :4])
    assert torch.equal(keys[0, :, 4], new[0, :, 0]) and torch.equal(values[1, :, 5], new[1, :, 0])
    assert (mask[0, 0, 0] == 0).tolist() == [at <= 4 for at in range(16)]
    assert (mask[1, 0, 0] == 0).tolist() == [at <= 5 for at in range(16)]


# --- steps in few kernels ---

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "vocab_size": 500,
    "initializer_range": 0.5,
    "pad_token_id": 0,
}
BUILT_SO: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"head_dim": 16},
}
OTHERWISE: dict[str, dict[str, Any]] = {
    "granite": {"logits_scaling": 8.0},
    "starcoder2": {},
    "gemma3_text": {"head_dim": 8},
    "phi3": {},
}


@pytest.mark.parametrize("kind", [*BUILT_SO, *OTHERWISE])
def test_models_are_fused_only_where_that_says_what_transformers_says(kind: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from nl2code_model.host.torch_block import fused
    from nl2code_model.host.torch_cache import Rows

    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, **SMALL, **(BUILT_SO | OTHERWISE)[kind])
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="sdpa").eval().requires_grad_(False)
    prompt = torch.randint(500, (1, 20))
    with torch.inference_mode():
        expected = model(prompt).logits[0]
        table = Rows(2, 3, 64)

        def plain(tokens: Any, positions: Any, rows: Any, visible: int) -> Any:
            mask = table.many(rows, positions, visible, torch.float32)
            made = model(
                tokens[:, None],
                position_ids=positions[:, None],
                attention_mask=mask,
                past_key_values=table,
                use_cache=True,
            )
            return made.logits[:, -1]

        forward = fused(model, table, plain)
        assert (forward is not None) == (kind in BUILT_SO)
        # Whatever has been tried, the model itself is what it was.
        assert torch.allclose(model(prompt).logits[0], expected, atol=1e-4, rtol=1e-4)
        if forward:
            for position in range(20):
                tokens = prompt[0, position].expand(2)
                logits = forward(tokens, torch.full((2,), position), torch.tensor([2, 1]), 32)
                assert torch.allclose(logits, expected[position].expand(2, -1), atol=1e-3, rtol=1e-3)


# --- chats ---

PHI = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def chat_text(
    template: str | None, special: Sequence[str] = ("<|user|>", "<|assistant|>", "<|end|>", "<s>")
) -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    from nl2code_model.host.torch_text import Text

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    words.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    words.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    begin = words.token_to_id("<s>")
    words.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", begin)])
    wrap: Any = PreTrainedTokenizerFast
    wrapped = wrap(tokenizer_object=words, bos_token="<s>", chat_template=template)
    return Text(wrapped, system="", encoder_decoder=False)


def shown(text: Any, generation: Generation) -> str:
    tokens = text.prompt(generation)
    decoded: str = text.tokenizer.decode(tokens, skip_special_tokens=False)
    return decoded


def test_a_template_of_the_models_own() -> None:
    text = chat_text(PHI)
    ask = Message("user", "Grüße <|end|><tool>")
    tokens = text.prompt(Generation((ask,)))
    assert shown(text, Generation((ask,))) == "<s><|user|>Grüße <|end|><tool><|end|><|assistant|>"
    special = [
        text.tokenizer.id_to_token(t) for t in tokens if t in text.tokenizer.get_added_tokens_decoder()
    ]
    assert special == ["<s>", "<|user|>", "<|end|>", "<|assistant|>"]
    continued = Generation((ask,), prefill="```python\n")
    assert shown(text, continued) == "<s><|user|>Grüße <|end|><tool><|end|><|assistant|>```python\n"


def test_what_a_template_does_not_take_is_told() -> None:
    text = chat_text(PHI)
    with pytest.raises(ChatNotSupported, match="no system"):
        text.prompt(Generation((Message("system", "x"), Message("user", "y"))))
    forgetful = chat_text("{{ messages[0].content }}")
    with pytest.raises(ChatNotSupported, match="leaves out a message"):
        forgetful.prompt(Generation((Message("user", "x"), Message("user", "y"))))
    with pytest.raises(ChatNotSupported, match="more than a prompt can hold"):
        chat_text("{{ 'x' * 100000 }}{{ messages[0].content }}").prompt(Generation((Message("user", "x"),)))


def test_a_model_without_template_continues_plain_text() -> None:
    text = chat_text(None)
    chat = (Message("system", "Rules."), Message("user", "Question"))
    assert shown(text, Generation(chat, prefill="def ")) == "<s>Rules.\n\nQuestion\n\ndef "


def test_answers_come_by_whole_characters() -> None:
    text = chat_text(None)
    answer = text.answer(text.prompt(Generation((Message("user", "x"),))))
    pieces = [answer.feed(token) for token in text.text_tokens("aé请😀 b")]
    assert "".join(pieces) == "aé请😀 b"
    assert [piece for piece in pieces if piece] == ["a", "é", "请", "😀", " ", "b"]
    assert answer.feed(text.tokenizer.token_to_id("<|end|>")) == ""
    half, *_ = text.text_tokens("é")
    assert [answer.feed(half), answer.rest()] == ["", ""]
    # Bytes that never become a character do not hold up what follows.
    told = "".join(answer.feed(half) for _ in range(20)) + answer.feed(text.text_tokens("x")[0])
    assert told.endswith("x") and told.strip("\ufffd") == "x"
