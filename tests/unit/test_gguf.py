"""GGUF files as transformers' folders: same weights, same tokens, made once, whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nl2code_model.models import gguf as conversion
from nl2code_model.models.catalog import Located
from nl2code_model.models.gguf import converted
from nl2code_model.models.gguf_config import WORDS
from nl2code_server.errors import ModelFileError
from nl2code_server.platform import FileLock, paths

CORPUS = (
    "def gcd(a, b):\n    while b:\n        a, b = b, a % b\n    return a\n# 请编写一个函数 Ünïcödé 123\n" * 3
)
TEXT = CORPUS + "I'LL don't  \r\n\t x😀\n\n\n  <|im_start|>user <tool> 2024"
SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}


def tokenizer(words: str = "qwen2") -> Any:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS[words]), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        [CORPUS],
        trainers.BpeTrainer(vocab_size=296, initial_alphabet=alphabet, show_progress=False),
    )
    made.add_tokens([AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True)])
    made.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return made


def model(kind: str, **changes: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    torch.manual_seed(0)
    sizes = {**SIZES, "head_dim": 16} if kind == "qwen3" else SIZES
    config = AutoConfig.for_model(kind, **{**sizes, **changes}, dtype="float32")
    made = auto.from_config(config).eval()
    for name, parameter in made.named_parameters():
        if "norm" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, 1.0 if "norm" in name else 0.0, 0.1)
    return made


def write_gguf(path: Path, source: Any, words: Any, *, quantisation: str = "F32", **more: str) -> None:
    """Write a model as llama.cpp's own converter would."""
    import gguf
    import numpy

    kind, config = source.config.model_type, source.config
    writer = gguf.GGUFWriter(path, kind)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if kind == "qwen3":
        writer.add_key_length(config.head_dim)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    vocabulary = sorted(words.get_vocab().items(), key=lambda item: item[1])
    vocabulary += [(f"[unused{n}]", n) for n in range(len(vocabulary), config.vocab_size)]
    added = {number: 3 if token.special else 4 for number, token in words.get_added_tokens_decoder().items()}
    writer.add_token_list([token for token, _ in vocabulary])
    writer.add_token_types([added.get(number, 1) for _, number in vocabulary])
    import json

    merges = json.loads(words.to_str())["model"]["merges"]
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_eos_token_id(words.token_to_id("<|im_end|>"))
    writer.add_chat_template("{{ messages }}")
    for name, value in more.items():
        writer.add_string(f"{kind}.{name}", value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[kind.upper()], config.num_hidden_layers)
    tied = config.tie_word_embeddings
    for name, tensor in source.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        array = tensor.numpy()
        if kind == "llama" and (".q_proj." in name or ".k_proj." in name):
            heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
            rows = array.shape[0]
            array = array.reshape(heads, 2, rows // heads // 2, *array.shape[1:])
            array = numpy.ascontiguousarray(array.swapaxes(1, 2).reshape(tensor.shape))
        theirs = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert theirs
        as_type = gguf.GGMLQuantizationType[quantisation if array.ndim > 1 else "F32"]
        writer.add_tensor(theirs, gguf.quants.quantize(array, as_type), raw_dtype=as_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def qwen(tmp_path: Path) -> Located:
    path = tmp_path / "qwen.gguf"
    write_gguf(path, model("qwen2"), tokenizer())
    return Located("qwen", path, None)


def logits(which: Any) -> Any:
    import torch

    with torch.inference_mode():
        return which(input_ids=torch.arange(1, 41).reshape(1, -1)).logits


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("llama", {"attention_bias": True, "tie_word_embeddings": True}),
        ("qwen2", {}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {}),
    ],
)
@pytest.mark.parametrize("quantisation", ["F32", "Q8_0"])
def test_the_folder_holds_the_same_model(
    kind: str, changes: dict[str, Any], quantisation: str, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    original, words = model(kind, **changes), tokenizer()
    path = tmp_path / "m.gguf"
    write_gguf(path, original, words, quantisation=quantisation)
    folder = converted(Located("m", path, None))
    loaded, info = auto.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert loaded.config.tie_word_embeddings == changes.get("tie_word_embeddings", False)
    # bfloat16 keeps 8 bits, Q8_0 about as many.
    expected, got = logits(original), logits(loaded)
    assert torch.nn.functional.cosine_similarity(expected, got, dim=-1).min() > 0.999
    for name, tensor in original.state_dict().items():
        allowed = 2**-8 if quantisation == "F32" else 2**-6
        assert (loaded.state_dict()[name] - tensor).abs().max() <= allowed * tensor.abs().max(), name


def test_the_tokenizer_gives_the_same_tokens(qwen: Located) -> None:
    from transformers import AutoTokenizer

    words = tokenizer()
    made = AutoTokenizer.from_pretrained(converted(qwen))
    ids = made(TEXT, add_special_tokens=False).input_ids
    assert ids == words.encode(TEXT, add_special_tokens=False).ids
    assert made.decode(ids) == TEXT
    assert (made.eos_token, made.chat_template) == ("<|im_end|>", "{{ messages }}")
    assert words.token_to_id("<tool>") in ids


def test_it_is_made_once_and_again_when_the_file_changes(qwen: Located) -> None:
    said: list[str] = []
    folder = converted(qwen, said.append)
    first = (folder / "model.safetensors").stat()
    assert converted(qwen, said.append) == folder
    assert (folder / "model.safetensors").stat().st_ino == first.st_ino
    assert said == ["converting qwen.gguf, once"]
    write_gguf(qwen.path, model("qwen2", num_hidden_layers=1), tokenizer())
    assert converted(qwen, said.append) == folder
    assert (folder / "model.safetensors").stat().st_size < first.st_size
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
    conversion.remove(qwen.path)
    assert not folder.exists()


def test_two_at_once_make_it_once(qwen: Located) -> None:
    said: list[str] = []
    threads = [threading.Thread(target=converted, args=(qwen, said.append)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert said == ["converting qwen.gguf, once"]


def test_a_killed_conversion_leaves_nothing_for_ever(qwen: Located) -> None:
    folder = converted(qwen)
    conversion.remove(qwen.path)
    leftover = folder.with_name(f".{folder.name}.dead")
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(b"half")
    converted(qwen)
    assert not leftover.exists()


def test_a_conversion_under_way_is_waited_for_with_a_deadline(
    qwen: Located, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "LOCK_TIMEOUT", 0.1)
    folder = converted(qwen)
    conversion.remove(qwen.path)
    other = FileLock(folder.with_name(f"{folder.name}.lock"))
    assert other.acquire()
    with pytest.raises(Exception, match="another process has been converting"):
        converted(qwen)
    other.release()
    assert converted(qwen) == folder


def no_room(qwen: Located, patch: pytest.MonkeyPatch) -> Located:
    patch.setattr(conversion, "free_bytes", lambda path: 1 << 20)
    return qwen


def cut_short(qwen: Located, patch: pytest.MonkeyPatch) -> Located:
    data = qwen.path.read_bytes()
    qwen.path.write_bytes(data[: len(data) - 100])
    return qwen


def absent(qwen: Located, patch: pytest.MonkeyPatch) -> Located:
    return replace(qwen, path=qwen.path.with_name("absent.gguf"))


def stretched(qwen: Located, patch: pytest.MonkeyPatch) -> Located:
    write_gguf(qwen.path, model("qwen2"), tokenizer(), **{"rope.scaling.type": "yarn"})
    return qwen


def other_words(qwen: Located, patch: pytest.MonkeyPatch) -> Located:
    data = qwen.path.read_bytes()
    key = b"tokenizer.ggml.pre\x08\0\0\0\x05\0\0\0\0\0\0\0"
    assert key + b"qwen2" in data
    qwen.path.write_bytes(data.replace(key + b"qwen2", key + b"other"))
    return qwen


def other_architecture(qwen: Located, patch: pytest.MonkeyPatch) -> Located:
    qwen.path.write_bytes(qwen.path.read_bytes().replace(b"qwen2", b"mamba"))
    return qwen


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_room, r"converting qwen.gguf takes .* MB .*make room"),
        (cut_short, r"lies beyond the end of the file \(download it again\)"),
        (absent, r"there is no model file"),
        (stretched, r"it stretches its positions"),
        (other_words, r"its tokenizer is 'gpt2' with 'other'"),
        (other_architecture, r"its architecture 'mamba' is not one of llama, qwen2, qwen3"),
    ],
)
def test_a_file_that_cannot_be_converted_is_refused_in_one_line_and_leaves_nothing(
    spoil: Callable[[Located, pytest.MonkeyPatch], Located],
    message: str,
    qwen: Located,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    located = spoil(qwen, monkeypatch)
    with pytest.raises(ModelFileError, match=message):
        converted(located)
    made = paths().cache / "converted"
    assert not made.exists() or not [path for path in made.iterdir() if path.is_dir()]
