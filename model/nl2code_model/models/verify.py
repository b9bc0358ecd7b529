"""Whether a model file is the one that it should be, before anything loads it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from nl2code_server.errors import ModelFileError, ModelMissing
from nl2code_server.platform import write_private

from .catalog import Located, Model
from .header import Header, read_header

CHUNK = 1 << 20  # bytes


def check(located: Located, file: BinaryIO | None = None) -> Header:
    """Check a model file and return what its header says. A file seen before is not hashed again.

    `file` is the model where it is open already: then that very file is checked, whatever its path names by now.
    """
    path, entry = located.path, located.entry
    if not path.is_file():
        if entry is None:
            raise ModelFileError(f"there is no model file {path}", "give the path of a .gguf file")
        raise ModelMissing(
            f"the model {entry.id} is not on this machine ({megabytes(entry.bytes)})",
            f"run: nl2code model pull {entry.id}",
            model=entry.id,
            size=entry.bytes,
        )
    with nullcontext(file) if file else path.open("rb") as opened:
        if entry is not None and not _seen(entry, path, opened):
            verify(entry, path, file=opened)
        return read_header(path, opened)


def identity(file: BinaryIO) -> tuple[int, ...]:
    """Tell an open file from another, and from itself after a change."""
    info = os.fstat(file.fileno())
    return info.st_size, info.st_mtime_ns, info.st_ino, info.st_dev


def verify(
    model: Model,
    path: Path,
    on_bytes: Callable[[int], None] | None = None,
    file: BinaryIO | None = None,
) -> None:
    """Hash a file and raise `ModelFileError` unless it is the catalog's."""
    with nullcontext(file) if file else path.open("rb") as opened:
        _verify(model, path, opened, on_bytes)


def _verify(model: Model, path: Path, file: BinaryIO, on_bytes: Callable[[int], None] | None) -> None:
    before = identity(file)
    size = before[0]
    if size != model.bytes:
        raise ModelFileError(
            f"{path} has {size} bytes where {model.id} has {model.bytes}",
            f"run: nl2code model pull {model.id}",
        )
    found = _sha256(file, on_bytes)
    if found != model.sha256:
        forget(path)
        raise ModelFileError(
            f"{path} is not {model.id}: sha256 {found[:12]}… where {model.sha256[:12]}… belongs",
            f"run: nl2code model pull {model.id}",
        )
    if identity(file) == before:
        _remember(model, path, file)


def remember(model: Model, path: Path) -> None:
    """Note that a file was verified, for as long as nobody touches it."""
    with path.open("rb") as file:
        _remember(model, path, file)


def _remember(model: Model, path: Path, file: BinaryIO) -> None:
    write_private(_stamp_path(path), json.dumps([model.sha256, *identity(file)]))


def forget(path: Path) -> None:
    """Drop the note that a file was verified."""
    _stamp_path(path).unlink(missing_ok=True)


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Hash a file; `on_bytes` is told how far it is."""
    with path.open("rb") as file:
        return _sha256(file, on_bytes)


def _sha256(file: BinaryIO, on_bytes: Callable[[int], None] | None) -> str:
    digest, done = hashlib.sha256(), 0
    file.seek(0)
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        done += len(chunk)
        if on_bytes:
            on_bytes(done)
    return digest.hexdigest()


def megabytes(size: int) -> str:
    """Say a size for people."""
    return f"{size / 1e6:,.0f} MB"


def _seen(model: Model, path: Path, file: BinaryIO) -> bool:
    """Whether this very file, unchanged since, was hashed before."""
    try:
        return bool(json.loads(_stamp_path(path).read_text()) == [model.sha256, *identity(file)])
    except (OSError, ValueError):
        return False


def _stamp_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")
