"""The adapters of this machine: versions in folders, one pointer that says which serves, a way back.

A version is written beside, then put in place with one rename; so is the pointer.
Whoever is killed in between leaves the pointer as it was, and what it names whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nl2code_server.errors import HostError
from nl2code_server.platform import lock, paths, private_folder, write_private

from ..host.torch_adapters import CONFIG, WEIGHTS

MANIFEST = "manifest.json"
REPORT = "report.json"
POINTER = "current.json"
FILES = (WEIGHTS, CONFIG)
"""What is taken over of an adapter; nothing else that a library leaves there."""
OPTIONAL = ("adapter.gguf", REPORT)
KEPT = 3
LOCK_TIMEOUT = 30.0  # s
_VERSION = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Version:
    """One adapter."""

    name: str
    folder: Path
    manifest: Mapping[str, Any]
    current: bool


class Registry:
    """The adapters of one model. `on_step` is told before each change of the disk, so that tests can end it there."""

    def __init__(self, model: str, on_step: Step = lambda _: None) -> None:
        self.model = model
        digest = hashlib.sha256(model.encode()).hexdigest()[:12]
        plain = re.sub(r"[^\w.-]+", "-", Path(model).name)[:40]
        self.folder = paths().data / "adapters" / f"{plain}-{digest}"
        self._on_step = on_step

    def versions(self) -> list[Version]:
        """Return what is there, oldest first."""
        current = self.current_name()
        found = [
            Version(folder.name, folder, manifest, folder.name == current)
            for folder in self.folder.glob("*")
            if _VERSION.fullmatch(folder.name) and folder.is_dir() and (manifest := _json(folder / MANIFEST))
        ]
        return sorted(found, key=lambda one: (_made(one), one.name))

    def current(self) -> Version | None:
        """Return what serves; None is the model itself. Raise `HostError` if its files are not what they were."""
        name = self.current_name()
        found = next((one for one in self.versions() if one.name == name), None)
        if found:
            _verify(found)
        return found

    def current_name(self) -> str:
        """Return the name of what serves; empty is the model itself."""
        return str(self._pointer().get("version", ""))

    def add(
        self, adapter: Path, manifest: Mapping[str, Any], extra: Mapping[str, str] | None = None
    ) -> Version:
        """Take an adapter over as a version that does not serve yet. `extra` are texts to write beside, by file."""
        with self._locked():
            self._sweep()
            name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.urandom(2).hex()}"
            beside = self.folder / f".{name}"
            private_folder(beside)
            self._on_step("copy")
            for file in (*FILES, *OPTIONAL):
                if file in FILES or (adapter / file).exists():
                    write_private(beside / file, (adapter / file).read_bytes())
            for file, text in (extra or {}).items():
                write_private(beside / file, text)
            hashes = {
                file: _sha256(beside / file) for file in (*FILES, "adapter.gguf") if (beside / file).exists()
            }
            told = {**manifest, "version": name, "model": self.model, "sha256": hashes, "made": time.time()}
            self._on_step("manifest")
            write_private(beside / MANIFEST, json.dumps(told, indent=1, ensure_ascii=False))
            self._on_step("rename")
            beside.rename(self.folder / name)
            _sync(self.folder)
            return Version(name, self.folder / name, told, False)

    def promote(self, name: str) -> Version:
        """Let a version serve from now on, and forget all but the last three."""
        with self._locked():
            found = self.find(name)
            _verify(found)
            pointer = self._pointer()
            history = [one for one in pointer.get("history", []) if one != name]
            if pointer.get("version", "") != name:
                history.append(pointer.get("version", ""))
            self._point(name, history)
            self._prune()
            return Version(found.name, found.folder, found.manifest, True)

    def rollback(self) -> str:
        """Let the version before serve again; return its name, empty for the model itself."""
        with self._locked():
            pointer = self._pointer()
            if not pointer.get("version"):
                raise HostError(f"no adapter of {self.model} serves", "there is nothing to go back from")
            there = {one.name for one in self.versions()} | {""}
            history = [one for one in pointer.get("history", []) if one in there]
            before = history.pop() if history else ""
            self._point(before, history)
            return before

    def remove(self, name: str) -> None:
        """Delete a version that does not serve."""
        with self._locked():
            found = self.find(name)
            if found.current:
                raise HostError(f"{name} serves", "run: nl2code adapters rollback")
            self._delete(found.folder)

    def find(self, name: str) -> Version:
        """Return the version of this name, or the one whose name begins so."""
        found = [one for one in self.versions() if one.name.startswith(name)] if name else []
        if len(found) != 1:
            what = "no adapter" if not found else "more than one adapter"
            raise HostError(f"{self.model} has {what} {name!r}", "run: nl2code adapters list")
        return found[0]

    # --- the disk ---

    def _pointer(self) -> dict[str, Any]:
        return _json(self.folder / POINTER) or {}

    def _point(self, name: str, history: list[str]) -> None:
        self._on_step("pointer")
        write_private(self.folder / POINTER, json.dumps({"version": name, "history": history[-KEPT:]}))
        _sync(self.folder)

    def _prune(self) -> None:
        """Keep the last three that served, and of the others those made after the oldest of these."""
        pointer = self._pointer()
        served = [one for one in (*pointer.get("history", []), pointer.get("version", "")) if one]
        kept = set(served[-KEPT:])
        versions = self.versions()
        oldest = min((_made(one) for one in versions if one.name in kept), default=0.0)
        for version in versions:
            if version.name not in kept and _made(version) < oldest:
                self._on_step("prune")
                self._delete(version.folder)

    def _delete(self, folder: Path) -> None:
        """Take a version away at once, then its files."""
        gone = folder.with_name(f".gone-{folder.name}")
        folder.rename(gone)
        shutil.rmtree(gone)

    def _sweep(self) -> None:
        """Remove what processes that were killed have left."""
        for leftover in self.folder.glob(".[0-9g]*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)

    def _locked(self) -> Any:
        private_folder(self.folder)
        return lock(self.folder / "registry.lock", timeout=LOCK_TIMEOUT)


def _made(version: Version) -> float:
    return float(version.manifest.get("made", 0.0))


def _verify(version: Version) -> None:
    for file, wanted in version.manifest.get("sha256", {}).items():
        path = version.folder / file
        if not path.is_file() or _sha256(path) != wanted:
            raise HostError(f"{path} is not the file that was promoted", "run: nl2code adapters rollback")


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    """Have a rename survive a power cut, where the system can."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        return
    finally:
        os.close(handle)
