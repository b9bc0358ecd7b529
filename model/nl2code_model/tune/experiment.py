"""The style experiment from an empty log to a table. Killed at any point, it goes on there when started again.

    taskset -c 0 python -m nl2code_model.tune.simulate run mbpp.jsonl --into ~/e1 --model qwen2.5-coder-0.5b

A simulated programmer fills a log; the model is tuned on it, and on the same log with its verdicts shuffled. All are
asked the same tasks, which nobody was asked about before: the model, the model told the style, and both tuned ones.
`run.log` tells what is being done and when it will be over, `result.json` what came of it.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nl2code_server.endpoint import runtime
from nl2code_server.errors import HostError, Nl2CodeError
from nl2code_server.feedback.store import Store
from nl2code_server.platform import lock, paths, private_folder, write_private

from ..evaluate import tasks
from ..evaluate.transplant import Case, case
from ..models.catalog import locate
from . import gate
from .badlogs import BAD
from .registry import Registry
from .results import table
from .simulate import Habits, Looked, Style, programme
from .swap import tell_hosts

SENTENCES: Mapping[Style, str] = {
    "annotated": "Annotate all parameters and the result.",
    "documented": "Write a docstring.",
    "both": "Annotate all parameters and the result, and write a docstring.",
    "bare": "No annotations, no docstring.",
}
"""What says the style, where it is said."""
RECIPE = {
    "training.max_length": "384",
    "training.rank": "8",
    "training.lora_alpha": "16",
    # With so few verdicts pairs teach little, and cost twice a row.
    "training.stages": "sft,kto",
    "training.checkpoint_steps": "2",
    "augmentation.most": "1",
    "training.bfloat16": "true",
    # A docstring on a short function is more than half of it.
    "cuts.rewritten": "0.8",
    "cuts.retained": "0.2",
    # Of a hundred verdicts about forty are for something, and a quarter of these is held out.
    "least.sft": "15",
    "least.held_out": "5",
    "gate.least_held_out": "5",
}
"""What a CPU allows; the rest as everybody's."""
JUDGED = ("accepted", "edited", "rejected")
ASK_SECONDS, TUNE_SECONDS = 6.0, 4200.0
"""Guesses for what has not been seen to run yet: one core, the 0.5B."""
ALIKE = 0.7
"""Jaccard similarity of the words of two tasks from which on they are one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is fixed when the experiment is begun."""

    tasks: str
    model: str = "auto"
    style: Style = "both"
    learn: tuple[int, int] = (601, 974)
    """Numbers of the tasks that the programmer works on, the last one included."""
    held_out: tuple[int, int] = (511, 600)
    events: int = 100
    """Suggestions with a verdict; those left alone come on top."""
    edits: float = 0.8
    """Share of answers that work and lack the style which are mended, see `Habits`."""
    prompts: int = 60
    own: bool = True
    """Whether our own tasks are asked too."""
    gate_tasks: int = 0
    """Own tasks that the gate asks; 0 is all."""
    seed: int = 0
    threads: int = 1
    recipe: tuple[tuple[str, str], ...] = tuple(RECIPE.items())


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the experiment: so many steps, each of about so many seconds."""

    name: str
    kind: str
    steps: int
    run: Callable[[Callable[[int, str], None]], None]
    """Is told what to call with the number of steps done and a word about it."""


class Experiment:
    """One experiment in its folder."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = private_folder(folder)
        self.plan = _agreed(folder / "plan.json", plan)
        self.home = folder / "home"
        self._pace: dict[str, float] = {"ask": ASK_SECONDS, "tune": TUNE_SECONDS}
        every = [case(task) for task in tasks.read(Path(self.plan.tasks))]
        self.asked = within(every, self.plan.held_out)[: self.plan.prompts]
        self.worked = [one for one in within(every, self.plan.learn) if not _one_of(one, self.asked)]
        ours = gate.own_tasks(for_replay=False) if self.plan.own else []
        self.own = [one.case for one in ours if not one.case.project]

    def stages(self) -> list[Stage]:
        """Return all of it, in order."""
        told = [_told(one, SENTENCES[self.plan.style]) for one in self.asked]
        both = [*self.asked, *self.own]
        ask = self._measuring
        return [
            Stage("base", "ask", len(both), lambda tell: ask("base", both, "", tell)),
            Stage("act", "ask", self.plan.events, self._act),
            Stage("told", "ask", len(told), lambda tell: ask("told", told, "", tell)),
            Stage("tune mixed", "tune", 1, lambda tell: self._tune("mixed", tell)),
            Stage("mixed", "ask", len(both), lambda tell: ask("mixed", both, self.version("mixed"), tell)),
            self._spoiling("shuffled"),
            Stage("tune shuffled", "tune", 1, lambda tell: self._tune("shuffled", tell)),
            Stage(
                "shuffled",
                "ask",
                len(both),
                lambda tell: ask("shuffled", both, self.version("shuffled"), tell),
            ),
        ]

    def gate_stages(self) -> list[Stage]:
        """Return what shows whether the gate tells a good log from bad ones."""
        found = [
            Stage("act", "ask", self.plan.events, self._act),
            Stage("tune mixed", "tune", 1, lambda tell: self._tune("mixed", tell)),
        ]
        for name in BAD:
            found.append(self._spoiling(name))
            found.append(Stage(f"tune {name}", "tune", 1, lambda tell, name=name: self._tune(name, tell)))  # type: ignore[misc]
        return found

    def run(self) -> dict[str, Any]:
        """Do what is left to do, and return what came of all of it."""
        return self._through(self.stages(), self.result, "result.json")

    def run_gate(self) -> dict[str, Any]:
        """The same of the gate: what it said of the log, and of what was made of it."""
        return self._through(self.gate_stages(), self.verdicts, "gate.json")

    def verdicts(self) -> dict[str, Any]:
        """Return for each log whether the gate let its adapter pass, and why not."""
        found = {name: self.tuned(name) for name in ("mixed", *BAD)}
        return {
            name: {"passed": told["passed"], "report": told.get("report")}
            for name, told in found.items()
            if told
        }

    def _through(
        self, stages: Sequence[Stage], result: Callable[[], dict[str, Any]], file: str
    ) -> dict[str, Any]:
        try:
            with lock(self.folder / "run.lock", timeout=1.0):
                for number, stage in enumerate(stages):
                    self._run(stage, stages[number + 1 :])
                found = result()
                write_private(self.folder / file, json.dumps(found, indent=1))
                self._log(f"done: {file}")
                return found
        except TimeoutError as error:
            raise HostError(f"{self.folder} is being worked on already", "wait for it, or end it") from error
        finally:
            self._stop_host()

    def result(self) -> dict[str, Any]:
        """Return the figures of what there is so far."""
        names = ("base", "told", "mixed", "shuffled")
        looked = {name: rows for name in names if (rows := self.looked(name))}
        return {
            "plan": asdict(self.plan),
            "log": _deeds(self.looked("act")),
            "conditions": table(looked, {one.id for one in self.asked}, self.plan.style, seed=self.plan.seed),
            "tuned": {name: self.tuned(name) for name in ("mixed", "shuffled") if self.tuned(name)},
        }

    def looked(self, name: str) -> list[Looked]:
        """Return what was written down of a stage."""
        path = self.folder / f"{name}.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [Looked(**json.loads(line)) for line in lines]

    def tuned(self, name: str) -> dict[str, Any]:
        """Return what `nl2code tune` said of a log; empty as long as it has not been run."""
        path = self.folder / f"{name}.tune.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def version(self, name: str) -> str:
        """Return the name of the adapter that was made of a log."""
        return str(self.tuned(name)["version"])

    # --- stages ---

    def _run(self, stage: Stage, later: Sequence[Stage]) -> None:
        began, first, last = time.monotonic(), -1, 0

        def tell(done: int, what: str = "") -> None:
            nonlocal first, last
            first = done if first < 0 else first
            spent = time.monotonic() - began
            if done > first:
                self._pace[stage.kind] = spent / (done - first)
            last = done
            here = (stage.steps - done) * self._pace.get(stage.kind, 0.0)
            rest = here + sum(self._pace.get(one.kind, 0.0) * self._left(one) for one in later)
            left = f"{_minutes(here)} here, {_minutes(rest)} in all"
            self._log(f"{stage.name}: {done} of {stage.steps}{what and f', {what}'}; {left} to go")

        stage.run(tell)

    def _left(self, stage: Stage) -> int:
        if stage.kind == "tune":
            return 0 if self.tuned(stage.name.removeprefix("tune ")) else 1
        return stage.steps - (self._judged() if stage.name == "act" else len(self.looked(stage.name)))

    def _judged(self) -> int:
        return sum(one.deed in JUDGED for one in self.looked("act"))

    def _act(self, tell: Callable[[int, str], None]) -> None:
        tell(self._judged(), "")
        if self._judged() >= self.plan.events:
            return
        habits = Habits(self.plan.style, edits=self.plan.edits, seed=self.plan.seed)
        self._serve("")
        for one in self._ask("act", self.worked, habits):
            tell(self._judged(), one.deed)
            if self._judged() >= self.plan.events:
                break

    def _measuring(
        self, name: str, cases: Sequence[Case], version: str, tell: Callable[[int, str], None]
    ) -> None:
        tell(len(self.looked(name)), "")
        if len(self.looked(name)) < len(cases):
            self._serve(version)
            for _ in self._ask(name, cases, None):
                self._check(version)
                tell(len(self.looked(name)), "")

    def _ask(self, name: str, cases: Sequence[Case], habits: Habits | None) -> Iterator[Looked]:
        """Have every case answered that was not, each written down at once."""
        path = self.folder / f"{name}.jsonl"
        _whole_lines(path)
        there = {one.id for one in self.looked(name)}
        left = [one for one in cases if one.id not in there]
        environment = self.environment("user", log=habits is not None)
        with path.open("a", encoding="utf-8") as file:
            for one in programme(left, habits, self.plan.style, environment):
                file.write(json.dumps(asdict(one), ensure_ascii=False) + "\n")
                file.flush()
                yield one

    def _tune(self, name: str, tell: Callable[[int, str], None]) -> None:
        """Run `nl2code tune` on a log; it goes on by itself where it was killed."""
        if self.tuned(name):
            return
        self._serve("")
        values = [part for name, value in self.plan.recipe for part in ("--set", f"{name}={value}")]
        command = [
            sys.executable,
            "-P",
            "-m",
            "nl2code_server.cli",
            "tune",
            "--no-promote",
            "--json",
            "--tasks",
            str(self.plan.gate_tasks),
            *values,
        ]
        process = subprocess.Popen(
            command,
            env=self.environment(name, log=True),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout and process.stderr
        said = ""
        try:
            for line in process.stderr:
                said = line.strip() or said
                tell(0, line.strip())
            out = process.stdout.read()
        except BaseException:
            process.terminate()  # it ends its training with it
            raise
        finally:
            process.wait(60)
        if not out.strip() and "too little" in said:
            out = json.dumps({"version": "", "passed": False, "report": {"reasons": [said]}})
        if not out.strip():
            raise Nl2CodeError(f"nl2code tune ended with status {process.returncode}: {said}")
        write_private(self.folder / f"{name}.tune.json", out)

    def _spoiling(self, name: str) -> Stage:
        return Stage(f"spoil {name}", "spoil", 1, lambda tell: self._spoil(name, tell))

    def _spoil(self, name: str, tell: Callable[[int, str], None]) -> None:
        """Write the log once more as a bad one."""
        target = self.database(name)
        if not target.exists():
            with Store(self.database("user")) as store:
                records = BAD[name](list(store.records()), random.Random(self.plan.seed))  # noqa: S311
            beside = target.with_name("spoiling.db")
            beside.unlink(missing_ok=True)
            with Store(beside) as store:
                for one in records:
                    store.add([one.request, *one.candidates, *one.events])
            beside.rename(target)
        tell(1, "")

    # --- the product ---

    def database(self, name: str) -> Path:
        """Return where a log is."""
        return self.folder / (f"{name}.db" if name in BAD else "log.db")

    def environment(self, name: str, *, log: bool) -> dict[str, str]:
        """Return what the product is started with: a home of its own, and one greedy answer to each request."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith("NL2CODE_")}
        return {
            **ours,
            "NL2CODE_HOME": str(self.home),
            "NL2CODE_MODELS": str(paths().models),
            "NL2CODE_MODEL": self.plan.model,
            "NL2CODE_THREADS": str(self.plan.threads),
            "NL2CODE_DEVICE": "cpu",
            "NL2CODE_DATABASE": str(self.database(name)),
            "NL2CODE_FEEDBACK": "full" if log else "off",
            # Accepted code in the prompt would show the style, and further answers would hide what the first is like.
            "NL2CODE_CONTEXT": "file",
            "NL2CODE_VERIFY": "false",
            "NL2CODE_REQUEST_TIMEOUT": "240",
            "NL2CODE_IDLE_EXIT": "300",
        }

    def _serve(self, version: str) -> None:
        """Have an adapter serve, or none, whatever did before."""
        with _home(self.home):
            registry = Registry(locate(self.plan.model).id)
            while registry.current_name() and registry.current_name() != version:
                registry.rollback()
            if version and registry.current_name() != version:
                registry.promote(version)
            folder = registry.find(version).folder if version else None
            problems = [told.problem for told in tell_hosts(registry.model, version, folder)]
        if any(problems):
            raise HostError(f"the host does not change over: {problems[0]}", "run: nl2code host stop")

    def _check(self, version: str) -> None:
        """Raise `HostError` if another adapter answered than the one that is measured."""
        with _home(self.home):
            found = {record.adapter for record in runtime.records()}
        if found != {version}:
            raise HostError(
                f"{found or 'no host'} answered, not {version or 'the model itself'}", "start again"
            )

    def _stop_host(self) -> None:
        command = [sys.executable, "-P", "-m", "nl2code_server.cli", "host", "stop"]
        environment = self.environment("user", log=False)
        subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)

    def _log(self, text: str) -> None:
        with (self.folder / "run.log").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")


# --- cases ---


def within(cases: Sequence[Case], numbers: tuple[int, int]) -> list[Case]:
    """Return the tasks with these numbers, the last one included."""
    found = [one for one in cases if numbers[0] <= _number(one) <= numbers[1]]
    if not found:
        raise Nl2CodeError(f"There is no task from {numbers[0]} to {numbers[1]}")
    return found


def _number(one: Case) -> int:
    found = re.search(r"(\d+)$", one.id)
    return int(found[1]) if found else -1


def _one_of(one: Case, others: Sequence[Case]) -> bool:
    """Say whether a task asks in other words for what one of others does."""
    said = _words(one)
    return any(len(said & words) >= ALIKE * len(said | words) for words in map(_words, others))


def _words(one: Case) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", one.text.partition("e.g.")[0].lower()))


def _told(one: Case, sentence: str) -> Case:
    """Return a task whose comment says one sentence more."""
    lines = one.text.split("\n")
    lines.insert(one.line + 1, f"# {sentence}")
    return replace(one, files={**one.files, one.target: "\n".join(lines)}, line=one.line + 1)


# --- the folder ---


def _agreed(path: Path, plan: Plan) -> Plan:
    """Write the plan down, or hold to the one that is there."""
    wanted = json.dumps(asdict(plan), indent=1)
    if not path.exists():
        write_private(path, wanted)
    elif path.read_text() != wanted:
        raise Nl2CodeError(f"{path.parent} was begun with other options", "give those, or another folder")
    return plan


def _whole_lines(path: Path) -> None:
    """Cut off a line that was being written when its process was killed."""
    if path.exists() and not (data := path.read_bytes()).endswith(b"\n"):
        path.write_bytes(data[: data.rfind(b"\n") + 1])


def _deeds(looked: Sequence[Looked]) -> dict[str, int]:
    return {deed: sum(one.deed == deed for one in looked) for deed in sorted({one.deed for one in looked})}


def _minutes(seconds: float) -> str:
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    """Let this process see the folders that the experiment's processes see."""
    names = {"NL2CODE_HOME": str(folder), "NL2CODE_MODELS": str(paths().models)}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
