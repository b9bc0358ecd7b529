"""Whether a model file is the one that it should be, before anything loads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from nl2code_server.errors import ModelFileError, ModelMissing
from nl2code_server.platform import write_private

from .catalog import Located, Model
from .header import Header, read_header

CHUNK = 1 << 20  # bytes


def check(located: Located) -> Header:
    """Check a model file and return what its header says. A file seen before is not hashed again."""
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
    if entry is not None and not _seen(entry, path):
        verify(entry, path)
    return read_header(path)


def verify(model: Model, path: Path, on_bytes: Callable[[int], None] | None = None) -> None:
    """Hash a file and raise `ModelFileError` unless it is the catalog's."""
    size = path.stat().st_size
    if size != model.bytes:
        raise ModelFileError(
            f"{path} has {size} bytes where {model.id} has {model.bytes}",
            f"run: nl2code model pull {model.id}",
        )
    found = sha256_of(path, on_bytes)
    if found != model.sha256:
        forget(path)
        raise ModelFileError(
            f"{path} is not {model.id}: sha256 {found[:12]}… where {model.sha256[:12]}… belongs",
            f"run: nl2code model pull {model.id}",
        )
    remember(model, path)


def remember(model: Model, path: Path) -> None:
    """Note that a file was verified, for as long as nobody touches it."""
    write_private(_stamp_path(path), json.dumps(_stamp(model, path)))


def forget(path: Path) -> None:
    """Drop the note that a file was verified."""
    _stamp_path(path).unlink(missing_ok=True)


def sha256_of(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """Hash a file; `on_bytes` is told how far it is."""
    digest, done = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if on_bytes:
                on_bytes(done)
    return digest.hexdigest()


def megabytes(size: int) -> str:
    """Say a size for people."""
    return f"{size / 1e6:,.0f} MB"


def _seen(model: Model, path: Path) -> bool:
    """Whether this very file, unchanged since, was hashed before."""
    try:
        return bool(json.loads(_stamp_path(path).read_text()) == _stamp(model, path))
    except (OSError, ValueError):
        return False


def _stamp(model: Model, path: Path) -> list[int | str]:
    info = path.stat()
    return [model.sha256, info.st_size, info.st_mtime_ns, info.st_ino, info.st_dev]


def _stamp_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.verified")
