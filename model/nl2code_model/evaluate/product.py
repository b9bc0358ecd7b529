"""The product under test: the language server in a home of its own, asked as an editor asks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nl2code_server import config
from nl2code_server.config import Settings
from nl2code_server.errors import ConfigError, Nl2CodeError
from nl2code_server.feedback.events import CandidateRow
from nl2code_server.feedback.store import Record as Logged
from nl2code_server.feedback.store import Store
from nl2code_server.platform import paths

from .chat import Model
from .client import Editor, Offered, ServerGone
from .judging import own_imports
from .transplant import Case

# Where the model is and how it runs: as the user has it. All else is the default, or what the arm says.
TAKEN = ("endpoint", "api_key", "model", "engine", "device", "threads", "python")
OURS = ("database", "feedback", "retention_days")
"""Settings that an evaluation needs as they are: it reads the log."""
IDLE_EXIT = 900  # s; the host is stopped at the end, unless we are killed before
LOG_SECONDS = 5.0  # until what happened must be in the feedback log
START_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Result:
    """What the product made of one case."""

    text: str
    """The file after the first offered suggestion was accepted; as it was if there was none."""
    offered: bool
    unasked: bool
    seconds: float
    status: str
    code: str
    raw: str
    """What the model said, of which `code` is a part."""
    model: str
    answers: int
    tokens: int
    """Of all answers."""
    tokens_chosen: int
    """Of the answer that was offered."""
    tokens_offered: int
    """Of these, what became code; see `offered_tokens`."""
    reason: str
    candidates: tuple[CandidateRow, ...] = ()
    """All answers in the order in which they were made; none of a plain chat."""
    chosen: str = ""
    """Id of the one that was offered."""
    runs: tuple[dict[str, Any], ...] = ()
    """The examples that the product says it ran."""


def resolved(given: Mapping[str, str]) -> tuple[Settings, dict[str, str]]:
    """Return the settings of an arm, and the variables that give them to its server."""
    unknown = [name for name in given if name not in config.SETTINGS]
    if unknown:
        raise ConfigError(f"There is no setting {unknown[0]}", "`nl2code config` lists them")
    if fixed := [name for name in given if name in OURS]:
        raise ConfigError(f"{fixed[0]} cannot be chosen here", "The evaluation reads the feedback log")
    user = config.load()
    values = {
        name: str(getattr(user.settings, name)) for name in TAKEN if user.sources[name] != "default"
    } | dict(given)
    variables = {f"NL2CODE_{name.upper()}": value for name, value in values.items()}
    loaded = config.load(environ=variables)
    wrong = [line for line in loaded.problems if any(name.upper() in line or name in line for name in given)]
    if wrong:
        raise ConfigError(wrong[0])
    return loaded.settings, variables


class Product:
    """One configuration of the product. `folder` is a place for its home, its projects and its server's log."""

    def __init__(self, given: Mapping[str, str], folder: Path) -> None:
        self.settings, variables = resolved(given)
        self._home = folder / "home"
        self._work = folder / "work"
        for path in (self._home, self._work):
            path.mkdir(parents=True)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("NL2CODE_")}
        self._environment = {
            **ours,
            "NL2CODE_HOME": str(self._home),
            "NL2CODE_MODELS": str(paths().models),
            "NL2CODE_IDLE_EXIT": str(IDLE_EXIT),
            **variables,
        }
        self._log = folder / "server.log"
        self._editor: Editor | None = None
        self._root = self._work
        self._database = self._home / "data" / "feedback.db"

    def close(self) -> None:
        """End the server, and the model host if it is ours."""
        self._leave()
        if self._records():
            command = [sys.executable, "-m", "nl2code_server.cli", "host", "stop"]
            subprocess.run(command, env=self._environment, capture_output=True, timeout=60, check=False)

    def warm_up(self) -> None:
        """Have the host started and the model loaded, which is not what is timed."""
        self._open(self._work)
        editor = self._editor
        assert editor is not None
        path = self._work / "warm_up.py"
        editor.open(path, "# write a function that adds two numbers\n")
        got = editor.suggestion(0, START_SECONDS)
        if got.item is None:
            raise Nl2CodeError(f"The product offers nothing at all: {got.message or 'no reason given'}")
        self._forget()

    def share_host(self, other: Product) -> None:
        """Let another arm find the host that this one has started; it takes it if it asks for the same model."""
        there = other._home / "run"
        for record in self._records():
            if not (there / record.name).exists():
                there.mkdir(mode=0o700, exist_ok=True)
                shutil.copy(record, there)

    def model(self) -> Model:
        """Return where this arm's model answers."""
        if self.settings.endpoint:
            name = "" if self.settings.model == "auto" else self.settings.model
            return Model(config.base_url(self.settings.endpoint), self.settings.api_key, name)
        records = self._records()
        if not records:
            raise Nl2CodeError("No model host has been started")
        values = json.loads(records[-1].read_text())
        return Model(values["url"], values["token"], "")

    def complete(self, case: Case) -> Result:
        """Open the case, take the first suggestion, and find in the log what it cost."""
        try:
            return self._complete(case)
        except ServerGone as error:
            # The next case gets a new server; this one is counted as it is.
            self._leave()
            return _result(Offered(None, False, 0.0, str(error)), case.text, [])

    def _complete(self, case: Case) -> Result:
        folder = self._work / case.id
        for name, text in case.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        # A project is a workspace of its own; files that stand alone share one.
        self._open(folder if len(case.files) > 1 else self._work)
        editor = self._editor
        assert editor is not None
        started = time.time()
        limit = self.settings.request_timeout + 30.0
        try:
            editor.open(folder / case.target, case.text)
            got = editor.suggestion(case.line, limit)
            text = editor.take(got.item) if got.item else case.text
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        logged = self._logged(started, got)
        if got.item is None and got.seconds >= limit:
            self._leave()  # it still works on this case, and would do so during the next
        self._forget()
        return _result(got, text, logged)

    def _open(self, root: Path) -> None:
        if self._editor is None or root != self._root:
            self._leave()
            self._root = root
            self._editor = Editor(self._environment, root, self._log)

    def _leave(self) -> None:
        editor, self._editor = self._editor, None
        if editor is not None:
            editor.close()

    def _logged(self, started: float, got: Offered) -> list[Logged]:
        """Return the requests that this case made, as soon as they are in the log."""
        end = time.monotonic() + (LOG_SECONDS if got.item else 1.0)
        while True:
            if self._database.exists():
                with Store(self._database) as store:
                    found = list(store.records(since=started))
                wanted = got.suggestion_id
                known = {candidate.candidate_id for one in found for candidate in one.candidates}
                if wanted in known or (not wanted and found):
                    return found
            if time.monotonic() > end:
                return []
            time.sleep(0.02)

    def _forget(self) -> None:
        """Empty the log: no case may learn from another."""
        if self._database.exists():
            with Store(self._database) as store:
                store.purge()

    def _records(self) -> list[Path]:
        return sorted((self._home / "run").glob("host-*.json"))


def offered_tokens(tokens: int, raw: str, code: str) -> int:
    """Return how many of an answer's tokens were offered: in proportion to its characters, blanks aside."""
    said = len("".join(raw.split()))
    return round(tokens * min(1.0, len("".join(code.split())) / said)) if said else 0


def _result(got: Offered, text: str, logged: list[Logged]) -> Result:
    ordered = sorted(logged, key=lambda one: one.request.time)
    candidates = [row for one in ordered for row in sorted(one.candidates, key=lambda row: row.choice_index)]
    chosen = next((one for one in candidates if one.candidate_id == got.suggestion_id), None)
    reasons = [one.request.reason for one in logged if one.request.reason]
    said = reasons[-1] if reasons else got.message
    return Result(
        text=text,
        offered=got.item is not None,
        unasked=got.unasked,
        seconds=round(got.seconds, 3),
        status=chosen.status if chosen else "",
        code=chosen.text if chosen else "",
        raw=chosen.raw if chosen else "",
        model=logged[-1].request.model if logged else "",
        answers=len(candidates),
        tokens=sum(one.n_tokens for one in candidates),
        tokens_chosen=chosen.n_tokens if chosen else 0,
        tokens_offered=_offered(chosen) if chosen else 0,
        reason="" if got.item else said,
        candidates=tuple(candidates),
        chosen=chosen.candidate_id if chosen else "",
        runs=tuple(chosen.examples) if chosen else (),
    )


def _offered(row: CandidateRow) -> int:
    imports = [line for line in own_imports(row.raw) if line not in row.text]
    return offered_tokens(row.n_tokens, row.raw, "\n".join([*imports, row.text]))
