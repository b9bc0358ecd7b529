"""The Python files of a workspace that may be read: inside it, not hidden, not ignored by git, not huge."""

from __future__ import annotations

import logging
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from urllib.parse import unquote, urlsplit

from ..lang.document import Snapshot
from ..lang.ignore import Rule, ignored, rules

log = logging.getLogger(__name__)

LARGEST = 256 * 1024  # bytes of a file that is read
_KEPT = 48  # files in memory
_IGNORE_FILE = 64 * 1024  # bytes
_DRIVE = re.compile(r"^/(?=[A-Za-z]:/)")  # Windows: `/C:/folder` in a URI
_SKIPPED = frozenset({"__pycache__", "site-packages", "node_modules", "venv", "env", "build", "dist"})


def path_of(uri: str) -> Path | None:
    """Return the path that a URI or a path names, links resolved; None for what is no file."""
    if not uri:
        return None
    if "://" in uri or uri.startswith("untitled:"):
        parts = urlsplit(uri)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            return None
        uri = _DRIVE.sub("", unquote(parts.path))
    try:
        return Path(uri).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL
        return None


class Files:
    """The workspace as far as it may be read. One thread at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.opened: Mapping[Path, Snapshot] = {}
        """Texts of open editors, which are newer than the disk."""
        self._read: OrderedDict[Path, tuple[tuple[int, int], Snapshot]] = OrderedDict()
        self._rules: dict[Path, tuple[int, tuple[Rule, ...]]] = {}
        self._in_force: dict[Path, tuple[Rule, ...]] = {}
        self._outer: tuple[tuple[Path, tuple[Rule, ...]], ...] | None = None

    def look_anew(self) -> None:
        """Take notice of ignore files that have changed since the last time."""
        self._in_force.clear()

    def allowed(self, path: Path) -> bool:
        """Say whether a file may be read. `path` must be resolved."""
        if path.suffix != ".py" or not path.is_relative_to(self.root):
            return False
        parts = path.relative_to(self.root).parts
        if any(part.startswith(".") or part in _SKIPPED for part in parts):
            return False
        return not self._ignored(path)

    def snapshot(self, path: Path) -> Snapshot | None:
        """Return a file's text, if it is there, may be read and is UTF-8; `path` may be a link."""
        try:
            real = path.resolve()
            if not self.allowed(real):
                return None
            if real in self.opened:
                return self.opened[real]
            stat = real.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if real in self._read and self._read[real][0] == stamp:
                self._read.move_to_end(real)
                return self._read[real][1]
            source = self._source(real, stat.st_size)
            if source is None:
                return None
            text = source.decode("utf-8")
        except (OSError, RuntimeError, ValueError):  # ValueError: not UTF-8, or a NUL in the name
            return None
        found = Snapshot.from_text(text, uri=real.as_uri())
        self._read[real] = stamp, found
        while len(self._read) > _KEPT:
            self._read.popitem(last=False)
        return found

    def source(self, path: Path) -> bytes | None:
        """Return the text of a file that `walk` gave, without keeping it."""
        try:
            if path in self.opened:
                return self.opened[path].source
            return self._source(path, path.stat().st_size)
        except OSError:
            return None

    def _source(self, path: Path, size: int) -> bytes | None:
        return path.read_bytes() if size <= LARGEST and path.is_file() else None

    def exists(self, path: Path) -> bool:
        """Say whether there is such a file, on disk or in an editor."""
        return path in self.opened or path.is_file()

    def walk(self, *, most: int, seconds: float) -> Iterator[Path]:
        """Yield Python files that may be read, shallow folders first; at most so many, for at most so long."""
        end = monotonic() + seconds
        folders, count = [self.root], 0
        for folder in folders:  # grows as it goes
            if monotonic() > end or len(folders) > most:
                log.info("the workspace is too large to be searched whole")
                return
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                continue
            if any(entry.name == "pyvenv.cfg" for entry in entries):
                continue
            for entry in entries:
                name = entry.name
                if name.startswith(".") or name in _SKIPPED or entry.is_symlink():
                    continue
                path = folder / name
                if entry.is_dir():
                    if not self._ignored(path / "x"):
                        folders.append(path)
                elif name.endswith(".py") and not self._ignored(path):
                    count += 1
                    if count > most:
                        return
                    yield path

    def _ignored(self, path: Path) -> bool:
        """Ask the ignore files from the repository's top (which may be above the workspace) down to the path."""
        files = [(folder, lines) for folder, lines in self._above() if lines]
        top = self._above()[0][0] if self._above() else self.root
        folder = self.root
        chain = [self.root]
        for part in path.relative_to(self.root).parts[:-1]:
            folder = folder / part
            chain.append(folder)
        files += [(one, lines) for one in chain if (lines := self._rules_in(one))]
        if not files:
            return False
        relative = [(_relative(one, top), lines) for one, lines in files]
        return ignored(_relative(path, top), relative)

    def _above(self) -> Sequence[tuple[Path, tuple[Rule, ...]]]:
        """Return the rules above the workspace, if it lies in a repository, outermost first."""
        if self._outer is None:
            chain = [self.root, *self.root.parents]
            top = next((index for index, folder in enumerate(chain) if (folder / ".git").exists()), 0)
            found = [(folder, self._rules_in(folder)) for folder in chain[1 : top + 1]]
            found.append((chain[top], self._read_rules(chain[top] / ".git" / "info" / "exclude")))
            self._outer = tuple(reversed(found))
        return self._outer

    def _rules_in(self, folder: Path) -> tuple[Rule, ...]:
        if folder not in self._in_force:
            self._in_force[folder] = self._newest_rules(folder)
        return self._in_force[folder]

    def _newest_rules(self, folder: Path) -> tuple[Rule, ...]:
        file = folder / ".gitignore"
        try:
            stamp = file.stat().st_mtime_ns
        except OSError:
            return ()
        if folder not in self._rules or self._rules[folder][0] != stamp:
            self._rules[folder] = stamp, self._read_rules(file)
        return self._rules[folder][1]

    def _read_rules(self, file: Path) -> tuple[Rule, ...]:
        try:
            with file.open("rb") as stream:
                return rules(stream.read(_IGNORE_FILE).decode("utf-8", "replace"))
        except OSError:
            return ()


def _relative(path: Path, top: Path) -> str:
    text = path.relative_to(top).as_posix()
    return "" if text == "." else text
