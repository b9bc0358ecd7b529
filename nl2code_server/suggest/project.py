"""The user's project: which file an import means, what is defined where, which line imports it. Reads, never runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from ..lang.document import Snapshot
from ..lang.imports import Import, imports
from ..lang.names import well_known
from ..lang.relevant import Module, alluded, spoken_of
from ..lang.signatures import symbols
from ..lang.similar import features
from .files import Files

MOST_FILES = 2000
MOST_BYTES = 16 << 20
MOST_SECONDS = 2.0
FRESH_SECONDS = 5.0
"""For so long the list of names is not made anew."""
_MOST_MODULES = 24
_MOST_SPOKEN_OF = 6

_PUBLIC = re.compile(
    rb"^(?:(?:async[ \t]+)?(?P<kind>def|class)[ \t]+(?P<name>[^\W\d_]\w*)"
    rb"|(?P<constant>[A-Z][A-Z0-9_]+)[ \t]*[:=](?!=))",
    re.MULTILINE,
)
_PROGRAM = re.compile(r"(?:test_.*|.*_test|conftest|setup|manage|noxfile|__main__)\Z")


@dataclass(frozen=True, slots=True)
class Defined:
    """Where a public name is defined."""

    path: Path
    is_class: bool


@dataclass(frozen=True, slots=True)
class Index:
    """The public names of all modules of a project, by name."""

    names: Mapping[str, tuple[Defined, ...]] = field(default_factory=dict)
    by_words: Mapping[frozenset[str], tuple[str, ...]] = field(default_factory=dict)
    """Classes by the words of their names, and functions whose names have several."""
    packages: frozenset[str] = frozenset()
    """Names of its folders and modules: any of them may be what Python is started beside."""


class Project:
    """One workspace folder. One thread at a time."""

    def __init__(self, root: Path) -> None:
        self.files = Files(root)
        self._index: Index | None = None
        self._made = float("-inf")
        self._known: dict[Path, tuple[tuple[int, int], tuple[tuple[str, bool], ...]]] = {}
        self._roots: dict[Path, Path] = {}

    def modules(self, file: Path, snapshot: Snapshot) -> dict[str, Snapshot]:
        """Return the modules that a file imports, by the name in its import statement, then those that these import.

        The latter go by their absolute name, and so does what a package's `__init__` takes from its own modules.
        """
        self._look_anew()
        found: dict[str, Snapshot] = {}
        paths: dict[Path, Snapshot] = {}
        for name, path in self._imported(file, snapshot):
            if len(found) < _MOST_MODULES and name not in found and (module := self.files.snapshot(path)):
                found[name] = paths[path] = module
        for inner_file, module in list(paths.items()):
            for name, path in self._imported(inner_file, module):
                absolute = name if not name.startswith(".") else self.module_name(path, inner_file)
                if path in paths or path == file or absolute in found or len(found) >= _MOST_MODULES:
                    continue
                if inner := self.files.snapshot(path):
                    found[absolute] = paths[path] = inner
        return found

    def index(self) -> Index:
        """Return the public names of the project; what has not changed on disk is not read again."""
        if self._index is None or monotonic() - self._made > FRESH_SECONDS:
            self._look_anew()
            self._index = self._make_index()
            self._made = monotonic()
        return self._index

    def definitions(self, file: Path, snapshot: Snapshot, index: Index) -> dict[str, str]:
        """Return, for each public name that one module alone can be meant to give, the line that imports it here.

        Of several modules, one that the file imports already is meant. Such a one also goes before the standard
        library.
        """
        near = {path for _, path in self._imported(file, snapshot)}
        relative = _writes_relative(snapshot)
        tests = _is_test(file)
        lines: dict[Path, str] = {}
        found = {}
        for name, places in index.names.items():
            outside = [
                one.path for one in places if one.path != file and (tests or not _is_program(one.path))
            ]
            here = [path for path in outside if path in near]
            choice = here if here else outside
            if len(choice) == 1 and (here or not well_known(name)):
                if choice[0] not in lines:
                    lines[choice[0]] = self.import_name(choice[0], file, relative=relative)
                found[name] = f"from {lines[choice[0]]} import {name}"
        sources = self._sources(file)
        for path in self._known:
            if (
                path.parent in sources
                and path != file
                and not _is_program(path)
                and not well_known(path.stem)
            ):
                found.setdefault(path.stem, f"import {path.stem}")
        return found

    def spoken_of(self, file: Path, snapshot: Snapshot, instruction: str, index: Index) -> list[Module]:
        """Return the modules that a file does not import and an instruction speaks of, by name or in other words."""
        near = {path for _, path in self._imported(file, snapshot)}
        own = {symbol.name for symbol in symbols(snapshot)}
        names = [*sorted(spoken_of(instruction, index.names)), *alluded(instruction, index.by_words)]
        relative, tests = _writes_relative(snapshot), _is_test(file)
        wanted: dict[Path, list[str]] = {}
        for name in dict.fromkeys(names):
            places = [one.path for one in index.names[name] if one.path != file]
            places = [path for path in places if tests or not _is_program(path)]
            if len(places) == 1 and places[0] not in near and name not in own:
                wanted.setdefault(places[0], []).append(name)
        found = []
        for path, some in list(wanted.items())[:_MOST_SPOKEN_OF]:
            if module := self.files.snapshot(path):
                found.append(Module(self.import_name(path, file, relative=relative), tuple(some), module))
        return found

    def import_name(self, path: Path, file: Path, *, relative: bool) -> str:
        """Return the name under which a module is imported in a file."""
        top = self._package_root(file.parent)
        if relative and top != file.parent and path.is_relative_to(top / file.relative_to(top).parts[0]):
            return _relative_name(path, file)
        return self.module_name(path, file)

    def module_name(self, path: Path, file: Path) -> str:
        """Return a module's absolute name as seen from a file."""
        source = next(one for one in self._sources(file, path) if path.is_relative_to(one))
        parts = path.relative_to(source).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    def _imported(self, file: Path, snapshot: Snapshot) -> Iterator[tuple[str, Path]]:
        """Yield the modules of the project that a file imports, by the name that it gives them."""
        for one in imports(snapshot):
            yield from self._resolved(file, one)

    def _resolved(self, file: Path, one: Import) -> Iterator[tuple[str, Path]]:
        level = len(one.module) - len(one.module.lstrip("."))
        parts = [part for part in one.module.lstrip(".").split(".") if part]
        if level:
            base = file.parent
            for _ in range(level - 1):
                base = base.parent
            bases: Iterable[Path] = [base]
        else:
            bases = self._sources(file)
        for base in bases:
            if not base.is_relative_to(self.files.root):
                continue
            # `from package import module` names a module too.
            inner = [
                (f"{one.module}{'' if one.module.endswith('.') else '.'}{member}", path)
                for member, _ in one.names
                if (path := self._file(base, [*parts, member]))
            ]
            own = self._file(base, parts) if parts else self._file(base.parent, [base.name])
            if own and own != file:
                yield one.module, own
            yield from (pair for pair in inner if pair[1] != file)
            if own or inner:
                return

    def _file(self, base: Path, parts: list[str]) -> Path | None:
        if not all(part.isidentifier() for part in parts):
            return None
        whole = base.joinpath(*parts)
        for path in (whole / "__init__.py", whole.with_name(f"{whole.name}.py")):
            if self.files.exists(path):
                return path
        return None

    def _sources(self, *files: Path) -> list[Path]:
        """Return the folders that Python would search: that of a file's package, `src`, the workspace."""
        root = self.files.root
        folders = [self._package_root(file.parent) for file in files]
        if (root / "src").is_dir() and not (root / "src" / "__init__.py").exists():
            folders.append(root / "src")
        folders.append(root)
        return [one for one in dict.fromkeys(folders) if one.is_relative_to(root)]

    def _look_anew(self) -> None:
        self.files.look_anew()
        self._roots.clear()

    def _package_root(self, folder: Path) -> Path:
        """Return the folder that holds the outermost package around a folder; itself if it is no package."""
        if folder not in self._roots:
            root = folder
            while (root / "__init__.py").is_file() and root.parent != root:
                root = root.parent
            self._roots[folder] = root
        return self._roots[folder]

    def _make_index(self) -> Index:
        names: dict[str, list[Defined]] = {}
        packages: set[str] = set()
        known: dict[Path, tuple[tuple[int, int], tuple[tuple[str, bool], ...]]] = {}
        left, end = MOST_BYTES, monotonic() + MOST_SECONDS
        for path in self.files.walk(most=MOST_FILES, seconds=MOST_SECONDS):
            try:
                stat = path.stat()
            except OSError:
                continue
            stamp = (stat.st_mtime_ns, stat.st_size)
            opened = path in self.files.opened
            if path in self._known and self._known[path][0] == stamp and not opened:
                known[path] = self._known[path]
            elif (source := self.files.source(path)) is not None:
                left -= len(source)
                known[path] = (stamp if not opened else (0, 0)), tuple(_public(source))
            else:
                continue
            for name, is_class in known[path][1]:
                names.setdefault(name, []).append(Defined(path, is_class))
            packages.update(part.removesuffix(".py") for part in path.relative_to(self.files.root).parts)
            if left < 0 or monotonic() > end:
                break
        self._known = known
        by_words: dict[frozenset[str], list[str]] = {}
        for name, places in names.items():
            words = features(name)
            if len(words) > 1 or any(place.is_class for place in places):
                by_words.setdefault(words, []).append(name)
        return Index(
            {name: tuple(places) for name, places in names.items()},
            {words: tuple(some) for words, some in by_words.items() if words},
            frozenset(packages),
        )


def _public(source: bytes) -> Iterator[tuple[str, bool]]:
    seen: set[str] = set()
    for match in _PUBLIC.finditer(source):
        name = (match["name"] or match["constant"]).decode("utf-8", "replace")
        if name not in seen:
            seen.add(name)
            yield name, match["kind"] == b"class"


def _relative_name(path: Path, file: Path) -> str:
    """Return a module's name relative to the package of a file."""
    parts = list(path.with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    base = list(file.parent.parts)
    common = 0
    while common < min(len(parts), len(base)) and parts[common] == base[common]:
        common += 1
    return "." * (len(base) - common + 1) + ".".join(parts[common:])


def _writes_relative(snapshot: Snapshot) -> bool:
    found = [one.module.startswith(".") for one in imports(snapshot)]
    return any(found)


def _is_program(path: Path) -> bool:
    return bool(_PROGRAM.match(path.stem)) or "tests" in path.parts[-4:-1]


def _is_test(path: Path) -> bool:
    return path.stem.startswith("test_") or path.stem == "conftest" or "tests" in path.parts[-4:-1]
