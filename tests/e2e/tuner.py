"""A process that tunes in forks of itself, each of which kills itself at another step: libraries are loaded once.

Lines on stdin name the step, an empty one none; what became of the fork is a line of JSON on stdout.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nl2code_model.tune import dataset, registry, run, stages, trainers
from nl2code_model.tune import train as training
from nl2code_model.tune.recipe import Recipe, recipe_of
from nl2code_model.tune.swap import tell_hosts
from nl2code_server.feedback.log import database
from nl2code_server.platform import write_private

STEPS = ("rows", "sft 3", "gate", "rename", "added", "pointer", "swap")
"""Where a run can be killed, in order: each later fork comes past those before."""


def main(model: str, recipe: Recipe) -> None:
    """Tune for every line that comes."""
    assert trainers and stages
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print there
    for line in sys.stdin:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            with os.fdopen(write, "w") as out:
                try:
                    json.dump(tune(model, recipe, line.strip()), out)
                except Exception as error:
                    json.dump({"error": repr(error)}, out)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as told:
            said = told.read()
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"signal": status & 0x7F, **json.loads(said or "{}")}), file=answers, flush=True)


def tune(model: str, recipe: Recipe, at: str) -> dict[str, Any]:
    """Tune as the command does, training in this process, and die at a step."""

    def step(name: str) -> None:
        if name == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def train(folder: Path, processes: int, tell: Callable[[Mapping[str, Any]], None]) -> None:
        step("rows")
        training.run(folder)

    def tell(line: Mapping[str, Any]) -> None:
        if str(line.get("doing", "")).startswith("asking the new adapter"):
            step("gate")

    class Dying(registry.Registry):
        """The registry, as it is told what it does."""

        def __init__(self, model: str) -> None:
            super().__init__(model, step)

    class Telling(stages.Progress):
        """Progress, likewise."""

        def on_log(self, args: Any, state: Any, control: Any, **told: Any) -> None:
            super().on_log(args, state, control, **told)
            step(f"{self._stage} {state.global_step}")

    def told(*of: Any) -> Any:
        step("swap")
        return tell_hosts(*of)

    def added(path: Path, data: str | bytes) -> None:
        if path.name == run.ADDED:
            step("added")
        write_private(path, data)

    patches: dict[Any, dict[str, Any]] = {
        run: {"train": train, "Registry": Dying, "tell_hosts": told, "write_private": added},
        stages: {"Progress": Telling},
    }
    for module, values in patches.items():
        for name, value in values.items():
            setattr(module, name, value)
    from nl2code_server import config

    data = dataset.build(dataset.read_log(database(config.load().settings)), recipe)
    options = run.Options(model=model, device="cpu", threads=1, task_limit=1)
    outcome = run.tune(data, recipe, options, tell)
    return {
        "version": outcome.version,
        "promoted": outcome.promoted,
        "report": outcome.verdict.report,
        "problems": [one.problem for one in outcome.hosts],
        "sft": data.counts()["sft"],
        "held_out": len(data.held_out),
        "resumed_at": outcome.manifest["training"]["stages"]["sft"]["resumed_at"],
    }


if __name__ == "__main__":
    main(sys.argv[1], recipe_of(json.loads(sys.argv[2])))
