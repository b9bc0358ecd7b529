"""Everything that depends on the operating system: where files go, file modes, locks, detached processes, limits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs

APP = "nl2code"


@dataclass(frozen=True, slots=True)
class Paths:
    """The user's folders. `NL2CODE_HOME` moves all of them under one folder."""

    config: Path
    data: Path
    cache: Path
    runtime: Path

    @property
    def config_file(self) -> Path:
        """The one configuration file (`NL2CODE_CONFIG` names another)."""
        named = os.environ.get("NL2CODE_CONFIG")
        return Path(named) if named else self.config / "config.toml"

    @property
    def models(self) -> Path:
        """Downloaded model files."""
        return self.cache / "models"

    @property
    def logs(self) -> Path:
        """Logs of detached processes."""
        return self.cache / "logs"


def paths() -> Paths:
    """Return the folders in force. None of them need exist."""
    if home := os.environ.get("NL2CODE_HOME"):
        root = Path(home).expanduser().absolute()
        return Paths(root / "config", root / "data", root / "cache", root / "run")
    dirs = platformdirs.PlatformDirs(APP, appauthor=False)
    return Paths(
        dirs.user_config_path, dirs.user_data_path, dirs.user_cache_path, Path(dirs.user_runtime_dir)
    )
