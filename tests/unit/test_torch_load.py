"""Loading into torch: what is settled, and refused, before any weight is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from fakes.tiny import Tiny
from nl2code_model.host import torch_load
from nl2code_model.host.torch_load import load, require_libraries
from nl2code_model.models.source import Source, find
from nl2code_server.errors import ConfigError, HostError, ModelFileError


@pytest.fixture
def folder(tiny_llama: Tiny, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama.folder, copy)
    return copy


def reconfigure(folder: Path, **changes: object) -> Source:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return find(str(folder))


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("torch", "2.9.1", r"torch 2\.9\.1 is too old: the torch engine needs 2\.10 .*nl2code\[torch\]"),
        ("transformers", "5.2.0", r"transformers 5\.2\.0 is too old: the torch engine needs 5\.17"),
        ("transformers", "4.57.1", r"too old"),
        ("torch", None, r"needs torch, which is not installed .*nl2code\[torch\]"),
    ],
)
def test_libraries_that_are_missing_or_unsafe(
    name: str, version: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version

    def installed(asked: str) -> str:
        if asked != name:
            return real(asked)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(metadata, "version", installed)
    with pytest.raises(HostError, match=message):
        require_libraries()


def test_newer_libraries_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        metadata, "version", {"torch": "3.0.0+cu140", "transformers": "5.100.0.dev0"}.__getitem__
    )
    require_libraries()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_number_format_asked_for(dtype: str, tiny_llama: Tiny) -> None:
    loaded = load(find(str(tiny_llama.folder)), device="cpu", dtype=dtype, threads=1)
    assert str(loaded.dtype) == f"torch.{dtype}"
    assert {str(p.dtype) for p in loaded.model.parameters()} == {f"torch.{dtype}"}
    assert not loaded.encoder_decoder
    assert loaded.context == 2048


def test_the_faster_format_on_a_cpu(tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    source = find(str(tiny_llama.folder))
    for seconds, expected in (
        ([1.0] * 5 + [0.5] * 5, torch.bfloat16),
        ([1.0] * 5 + [0.95] * 5, torch.float32),
    ):
        times = iter(seconds)
        monkeypatch.setattr(torch_load, "_timed", lambda action, times=times: next(times))
        assert load(source, device="cpu", threads=1).dtype == expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"dtype": "int4"},
            ConfigError,
            r"has no dtype 'int4' \(use one of auto, bfloat16, float16, float32\)",
        ),
        ({"device": "tpu"}, ConfigError, r"no device 'tpu' \(use one of auto, cuda, mps, cpu\)"),
    ],
)
def test_options_that_do_not_exist(
    options: dict[str, str], error: type[Exception], message: str, tiny_llama: Tiny
) -> None:
    with pytest.raises(error, match=message):
        load(find(str(tiny_llama.folder)), **options)  # type: ignore[arg-type]


def test_a_device_that_is_not_here(tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HostError, match=r"torch finds no cuda device here \(use --device cpu"):
        load(find(str(tiny_llama.folder)), device="cuda")


def test_a_model_larger_than_memory_is_refused_before_it_is_read(
    tiny_llama: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    monkeypatch.setattr(torch_load, "available_memory", lambda: 1 << 20)
    monkeypatch.setattr(
        transformers.LlamaForCausalLM, "from_pretrained", lambda *_, **__: pytest.fail("read")
    )
    with pytest.raises(HostError, match=r"tiny-llama takes 0\.0 GB in float32, and 0\.0 GB are free on cpu"):
        load(find(str(tiny_llama.folder)), device="cpu", dtype="float32")


def lacking_a_weight(folder: Path) -> Source:
    from safetensors.torch import load_file, save_file

    kept = load_file(folder / "model.safetensors")
    kept.pop("model.norm.weight")
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return find(str(folder))


def without_tokenizer(folder: Path) -> Source:
    (folder / "tokenizer.json").unlink()
    return find(str(folder))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: reconfigure(f, architectures=["EvilForCausalLM"]),
            r"architecture 'EvilForCausalLM' of copy is not",
        ),
        (
            lambda f: reconfigure(f, architectures=["BertForMaskedLM"], model_type="bert"),
            r"'BertForMaskedLM'",
        ),
        (lambda f: reconfigure(f, architectures=["PreTrainedModel"]), r"'PreTrainedModel'"),
        (lambda f: reconfigure(f, architectures=None), r"architecture 'llama'"),
        (
            lambda f: reconfigure(f, model_type="unheard-of"),
            r"architecture 'LlamaForCausalLM' of copy is not",
        ),
        (lambda f: reconfigure(f, hidden_size=64), r"cannot be loaded: "),
        (lambda f: reconfigure(f, num_hidden_layers=3), r"cannot be loaded: it lacks model\.layers\.2\."),
        (lambda f: reconfigure(f, num_attention_heads="many"), r"cannot be loaded: "),
        (lacking_a_weight, r"it lacks model\.norm\.weight"),
        (without_tokenizer, r"cannot be loaded: "),
    ],
)
def test_a_folder_that_is_not_the_model_it_claims(
    spoil: Callable[[Path], Source], message: str, folder: Path
) -> None:
    source = spoil(folder)
    with pytest.raises(ModelFileError, match=message) as caught:
        load(source, device="cpu", dtype="float32", threads=1)
    assert "\n" not in str(caught.value)
    assert caught.value.fix


async def test_a_shape_filled_at_random_is_a_model_that_never_ends(tmp_path: Path) -> None:
    """What GPUs are timed with: every token has a text, and the length is the one asked for."""
    from nl2code_model.bench import shapes
    from nl2code_model.host.engine import Chunk, Generation, Message
    from nl2code_model.host.torch_engine import TorchEngine

    with shapes.written(["tiny"], "cpu") as [folder]:
        engine = TorchEngine(folder, device="cpu", dtype="float32", threads=1)
        await engine.start()
        asked = Generation((Message("user", "count"),), max_tokens=12)
        chunks = [piece async for piece in engine.generate(asked) if isinstance(piece, Chunk)]
        await engine.stop()
    assert engine.model == "random-tiny"
    assert (sum(chunk.tokens for chunk in chunks), chunks[-1].finish_reason) == (12, "length")
    assert len({chunk.text for chunk in chunks}) > 3
    with pytest.raises(ConfigError, match=r"no shape '9b' .*0\.5b"), shapes.written(["9b"], "cpu"):
        pass
