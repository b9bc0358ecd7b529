"""Which folder of safetensors a model's name means, and whether it may be loaded. Loads nothing itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from nl2code_server.errors import HostError, ModelFileError

from .catalog import locate
from .gguf import converted

HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
MAX_JSON = 4 << 20  # bytes; an index of thousands of shards stays below
MAX_HEADER = 100 << 20  # bytes, the limit of the safetensors format
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
VALUE_TYPES = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes of the numbers that models are loaded from. Buffers of other types are few and small."""
MOSTLY = 0.99
# Left behind in configs by older libraries, and without meaning for what is loaded.
INERT = ("_name_or_path", "_num_labels", "_commit_hash", "_from_model_config")
# Numbers that some architectures keep under such names.
NUMBERS = ("_sliding_window_pattern", "_remove_final_layer_norm")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Source:
    """A folder that may be loaded."""

    id: str
    folder: Path
    config: dict[str, Any]
    """Of the model, without what has no meaning."""
    parameters: int
    dtype: str
    """What most of the weights are kept in: F32, F16 or BF16."""
    system: str = ""
    """System message of the makers' chat template for chats that have none."""


def find(name: str, on_status: Tell = lambda _: None) -> Source:
    """Find, fetch or convert the model that a name means; raise `Nl2CodeError` if it may not be loaded.

    A name is the path of a folder or of a .gguf file, `auto`, a catalog id, or a repository of the hub.
    """
    located = locate(name)
    if located.hub:
        return check(located.id, fetch(name, on_status))
    if located.path.is_dir():
        return check(located.id, located.path)
    return check(located.id, converted(located, on_status), located.entry.system if located.entry else "")


def check(id: str, folder: Path, system: str = "") -> Source:
    """Check that a folder holds a model that can be loaded without running any code of its own."""
    config = read_json(folder / "config.json")
    _refuse_code(folder, config)
    parameters: dict[str, int] = {}
    for path in _weight_files(folder):
        for value_type, count in _counts(path).items():
            parameters[value_type] = parameters.get(value_type, 0) + count
    total = sum(parameters.values())
    usable = {kind: count for kind, count in parameters.items() if kind in VALUE_TYPES}
    if sum(usable.values()) < MOSTLY * total or not total:
        kinds = ", ".join(sorted(parameters.keys() - usable.keys())) or "nothing"
        raise ModelFileError(
            f"the weights in {folder} are {kinds}, which is not supported",
            "use a model in F32, F16 or BF16, or a .gguf file",
        )
    return Source(id, folder, _meaningful(config), total, max(usable, key=usable.__getitem__), system)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a model's folder, or raise `ModelFileError`."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise ValueError(f"it has more than {MAX_JSON} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelFileError(
            f"{path.parent} has no {path.name}", "give the folder of a model in safetensors form"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read: {error}", "download the model again") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{path} is not a JSON object", "download the model again")
    return value


def fetch(repository: str, on_status: Tell) -> Path:
    """Return the hub's copy on this machine, downloading what is missing; never a pickle."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    on_status(f"looking for {repository} on the hub")
    try:
        return Path(snapshot_download(repository, allow_patterns=list(HUB_FILES)))
    except LocalEntryNotFoundError as error:
        reason = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else "the hub cannot be reached"
        raise HostError(
            f"the model {repository} is not on this machine, and {reason}", "go online, or give a folder"
        ) from error
    except HfHubHTTPError as error:
        raise HostError(
            f"the hub does not give {repository}: {_first_line(error)}",
            "check its name, or log in to the hub",
        ) from error
    except (OSError, ValueError) as error:
        raise HostError(
            f"cannot fetch {repository}: {_first_line(error)}", "try again, or give a folder"
        ) from error


# --- what is refused ---


def _refuse_code(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a model that brings Python of its own, and settings that reach into the library."""
    told = [config]
    if (folder / "tokenizer_config.json").is_file():
        told.append(read_json(folder / "tokenizer_config.json"))
    if any(key == "auto_map" for each in told for key, _ in _entries(each)):
        raise ModelFileError(
            f"the model in {folder} needs Python code of its own (trust_remote_code), which is never run",
            "use a model of an architecture that transformers has",
        )
    private = sorted(
        key
        for key, value in _entries(config)
        if key.startswith("_") and key not in INERT and not (key in NUMBERS and isinstance(value, int | None))
    )
    if private:
        raise ModelFileError(
            f"{folder / 'config.json'} sets {private[0]}, which is internal to the library",
            "remove it if you trust the model's origin",
        )


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)


def _meaningful(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _meaningful(inner) for key, inner in value.items() if key not in INERT}
    return value


def _weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights, all of which are there."""
    index, single = folder / "model.safetensors.index.json", folder / "model.safetensors"
    if single.is_file():
        return [single]
    if not index.is_file():
        found = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if found:
            raise ModelFileError(
                f"{folder} has its weights as {found[0]}: pickle files can run code and are never loaded",
                "use a model in safetensors form",
            )
        raise ModelFileError(f"{folder} has no model.safetensors", "download the model again")
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ModelFileError(f"{index} lists no weights", "download the model again")
    names = sorted({str(name) for name in shards.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelFileError(
                f"{index} names {name!r}, which is no file of its own", "do not use this model"
            )
        if not (folder / name).is_file():
            raise ModelFileError(f"{folder} lacks {name}", "download the model again")
    return [folder / name for name in names]


def _counts(path: Path) -> dict[str, int]:
    """Count the numbers in a safetensors file by their type, from its header."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise ValueError("its header has no size that could be")
            entries = json.loads(file.read(length))
        entries.pop("__metadata__", None)
        counts: dict[str, int] = {}
        end = 0
        for entry in entries.values():
            counts[entry["dtype"]] = counts.get(entry["dtype"], 0) + prod(entry["shape"])
            end = max(end, entry["data_offsets"][1])
        if end != size - 8 - length:
            raise ValueError("it is cut short, or its header lies about sizes")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise ModelFileError(
            f"{path} is not a safetensors file that can be used: {error}", "download the model again"
        ) from error
    return counts


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
