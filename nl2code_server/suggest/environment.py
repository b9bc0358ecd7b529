"""The Python that a project runs on: oldest version, packages. Found by reading folders, nothing is run."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..lang.versions import Version, lowest

_NAMES = (".venv", "venv", "env")
_LONGEST = 256 * 1024  # bytes of a file that is read
_MOST_PATHS = 20  # lines of `.pth` files that are followed

STANDARD = frozenset(sys.stdlib_module_names) | {"__future__"}


def folders_above(file: Path, root: Path) -> list[Path]:
    """Return the folders from a file's own up to the workspace, if it is in there."""
    if not file.is_relative_to(root):
        return []
    return [folder for folder in file.parents if folder.is_relative_to(root)]


def required_python(file: Path, root: Path) -> Version | None:
    """Return the oldest Python that the nearest `pyproject.toml` lets in, if it says."""
    for folder in folders_above(file, root):
        path = folder / "pyproject.toml"
        if path.is_file() and path.resolve().is_relative_to(root):
            return lowest(_specifier(_toml(path)))
    return None


def virtual_environment(file: Path, root: Path) -> Path | None:
    """Return the activated virtual environment, else the one nearest to a file in its workspace."""
    activated = os.environ.get("VIRTUAL_ENV", "")
    here = [Path(activated)] if activated else []
    here += [folder / name for folder in folders_above(file, root) for name in _NAMES]
    return next((path for path in here if (path / "pyvenv.cfg").is_file()), None)


def installed(environment: Path) -> frozenset[str] | None:
    """Return the top-level names that can be imported in an environment, if that can be told."""
    if re.search(r"(?im)^include-system-site-packages\s*=\s*true", _text(environment / "pyvenv.cfg")):
        return None
    folders = [*environment.glob("lib*/python3*/site-packages"), environment / "Lib" / "site-packages"]
    return frozenset(name for folder in folders if folder.is_dir() for name in _names(folder))


def _names(folder: Path) -> Iterator[str]:
    paths: list[str] = []
    for entry in _entries(folder):
        name = entry.name
        if name.endswith(".dist-info"):
            yield from _text(folder / name / "top_level.txt").split()
            # An editable install leaves nothing else; most are imported by the name of their distribution.
            yield re.sub(r"[-.]", "_", name.partition("-")[0])
        elif name.endswith(".egg-link"):
            paths += _text(folder / name).splitlines()[:1]
        elif name.endswith(".pth"):
            paths += [
                line for line in _text(folder / name).splitlines() if not line.startswith(("import", "#"))
            ]
        elif (top := name.partition(".")[0]).isidentifier():
            yield top
    for path in paths[:_MOST_PATHS]:
        for entry in _entries(folder / path.strip()):
            if (top := entry.name.partition(".")[0]).isidentifier():
                yield top


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (OSError, ValueError):
        return []


def _specifier(values: dict[str, Any]) -> str:
    """Return what a project says of its Python, in either of the two customary places."""
    project, tool = values.get("project"), values.get("tool")
    said: Any = project.get("requires-python") if isinstance(project, dict) else None
    for name in ("poetry", "dependencies", "python"):
        tool = tool.get(name) if isinstance(tool, dict) else None
    said = said or tool
    return said if isinstance(said, str) else ""


def _toml(path: Path) -> dict[str, Any]:
    import tomllib  # many projects say nothing

    try:
        return tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError:
        return {}


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return ""
