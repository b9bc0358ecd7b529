"""What the commands that make suggestions share: settings, a suggester, the feedback log, a missing model."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.syntax import Syntax

from .. import config
from ..errors import ModelMissing, Nl2CodeError
from ..feedback.events import EventKind, EventRow
from ..feedback.identity import new_id
from ..feedback.log import FeedbackLog, database
from ..lang.document import Snapshot
from ..suggest import Job, Outcome, Suggestion
from ..suggest.pipeline import Suggester
from ..suggest.verdict import grounds
from ..suggest.warn import told

errors = Console(stderr=True, highlight=False)


@dataclass(slots=True)
class Session:
    """One command's run."""

    suggester: Suggester
    feedback: FeedbackLog
    on_stage: Callable[[str], None] = lambda _: None
    """Told what is being done: the host's start, and the stages of a suggestion."""

    async def suggest(self, job: Job, *, on_text: Callable[[str], None] | None = None) -> Outcome:
        """Make suggestions; fetch the model first if it is not on this machine."""
        try:
            return await self.suggester.suggest(job, on_stage=self.on_stage, on_text=on_text)
        except ModelMissing as missing:
            await _pull(self.suggester.settings, missing)
        return await self.suggester.suggest(job, on_stage=self.on_stage, on_text=on_text)

    def event(self, kind: EventKind, suggestion: Suggestion, **details: Any) -> None:
        """Log what happened to a suggestion in front of the person at this terminal."""
        self.feedback.record_event(
            EventRow(
                event=kind,
                suggestion_id=suggestion.id,
                request_id=suggestion.request_id,
                source="client",
                time=time.time(),
                **details,
            )
        )


@asynccontextmanager
async def session(**flags: Any) -> AsyncIterator[Session]:
    """Open a session with the settings in force; problems with them are told on stderr."""
    loaded = config.load(flags=flags)
    for problem in loaded.problems:
        errors.print(f"[yellow]warning:[/] {problem}", markup=True)
    settings = loaded.settings
    feedback = FeedbackLog(
        database(settings),
        level=settings.feedback,
        redact=settings.redact,
        retention_days=settings.retention_days,
        encrypt=settings.encrypt,
        on_problem=lambda text: errors.print(f"[yellow]warning:[/] {text}"),
    )
    suggester = Suggester(
        settings,
        feedback,
        session_id=new_id(),
        project=str(Path.cwd()),
        on_status=lambda text: current.on_stage(text),  # noqa: PLW0108 - what it is may change
    )
    current = Session(suggester, feedback)
    try:
        yield current
    finally:
        await suggester.close()
        await feedback.close()


def read_file(path: Path) -> Snapshot:
    """Read a Python file as it is, line endings and all."""
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise Nl2CodeError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Nl2CodeError(f"{path} is not UTF-8 text", "Convert it, or use the editor") from error
    return Snapshot.from_text(text, uri=path.absolute().as_uri())


def print_code(code: str, language: str = "python") -> None:
    """Print code: highlighted in a terminal, as it is into a pipe or file."""
    if sys.stdout.isatty():
        Console().print(Syntax(code, language, theme="ansi_dark", background_color="default"))
    else:
        sys.stdout.write(code if code.endswith("\n") else code + "\n")
        sys.stdout.flush()


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Give the form that `write --json` and `complete --json` print."""
    return {
        "candidates": [
            {
                "id": suggestion.id,
                "text": whole(suggestion),
                "status": suggestion.status,
                "examples": [
                    {"call": run.call, "expected": run.expected, "got": run.got, "ok": run.ok}
                    for run in suggestion.examples
                ],
                "imports": list(suggestion.imports),
                "warnings": list(told(suggestion)),
            }
            for suggestion in outcome.suggestions
        ],
        "model": outcome.model,
        "seconds": outcome.seconds,
        "tokens": outcome.tokens,
        "reason": outcome.reason,
    }


def whole(suggestion: Suggestion) -> str:
    """Return the code of a suggestion with its imports in front."""
    parts = ["\n".join(suggestion.imports), suggestion.code]
    return "\n\n\n".join(part for part in parts if part) + "\n"


def verdict(suggestion: Suggestion) -> str:
    """Say in one line what is known of a suggestion, with console markup."""
    colour = {"verified": "green", "valid": "cyan", "failed": "red"}[suggestion.status]
    return f"[{colour}]{suggestion.status}[/]: {escape(grounds(suggestion))}"


async def _pull(settings: config.Settings, missing: ModelMissing) -> None:
    """Fetch a model with a progress bar on stderr."""
    from ..endpoint.process import pull_model

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    errors.print(f"The model {missing.model} is not on this machine yet: fetching it once.")
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(missing.model, total=missing.size or None)
        await pull_model(
            settings,
            missing.model,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
