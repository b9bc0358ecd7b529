"""One run of tuning from data to a version that serves or is refused. Killed, it goes on where it was."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from nl2code_server.errors import HostError, Nl2CodeError
from nl2code_server.platform import end_group, lock, paths, private_folder, write_private

from ..host.engine import Engine
from ..models.source import find, read_json
from . import export, gate, lora_gguf, plan, replay
from .compare import Verdict
from .dataset import Dataset
from .recipe import Recipe
from .registry import REPORT, Registry, Version
from .rows import fingerprint
from .speak import speaking
from .swap import Told, tell_hosts
from .train import PROGRESS, QUIET, RESULT, Task

FORMAT = 1
POLL = 0.5  # s
ADDED = "added"
"""Names the version that a run has put into the registry."""
LOG_LINES = 5

Tell = Callable[[Mapping[str, Any]], None]
"""Hears what is being done: `{"doing": text}`, or a line of training with `stage`, `step`, `loss`, `seconds_left`."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is made, beside its recipe."""

    model: str
    engine: str = "auto"
    """What answers for the gate: the engine that would serve."""
    device: str = "auto"
    threads: int = 0
    processes: int = 1
    promote: bool = True
    task_limit: int = 0
    """Tasks that the gate asks; 0 is all."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to."""

    version: str
    passed: bool
    promoted: bool
    verdict: Verdict
    manifest: dict[str, Any]
    hosts: tuple[Told, ...] = ()


def tune(data: Dataset, recipe: Recipe, options: Options, tell: Tell = lambda _: None) -> Outcome:
    """Train, compare, and promote what is better; raise `Nl2CodeError` where there is too little to learn from."""
    if lacking := plan.missing(data, recipe):
        raise Nl2CodeError(
            f"There is too little to learn from: {'; '.join(lacking)}", "run: nl2code tune --dry-run"
        )
    require_libraries()
    root = paths().data / "tune"
    private_folder(root)
    try:
        with lock(root / "tune.lock", timeout=1.0):
            return _tune(data, recipe, options, tell, root)
    except TimeoutError as error:
        raise HostError("another run of nl2code tune is under way", "wait for it, or end it") from error


def require_libraries() -> None:
    """Raise `HostError` where what training needs is not installed."""
    for name in ("trl", "peft", "datasets"):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError as error:
            raise HostError(
                f"training needs {name}, which is not installed", 'run: pip install "nl2code[tune]"'
            ) from error


def _tune(data: Dataset, recipe: Recipe, options: Options, tell: Tell, root: Path) -> Outcome:
    source = find(options.model, lambda text: tell({"doing": text}))
    registry = Registry(source.id)
    stages = tuple(step.stage for step in plan.steps(data, recipe) if step.runs)
    if _is_seq2seq(source.config):
        stages = tuple(stage for stage in stages if stage == "sft")
    if not stages:
        raise Nl2CodeError("No stage has enough rows for this model", "run: nl2code tune --dry-run")
    task = Task(options.model, options.device, stages, recipe, options.threads)
    folder = _folder(root, task, data, source.id, source.parameters)
    result = _trained(folder, task, data, recipe, options, registry, tell)
    adapter = folder / str(result["adapter"])
    if lora_gguf.convertible(source.config):
        lora_gguf.write(adapter, dict(source.config), adapter / lora_gguf.FILE)
    else:
        options = replace(options, engine="torch")  # the only one that can serve it
    version, verdict = _added(folder, registry)
    if version is None or verdict is None:
        serving = registry.current()
        tell({"doing": "comparing with what serves"})
        verdict = asyncio.run(_compared(registry, adapter, folder, data, recipe, options, tell))
        manifest = {
            "format": FORMAT,
            "base": {"id": source.id, "parameters": source.parameters, "dtype": source.dtype},
            "before": serving.name if serving else "",
            "recipe": recipe.as_json(),
            "data": data.manifest(),
            "training": result,
            "options": asdict(options),
            "gate_passed": verdict.passed,
        }
        version = registry.add(adapter, manifest, {REPORT: json.dumps(verdict.report, indent=1)})
        write_private(folder / ADDED, version.name)
    hosts: list[Told] = []
    promoted = verdict.passed and options.promote
    if promoted:
        registry.promote(version.name)
        hosts = tell_hosts(source.id, version.name, version.folder)
    shutil.rmtree(folder)  # it holds the user's text; what was learnt is in the adapter
    return Outcome(version.name, verdict.passed, promoted, verdict, dict(version.manifest), tuple(hosts))


def _added(folder: Path, registry: Registry) -> tuple[Version | None, Verdict | None]:
    """Return the version that this run had added before it was killed, and what the gate said of it."""
    try:
        version = registry.find((folder / ADDED).read_text())
        report = read_json(version.folder / REPORT)
    except (OSError, Nl2CodeError):
        return None, None
    return version, Verdict(report["passed"], tuple(report["reasons"]), report)


def _folder(root: Path, task: Task, data: Dataset, model: str, parameters: int) -> Path:
    """Return this run's folder, that of a run which was killed if it was the same; give up all others."""
    key = fingerprint([FORMAT, model, parameters, data.hash, task.stages, task.recipe.as_json()])[:16]
    folder = root / f"run-{key}"
    for other in root.glob("run-*"):
        if other != folder:
            shutil.rmtree(other)
    private_folder(folder)
    return folder


def _trained(
    folder: Path, task: Task, data: Dataset, recipe: Recipe, options: Options, registry: Registry, tell: Tell
) -> dict[str, Any]:
    if not (folder / RESULT).exists():
        if not (folder / "run.json").exists():
            export.write(data, folder)
            asyncio.run(_add_replay(folder, data, recipe, options, registry, tell))
            task.write(folder)  # last: a folder without it is begun anew
        train(folder, options.processes, tell)
    return read_json(folder / RESULT)


async def _add_replay(
    folder: Path, data: Dataset, recipe: Recipe, options: Options, registry: Registry, tell: Tell
) -> None:
    count = replay.wanted(len(data.learn), recipe.training.replay_share)
    if not count:
        return
    private_folder(registry.folder)
    async with _speaker(options) as engine:
        own = await replay.rows(engine, registry.folder, count, tell=lambda text: tell({"doing": text}))
    table = export.read(folder / "sft.jsonl")
    step = max(1, len(table) // max(1, len(own)))
    for number, row in enumerate(own):
        table.insert(min(len(table), number * (step + 1)), export.sft(row))
    write_private(folder / "sft.jsonl", export.lines(table))


async def _compared(
    registry: Registry,
    adapter: Path,
    folder: Path,
    data: Dataset,
    recipe: Recipe,
    options: Options,
    tell: Tell,
) -> Verdict:
    serving = registry.current()
    before = (serving.name, serving.folder) if serving else ("", None)
    async with _speaker(options) as engine:
        return await gate.compare(
            engine,
            before,
            ("new", adapter),
            data.held_out,
            recipe.gate,
            folder=folder,
            own=registry.folder,
            task_limit=options.task_limit,
            tell=lambda text: tell({"doing": text}),
        )


def _speaker(options: Options) -> AbstractAsyncContextManager[Engine]:
    return speaking(options.model, engine=options.engine, device=options.device, threads=options.threads)


def train(folder: Path, processes: int = 1, tell: Tell = lambda _: None) -> None:
    """Run the training process, or several by accelerate; raise `HostError` with its last words if it fails."""
    module = ["-m", "nl2code_model.tune.train", str(folder), str(os.getpid())]
    command = [sys.executable, "-P", *module]
    if processes > 1:
        command = [sys.executable, "-P", *_launcher(folder, processes), *module]
    log = folder / "train.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **QUIET},
            start_new_session=True,
        )
    lines = _follow(folder / PROGRESS)
    try:
        while True:
            ended = process.poll() is not None
            for line in lines:
                if line is None:
                    break
                tell(line)
            if ended:
                break
            time.sleep(POLL)
    except BaseException:
        end_group(process.pid, force=True)
        process.wait()
        raise
    if process.returncode:
        words = log.read_text(errors="replace").strip().splitlines()[-LOG_LINES:]
        said = next((one.removeprefix("error: ") for one in reversed(words) if one.startswith("error: ")), "")
        raise HostError(
            f"training ended with status {process.returncode}: {said or (words or ['it said nothing'])[-1]}",
            f"the log is {log}; the next run goes on where this one was",
        )


def _launcher(folder: Path, processes: int) -> list[str]:
    """Return what starts several processes: accelerate, and torch's own where accelerate would want MPI."""
    if Task.read(folder).device == "cpu":
        return ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    count = ["--num_processes", str(processes), "--num_machines", "1"]
    plain = ["--mixed_precision", "no", "--dynamo_backend", "no"]
    return ["-m", "accelerate.commands.launch", "--multi_gpu", *count, *plain]


def _follow(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield lines as they come, and None where there is none yet; lines of earlier processes are passed over."""
    at = path.stat().st_size if path.exists() else 0
    while True:
        if path.exists():
            with path.open("rb") as file:
                file.seek(at)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    at += len(line)
                    yield json.loads(line)
        yield None


def _is_seq2seq(config: Mapping[str, Any]) -> bool:
    return bool(config.get("is_encoder_decoder"))
