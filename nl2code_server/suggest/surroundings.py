"""What is around a job: modules of its project, environment, what was accepted. Read off the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..config import Settings
from ..feedback.identity import project_id
from ..lang.context import Around
from ..lang.document import Snapshot
from ..lang.quotes import preferred
from ..lang.relevant import Module
from ..lang.similar import Snippet
from ..lang.versions import Version
from . import Job, Known
from .accepted import all_accepted, similar_accepted
from .environment import STANDARD, installed, required_python, virtual_environment
from .files import path_of
from .project import Project

log = logging.getLogger(__name__)

PATIENCE = 0.25  # s; what has not been read by then is there for the next request
_LAST_WAIT = 2.5  # s; at the end, for what is still being read

T = TypeVar("T")
Opened = Callable[[], Mapping[str, Snapshot]]


@dataclass(frozen=True, slots=True)
class _Near:
    modules: Mapping[str, Snapshot]
    python: Version | None
    environment: Path | None
    installed: frozenset[str] | None
    quotes: str


@dataclass(frozen=True, slots=True)
class _Wide:
    definitions: Mapping[str, str]
    others: tuple[Module, ...]
    packages: frozenset[str]


class Surroundings:
    """Reads what is around the jobs of one session. `opened` gives the texts of open editors by URI."""

    def __init__(self, settings: Settings, project: str, database: Path | None, opened: Opened) -> None:
        self._settings = settings
        self._root = path_of(project)
        if self._root is not None and not self._root.is_dir():
            self._root = None
        self._project = project
        self._database = database
        self._opened = opened
        # Two of them: the list of all names takes its time in a large workspace, what is imported does not.
        self._near = Project(self._root) if self._root else None
        self._wide = Project(self._root) if self._root else None
        self._near_turn, self._wide_turn = threading.Lock(), threading.Lock()
        self._installed: tuple[Path, float, frozenset[str] | None] | None = None
        self._reading: set[asyncio.Task[object]] = set()

    async def of(self, job: Job) -> tuple[Job, Around]:
        """Return a job with what is known around it, and what of that the model may see."""
        if self._settings.context == "none":
            return job, Around()
        file = path_of(job.snapshot.uri)
        if (
            self._near is None
            or self._wide is None
            or file is None
            or not file.is_relative_to(self._near.files.root)
        ):
            quotes = await asyncio.to_thread(lambda: preferred(job.snapshot.tree))
            return replace(job, known=Known(quotes=quotes, importable=STANDARD)), Around()
        opened = _by_path(self._opened()) if self._settings.context == "project" else {}
        near = self._start(self._read_near, file, job, opened)
        wide = self._start(self._read_wide, file, job, opened)
        accepted = self._start(self._read_accepted, job)
        copied = self._start(self._read_all_accepted)
        await asyncio.wait([near, wide, accepted, copied], timeout=PATIENCE)
        job = replace(job, accepted=_result(copied) or ())
        return self._put_together(job, _result(near), _result(wide), _result(accepted))

    async def close(self) -> None:
        """Wait for what is being read: threads cannot be stopped."""
        if self._reading:
            await asyncio.wait(set(self._reading), timeout=_LAST_WAIT)

    def _put_together(
        self, job: Job, near: _Near | None, wide: _Wide | None, accepted: list[Snippet] | None
    ) -> tuple[Job, Around]:
        modules = dict(near.modules) if near else {}
        for module in wide.others if wide else ():
            modules.setdefault(module.name, module.snapshot)
        known = Known(quotes=near.quotes if near else "")
        if near and wide:
            known = replace(
                known,
                python=near.python,
                environment=str(near.environment) if near.installed is not None else "",
                importable=STANDARD | (near.installed or frozenset()) | wide.packages,
                definitions=wide.definitions,
            )
        around = Around(
            modules=near.modules if near else {},
            others=wide.others if wide else (),
            accepted=accepted or (),
            python=near.python if near else None,
        )
        shown = {one.code: None for one in around.accepted}
        accepted_code = tuple(shown | dict.fromkeys(job.accepted))
        return replace(job, modules=modules, known=known, accepted=accepted_code), around

    # --- in threads -----------------------------------------------------------------------------------------------

    def _read_near(self, file: Path, job: Job, opened: Mapping[Path, Snapshot]) -> _Near:
        project, root = self._near, self._root
        assert project and root
        with self._near_turn:
            project.files.opened = opened
            modules = project.modules(file, job.snapshot) if self._settings.context == "project" else {}
            environment = virtual_environment(file, root)
            names, quotes = self._names_in(environment), preferred(job.snapshot.tree)
            return _Near(modules, required_python(file, root), environment, names, quotes)

    def _read_wide(self, file: Path, job: Job, opened: Mapping[Path, Snapshot]) -> _Wide:
        project = self._wide
        assert project
        with self._wide_turn:
            project.files.opened = opened
            index = project.index()
            if self._settings.context != "project":
                return _Wide({}, (), index.packages)
            definitions = project.definitions(file, job.snapshot, index)
            others = project.spoken_of(file, job.snapshot, job.instruction.text, index)
            return _Wide(definitions, tuple(others), index.packages)

    def _read_accepted(self, job: Job) -> list[Snippet]:
        if self._database is None or self._settings.feedback != "full" or self._settings.context != "project":
            return []
        return similar_accepted(self._database, project_id(self._project), job.instruction.text)

    def _read_all_accepted(self) -> tuple[str, ...]:
        if self._database is None or self._settings.feedback != "full":
            return ()
        return all_accepted(self._database)

    def _names_in(self, environment: Path | None) -> frozenset[str] | None:
        """Return what is installed in an environment; it is read again when a package came or went."""
        if environment is None:
            return None
        folders = [*environment.glob("lib*/python3*/site-packages"), environment / "Lib" / "site-packages"]
        stamp = max((folder.stat().st_mtime for folder in folders if folder.is_dir()), default=0.0)
        if self._installed is None or self._installed[:2] != (environment, stamp):
            self._installed = environment, stamp, installed(environment)
        return self._installed[2]

    def _start(self, work: Callable[..., T], *arguments: object) -> asyncio.Task[T]:
        task = asyncio.create_task(asyncio.to_thread(partial(work, *arguments)))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)
        return task


def _result(task: asyncio.Task[T]) -> T | None:
    """Return what was read; nothing yet if it takes longer, and nothing but a line in the log if it went wrong."""
    if not task.done():
        task.add_done_callback(_told)
        return None
    return None if _told(task) else task.result()


def _told(task: asyncio.Task[T]) -> bool:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("what is around the file could not be read", exc_info=error)
        return True
    return task.cancelled()


def _by_path(opened: Mapping[str, Snapshot]) -> dict[Path, Snapshot]:
    found = {path_of(uri): snapshot for uri, snapshot in opened.items()}
    return {path: snapshot for path, snapshot in found.items() if path is not None}
