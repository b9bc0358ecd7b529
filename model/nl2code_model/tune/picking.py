"""Whether a learned ranking picks better among several answers than what there is: the figures behind its use.

    python -m nl2code_model.tune.picking mbpp.jsonl --into ~/e2 --model qwen2.5-coder-0.5b

Several answers to each task are drawn, run, and judged by a simulated programmer, with noise where it is learnt from
and without where it is measured. Killed, it goes on where it was; the figures are a line of JSON each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from nl2code_server.errors import Nl2CodeError
from nl2code_server.feedback.events import CandidateRow
from nl2code_server.lang.prompt import restore
from nl2code_server.lang.traits import traits
from nl2code_server.lang.unit import extract
from nl2code_server.platform import private_folder

from ..evaluate import tasks
from ..evaluate.isolate import Isolation
from ..evaluate.judging import Judge
from ..evaluate.transplant import Case, case
from ..host.engine import Chunk, Engine, Generation, Message
from .compare import lower_bound
from .experiment import within
from .prompts import situation
from .rerank import Example, area, fit, learn
from .rows import Asked
from .simulate import STYLES, Style, conforms
from .speak import speaking

ANSWERS, TEMPERATURE, MAX_TOKENS = 4, 0.8, 256
FLIPPED = 0.08
SIZES = (50, 100, 200)
SHUFFLES = 20
FILE = "answers.jsonl"


@dataclass(frozen=True, slots=True)
class Drawn:
    """One answer to a task."""

    task: str
    code: str
    mean_logprob: float | None
    passed: bool


async def draw(
    cases: Sequence[Case], engine: Engine, path: Path, tell: Callable[[int], None] = lambda _: None
) -> None:
    """Draw answers to the tasks that have none yet, and write them down with what their tests say."""
    done = {one.task for one in drawn(path)}
    with Isolation() as isolation, path.open("a", encoding="utf-8") as file:
        for number, one in enumerate(cases):
            found = situation(one.text, one.line)
            if one.id not in done and found:
                said = await _answers(engine, found.asked(one.id))
                judge = Judge(one, isolation)
                rows = [[one.id, code, logprob, _passes(judge, code)] for code, logprob in said]
                file.write(json.dumps(rows, ensure_ascii=False) + "\n")
                file.flush()
            tell(number + 1)


def drawn(path: Path) -> list[Drawn]:
    """Return what was drawn; a line that was being written is cut off, so that its task is drawn again."""
    if not path.exists():
        return []
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        path.write_bytes(data := data[: data.rfind(b"\n") + 1])
    return [Drawn(*row) for line in data.decode().splitlines() for row in json.loads(line)]


def figures(
    answers: Sequence[Drawn], held_out: set[str], style: Style, *, seed: int = 0
) -> Iterable[dict[str, Any]]:
    """Yield the figures for each size of the log: what is learnt from so many requests, and how well it picks."""
    draw = random.Random(seed)  # noqa: S311 - a person
    judged = {one: one.passed and conforms(one.code, style) for one in answers}
    train = [one for one in answers if one.task not in held_out]
    held = [one for one in answers if one.task in held_out]
    order = list(dict.fromkeys(one.task for one in train))
    noisy = {one: judged[one] != (draw.random() < FLIPPED) for one in train}
    clean = [_example(one, judged[one]) for one in held]
    for size in [*(size for size in SIZES if size < len(order)), len(order)]:
        some = set(order[:size])
        given = [_example(one, noisy[one]) for one in train if one.task in some]
        _, report = learn([*given, *clean], held_out)
        yield {"requests": size, **report, **_picked(given, held, judged, draw, seed)}


def _picked(
    given: Sequence[Example],
    held: Sequence[Drawn],
    judged: Mapping[Drawn, bool],
    draw: random.Random,
    seed: int,
) -> dict[str, Any]:
    """Compare what each way of picking gets taken, on requests that have answers of both kinds or of one."""
    if len({one.taken for one in given}) < 2:
        return {}
    ranking = fit(given)
    requests = [[one for one in held if one.task == task] for task in dict.fromkeys(one.task for one in held)]
    scores: dict[str, Callable[[Drawn], float]] = {
        "learned": lambda one: ranking.score(_example(one, False)),
        "logprob": lambda one: -10.0 if one.mean_logprob is None else one.mean_logprob,
        "shortest": lambda one: -len(one.code),
    }
    picks = {name: [judged[max(some, key=score)] for some in requests] for name, score in scores.items()}
    best = max(("logprob", "shortest"), key=lambda name: fmean(picks[name]))
    gains = [int(one) - int(other) for one, other in zip(picks["learned"], picks[best], strict=True)]
    examples = [_example(one, judged[one]) for one in held]
    shuffled = []
    for _ in range(SHUFFLES):
        verdicts = [one.taken for one in given]
        draw.shuffle(verdicts)
        wrong = fit([replace(one, taken=taken) for one, taken in zip(given, verdicts, strict=True)])
        shuffled.append(area([(wrong.score(one), one.taken) for one in examples]))
    return {
        "picked": {name: round(fmean(taken), 4) for name, taken in picks.items()},
        "random": round(fmean([fmean([judged[one] for one in some]) for some in requests]), 4),
        "oracle": round(fmean([any(judged[one] for one in some) for some in requests]), 4),
        "gain_over_best": {
            "of": best,
            "mean": round(fmean(gains), 4),
            "lower": round(lower_bound(gains, confidence=0.95, draws=4000, seed=seed), 4),
        },
        "with_length": round(
            _spearman([ranking.score(one) for one in examples], [len(one.code) for one in held]), 4
        ),
        "shuffled_auc": round(fmean(shuffled), 4),
    }


def _example(one: Drawn, taken: bool) -> Example:
    return Example(one.task, traits(one.code, one.mean_logprob, greedy=False), taken)


def _spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the correlation of ranks."""
    first, second = _ranks(one), _ranks(other)
    middle = (len(first) - 1) / 2
    above = sum((a - middle) * (b - middle) for a, b in zip(first, second, strict=True))
    below = (sum((a - middle) ** 2 for a in first) * sum((b - middle) ** 2 for b in second)) ** 0.5
    return above / below if below else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the place of each value, ties in the middle of theirs."""
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values)):
        places.setdefault(value, []).append(place)
    return [fmean(places[value]) for value in values]


async def _answers(engine: Engine, asked: Asked) -> list[tuple[str, float | None]]:
    """Draw answers, each with the mean log-probability of its tokens; those without code are left out."""
    prefill = asked.prefill if engine.prefill else ""
    generation = Generation(
        tuple(Message(role, content) for role, content in asked.messages),  # type: ignore[arg-type]
        prefill=prefill,
        max_tokens=MAX_TOKENS,
        temperature=TEMPERATURE,
        top_p=0.95,
        seed=0,
        stop=("\n```",),
        n=ANSWERS,
        logprobs=True,
    )
    texts, sums, tokens = [""] * ANSWERS, [0.0] * ANSWERS, [0] * ANSWERS
    async for chunk in engine.generate(generation):
        if isinstance(chunk, Chunk):
            texts[chunk.index] += chunk.text
            sums[chunk.index] += chunk.logprob or 0.0
            tokens[chunk.index] += chunk.tokens
    found = []
    for text, total, count in zip(texts, sums, tokens, strict=True):
        unit = extract(restore(text), asked.frame, prefilled=bool(prefill))
        if unit and unit.code:
            code = "\n\n\n".join(part for part in ("\n".join(unit.imports), unit.code) if part)
            found.append((code, total / count if count else None))
    return found


def _passes(judge: Judge, code: str) -> bool:
    row = CandidateRow(
        candidate_id="c", request_id="r", choice_index=0, rank=0, n_candidates=1, raw=code, text=code, status="valid"
    )  # fmt: skip
    return judge.file(judge.accepted(row)).passed


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(prog="python -m nl2code_model.tune.picking", description=__doc__)
    parser.add_argument("tasks", type=Path, help="MBPP as published")
    parser.add_argument(
        "--into", type=Path, required=True, help="folder of the answers; the same goes on with them"
    )
    parser.add_argument("--model", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--style", choices=STYLES, default="annotated")
    parser.add_argument(
        "--learn", type=int, nargs=2, default=(701, 974), help="numbers of tasks to learn from"
    )
    parser.add_argument("--held-out", type=int, nargs=2, default=(511, 700))
    parser.add_argument("--limit", type=int, default=200, help="tasks of each")
    options = parser.parse_args(arguments)
    try:
        every = [case(task) for task in tasks.read(options.tasks)]
        held = within(every, tuple(options.held_out))[: options.limit]
        new = within(every, tuple(options.learn))[: options.limit]
        path = private_folder(options.into.absolute()) / FILE
        asyncio.run(_draw([*new, *held], options, path))
        for line in figures(drawn(path), {one.id for one in held}, options.style):
            print(json.dumps(line), flush=True)
    except Nl2CodeError as error:
        sys.exit(f"error: {error}")


async def _draw(cases: Sequence[Case], options: argparse.Namespace, path: Path) -> None:
    there = {one.task for one in drawn(path)}
    if all(one.id in there for one in cases):
        return
    async with speaking(options.model, device="cpu", threads=options.threads) as engine:
        await draw(cases, engine, path, lambda n: print(f"{n} of {len(cases)}", file=sys.stderr, flush=True))


if __name__ == "__main__":
    main()
