"""The registry of adapters: promoted, rolled back, pruned, and whole wherever its process is killed."""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest

from nl2code_model.tune.registry import KEPT, Registry
from nl2code_server.errors import HostError

MODEL = "qwen2.5-coder-0.5b"


class Killed(BaseException):
    """The process ends here: nothing of ours runs any more."""


def _adapter(folder: Path, text: str = "weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_model.safetensors").write_text(text)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    (folder / "training_args.bin").write_text("a pickle")
    (folder / "README.md").write_text("a model card")
    return folder


def _add(registry: Registry, folder: Path, text: str) -> str:
    return registry.add(_adapter(folder / text, text), {"data": {"judged": 1}}, {"report.json": "{}"}).name


def _served(registry: Registry) -> str:
    version = registry.current()
    return (version.folder / "adapter_model.safetensors").read_text() if version else ""


def test_only_what_is_needed_is_taken_over(tmp_path: Path) -> None:
    registry = Registry(MODEL)
    name = _add(registry, tmp_path, "one")
    version = registry.find(name[:12])
    assert sorted(path.name for path in version.folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "report.json",
    ]
    assert version.folder.stat().st_mode & 0o077 == 0
    assert (version.current, registry.current()) == (False, None)
    assert version.manifest["model"] == MODEL and len(version.manifest["sha256"]) == 2


def test_back_from_one_to_the_one_before_and_to_the_model_itself(tmp_path: Path) -> None:
    registry = Registry(MODEL)
    names = [_add(registry, tmp_path, text) for text in ("one", "two")]
    for name in names:
        registry.promote(name)
    assert _served(registry) == "two"
    assert (registry.rollback(), _served(registry)) == (names[0], "one")
    assert (registry.rollback(), _served(registry)) == ("", "")
    with pytest.raises(HostError, match="no adapter"):
        registry.rollback()


def test_the_last_three_are_kept(tmp_path: Path) -> None:
    registry = Registry(MODEL)
    for number in range(5):
        registry.promote(_add(registry, tmp_path, f"n{number}"))
    refused = _add(registry, tmp_path, "refused")
    texts = [(one.folder / "adapter_model.safetensors").read_text() for one in registry.versions()]
    assert texts == ["n2", "n3", "n4", "refused"]
    registry.remove(refused)
    assert KEPT == 3
    assert [bool(registry.rollback()) for _ in range(2)] == [True, True]
    assert _served(registry) == "n2"


def test_what_serves_is_not_removed_and_what_changed_is_not_served(tmp_path: Path) -> None:
    registry = Registry(MODEL)
    name = _add(registry, tmp_path, "one")
    registry.promote(name)
    with pytest.raises(HostError, match="serves"):
        registry.remove(name)
    (registry.find(name).folder / "adapter_model.safetensors").write_text("other")
    with pytest.raises(HostError, match="not the file"):
        registry.current()
    with pytest.raises(HostError, match="has no adapter"):
        registry.promote("nothing")


@pytest.mark.parametrize("step", ["copy", "manifest", "rename", "pointer", "prune"])
def test_killed_at_any_step_it_serves_the_old_or_the_new_and_never_half(step: str, tmp_path: Path) -> None:
    for number in range(KEPT):
        name = _add(Registry(MODEL), tmp_path, f"old{number}")
        Registry(MODEL).promote(name)

    def kill(at: str) -> None:
        if at == step:
            raise Killed

    dying = Registry(MODEL, kill)
    before = _served(Registry(MODEL))
    with pytest.raises(Killed):
        for number in range(2):
            dying.promote(_add(dying, tmp_path, f"new{number}"))
    after = Registry(MODEL)
    assert _served(after) == (before if step != "prune" else _served(after)) != ""
    assert _served(after).startswith("old") if step != "prune" else _served(after).startswith("new")
    name = _add(after, tmp_path, "next")
    after.promote(name)
    assert _served(after) == "next"
    assert not [path for path in after.folder.glob(".2*") if path.is_dir()], "leftovers are swept away"


def test_two_models_do_not_share(tmp_path: Path) -> None:
    Registry("one/model").promote(_add(Registry("one/model"), tmp_path, "a"))
    assert Registry("two/model").current() is None


@pytest.mark.parametrize("writes", range(6))
def test_a_disk_that_fills_up_leaves_what_serves(writes: int, tmp_path: Path) -> None:
    registry = Registry(MODEL)
    registry.promote(_add(registry, tmp_path, "old"))
    real, left = os.fsync, writes

    def fsync(handle: int) -> None:
        nonlocal left
        left -= stat.S_ISREG(os.fstat(handle).st_mode)
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    enough = writes == 5  # two files, report, manifest, and what says which version serves
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with nullcontext() if enough else pytest.raises(OSError, match="No space"):
            registry.promote(_add(registry, tmp_path, "new"))
    assert _served(Registry(MODEL)) == ("new" if enough else "old")
    registry.promote(_add(registry, tmp_path, "next"))
    assert _served(Registry(MODEL)) == "next"
    assert not [path for path in registry.folder.glob(".2*") if path.is_dir()]
