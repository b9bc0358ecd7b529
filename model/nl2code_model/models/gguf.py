"""A GGUF file as the folder that transformers loads: weights in bfloat16, config, tokenizer. Made once, then kept."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nl2code_server.errors import HostError, ModelFileError
from nl2code_server.platform import free_bytes, lock, paths, physical_cores, private_folder

from . import gguf_config
from .catalog import Located
from .header import Contents, Tensor, read_contents
from .verify import check, megabytes

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
"""Version of what a conversion writes: another one makes it anew."""
SOURCE = "source.json"
LOCK_TIMEOUT = 600.0  # s; a conversion by another process, of a model of tens of GB
CHUNK = 1 << 16  # values at a time: what fits into a core's cache is dequantised fastest
SPARE = 64 << 20  # bytes that the disk must have left

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Planned:
    """A tensor to convert, its name in transformers, and where it goes in the new file."""

    tensor: Tensor
    name: str
    heads: int
    """Attention heads whose rows are interleaved otherwise in GGUF; 0 where they are not."""
    offset: int


def converted(located: Located, on_status: Tell = lambda _: None) -> Path:
    """Return the folder made from a GGUF file, making it if it is not there; raise `Nl2CodeError`."""
    check(located)
    folder = _folder(located.path)
    stamp = _stamp(located)
    if _made_from(folder) == stamp:
        return folder
    try:
        private_folder(folder.parent)
        with lock(folder.with_name(f"{folder.name}.lock"), timeout=LOCK_TIMEOUT):
            if _made_from(folder) != stamp:
                on_status(f"converting {located.path.name}, once")
                _make(located.path, folder, stamp)
    except TimeoutError as error:
        raise HostError(
            f"another process has been converting {located.path} for too long", "end it, then try again"
        ) from error
    except OSError as error:
        raise HostError(
            f"cannot convert {located.path}: {error.strerror or error}", "free the disk"
        ) from error
    return folder


def remove(path: Path) -> None:
    """Remove what was made from a GGUF file, if anything was."""
    shutil.rmtree(_folder(path), ignore_errors=True)


def _folder(path: Path) -> Path:
    """Name the folder for a file: one for each path, so that a file that changes replaces what was made of it."""
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    return paths().cache / "converted" / f"{path.stem}-{digest}"


def _stamp(located: Located) -> list[str | int]:
    """Say what a conversion is made from: a catalog file by its hash, another by what changes when it does."""
    if located.entry:
        return [FORMAT, located.entry.sha256]
    return [FORMAT, *_identity(located.path)]


def _identity(path: Path) -> tuple[int, ...]:
    info = path.stat()
    return info.st_size, info.st_mtime_ns, info.st_ino, info.st_dev


def _made_from(folder: Path) -> list[str | int]:
    try:
        stamp: list[str | int] = json.loads((folder / SOURCE).read_text())
    except (OSError, ValueError):
        return []
    return stamp


def _make(path: Path, folder: Path, stamp: list[str | int]) -> None:
    """Convert into a folder beside, then put it in place: nobody ever sees half of it."""
    for leftover in folder.parent.glob(f".{folder.name}.*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    beside = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}")
    beside.mkdir(mode=0o700)
    try:
        before = _identity(path)
        contents = read_contents(path)
        config = gguf_config.config(contents)
        gguf_config.write_tokenizer(contents, beside)
        for name, value in (
            ("config.json", config),
            ("generation_config.json", gguf_config.generation_config(contents)),
            (SOURCE, stamp),
        ):
            (beside / name).write_text(json.dumps(value, indent=1))
        _write_weights(path, contents, beside / "model.safetensors")
        if _identity(path) != before:
            raise ModelFileError(f"{path} was replaced while it was converted", "start it again")
        old = folder.with_name(f".{folder.name}.old")
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


# --- weights ---


def _write_weights(path: Path, contents: Contents, target: Path) -> None:
    planned = _plan(contents)
    header = _safetensors_header(planned)
    size = len(header) + sum(2 * prod(plan.tensor.shape) for plan in planned)
    if free_bytes(target.parent) < size + SPARE:
        raise ModelFileError(
            f"converting {path.name} takes {megabytes(size)} in {paths().cache}, where less is free",
            "make room, or use --engine llamacpp",
        )
    with (
        path.open("rb") as source,
        mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as data,
        target.open("wb+") as file,
    ):
        file.truncate(size)
        with mmap.mmap(file.fileno(), size) as out:
            out[: len(header)] = header
            with ThreadPoolExecutor(physical_cores()) as pool:
                jobs = [pool.submit(_convert, plan, contents, data, out, len(header)) for plan in planned]
                try:
                    for job in jobs:
                        job.result()
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
        os.fsync(file.fileno())


def _plan(contents: Contents) -> list[_Planned]:
    architecture = contents.values["general.architecture"]
    planned, offset = [], 0
    for tensor in contents.tensors:
        name = gguf_config.tensor_name(architecture, tensor.name)
        planned.append(_Planned(tensor, name, gguf_config.interleaved_heads(contents, tensor.name), offset))
        offset += 2 * prod(tensor.shape)
    return planned


def _safetensors_header(planned: list[_Planned]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for plan in planned:
        end = plan.offset + 2 * prod(plan.tensor.shape)
        entries[plan.name] = {
            "dtype": "BF16",
            "shape": plan.tensor.shape,
            "data_offsets": [plan.offset, end],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % 64)
    return len(text).to_bytes(8, "little") + text


def _convert(plan: _Planned, contents: Contents, data: mmap.mmap, out: mmap.mmap, start: int) -> None:
    import torch
    from gguf import GGMLQuantizationType, QuantError
    from gguf.quants import dequantize

    tensor = plan.tensor
    rows = _rows(tensor, contents, data)
    if plan.heads:
        rows = _deinterleaved(rows, plan.heads)
    count, width = tensor.shape[0], prod(tensor.shape[1:])
    target = torch.frombuffer(out, dtype=torch.bfloat16, count=count * width, offset=start + plan.offset)
    target = target.view(count, width)
    step = max(1, CHUNK // width)
    try:
        for row in range(0, count, step):
            values = dequantize(rows[row : row + step], GGMLQuantizationType(tensor.kind))
            # What needs no converting is a view of the file, which torch does not take.
            target[row : row + step] = torch.from_numpy(values if values.flags.writeable else values.copy())
    except (NotImplementedError, QuantError) as error:
        raise ModelFileError(
            f"{tensor.name} has a form that cannot be converted: {error}", "use --engine llamacpp"
        ) from error


def _rows(tensor: Tensor, contents: Contents, data: mmap.mmap) -> np.ndarray[Any, Any]:
    """Return a tensor's bytes by rows, or raise `ModelFileError` if the file does not hold them."""
    import numpy
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        values, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.kind)]
    except (KeyError, ValueError) as error:
        raise ModelFileError(
            f"{tensor.name} has an unknown form ({tensor.kind})", "use --engine llamacpp"
        ) from error
    count, width = tensor.shape[0], prod(tensor.shape[1:])
    begin, length = contents.data + tensor.offset, count * width // values * size
    if width % values or begin + length > len(data):
        raise ModelFileError(f"{tensor.name} lies beyond the end of the file", "download it again")
    return numpy.frombuffer(data, numpy.uint8, length, begin).reshape(count, -1)


def _deinterleaved(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Undo llama.cpp's order of the rows of queries and keys, in which rotated pairs are neighbours."""
    parts = rows.reshape(heads, -1, 2, rows.shape[1]).swapaxes(1, 2)
    return parts.reshape(rows.shape)
