"""Folders of safetensors: what may be loaded, and what is refused before anything is."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nl2code_model.models import source
from nl2code_model.models.catalog import is_file_name, locate
from nl2code_model.models.source import check, find
from nl2code_server.errors import ConfigError, HostError, ModelFileError

CONFIG: dict[str, Any] = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def safetensors(path: Path, tensors: dict[str, tuple[str, int]], *, spare: int = 0) -> None:
    """Write a file with a header as told, and zeros."""
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    size = 0
    for name, (kind, count) in tensors.items():
        width = {"F64": 8, "F32": 4, "I64": 8, "F8_E4M3": 1, "I8": 1}.get(kind, 2)
        entries[name] = {"dtype": kind, "shape": [count], "data_offsets": [size, size + count * width]}
        size += count * width
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(size + spare))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "a-model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    safetensors(made / "model.safetensors", {"a": ("BF16", 300), "b": ("F32", 40)})
    return made


def test_a_folder_is_what_it_says(folder: Path) -> None:
    found = find(str(folder))
    assert (found.id, found.folder, found.config) == ("a-model", folder, CONFIG)
    assert (found.parameters, found.dtype) == (340, "BF16")


def test_shards_are_counted_together(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for number in (1, 2):
        safetensors(folder / f"model-{number}.safetensors", {f"t{number}": ("F16", 100)})
    index = {"weight_map": {"t1": "model-1.safetensors", "t2": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert check("x", folder).parameters == 200
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"lacks model-2\.safetensors"):
        check("x", folder)


def test_what_old_libraries_left_behind_is_dropped(folder: Path) -> None:
    told = {
        **CONFIG,
        "_name_or_path": "/home/somebody",
        "_num_labels": 3,
        "text_config": {"_name_or_path": ""},
    }
    (folder / "config.json").write_text(json.dumps(told))
    assert check("x", folder).config == {**CONFIG, "text_config": {}}


def configured(**more: Any) -> Callable[[Path], object]:
    return lambda folder: (folder / "config.json").write_text(json.dumps({**CONFIG, **more}))


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def with_tokenizer_code(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["x.Y", null]}}')


def outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"a": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def weights(**tensors: tuple[str, int]) -> Callable[[Path], None]:
    return lambda folder: safetensors(folder / "model.safetensors", tensors)


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def written(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"has no config\.json"),
        (written("config.json", b"{"), r"cannot be read"),
        (written("config.json", b"[]"), r"is not a JSON object"),
        (written("config.json", b"[" * 100_000), r"cannot be read"),
        (configured(auto_map={"AutoModelForCausalLM": "modeling.Evil"}), r"trust_remote_code.*never run"),
        (configured(text_config={"auto_map": {}}), r"trust_remote_code"),
        (with_tokenizer_code, r"trust_remote_code"),
        (configured(_attn_implementation_internal="evil/kernel"), r"sets _attn_implementation_internal"),
        (configured(text_config={"list": [{"_x": 1}]}), r"sets _x"),
        (configured(_sliding_window_pattern="evil"), r"sets _sliding_window_pattern"),
        (pickled, r"pytorch_model\.bin: pickle files can run code and are never loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"has no model\.safetensors"),
        (outside, r"names '\.\./model\.safetensors', which is no file of its own"),
        (weights(a=("F8_E4M3", 400), b=("BF16", 10)), r"are F8_E4M3, which is not supported"),
        (weights(a=("F64", 400)), r"are F64"),
        (weights(), r"are nothing"),
        (cut, r"cut short, or its header lies"),
        (written("model.safetensors", b"\x80\x04K\x01."), r"not a safetensors file that can be used"),
        (
            written("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"),
            r"no size that could be",
        ),
        (written("model.safetensors", struct.pack("<Q", 10) + b"[1,2,3,4] "), r"not a safetensors file"),
    ],
)
def test_what_may_not_be_loaded_is_refused_in_one_line(
    spoil: Callable[[Path], object], message: str, folder: Path
) -> None:
    spoil(folder)
    with pytest.raises(ModelFileError, match=message) as caught:
        find(str(folder))
    assert caught.value.fix
    assert "\n" not in str(caught.value)


def test_a_few_numbers_of_another_kind_do_no_harm(folder: Path) -> None:
    safetensors(folder / "model.safetensors", {"a": ("F32", 4000), "positions": ("I64", 10)})
    assert check("x", folder).dtype == "F32"


def test_names(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate(str(folder)).id == "a-model"
    assert not is_file_name(str(folder))
    assert not is_file_name("somebody/some-model")
    assert is_file_name("auto") and is_file_name("/x/y.gguf")
    assert locate("somebody/some-model").hub
    for name in ("no-such-model", "a/b/c", "", "../no-such-folder"):
        with pytest.raises(ConfigError, match="unknown model"):
            locate(name)


def test_a_model_of_the_hub_that_cannot_be_had_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said: list[str] = []
    with pytest.raises(
        HostError, match="somebody/some-model is not on this machine, and HF_HUB_OFFLINE is set"
    ):
        find("somebody/some-model", said.append)
    assert said == ["looking for somebody/some-model on the hub"]


def test_a_model_of_the_hub_that_is_here_needs_no_network(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "fetch", lambda name, tell: folder)
    assert find("somebody/some-model").id == "somebody/some-model"
