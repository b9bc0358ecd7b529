"""Run cases under several arms, in turn, and keep a record of each: what `nl2code eval` does."""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nl2code_server.errors import Nl2CodeError

from . import chat, conditions, measure
from .isolate import SECONDS, Isolation
from .judging import Found, Judge
from .product import Product, Result, offered_tokens
from .score import Record, key
from .transplant import Case

PATIENCE = 4
"""How many times the product's own limit of time a plain chat may take, which sends its answer as a whole."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One of the contestants. Its name stands in the records."""

    baseline: chat.Baseline | None = None
    """None is the product."""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called."""
        return " ".join([self.baseline or "nl2code", *(f"{k}={v}" for k, v in sorted(self.settings.items()))])


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    done: int
    total: int
    seconds_left: float
    record: Record


class Results:
    """Records in a JSONL file, one a line, or in memory alone. What is there already is not done again.

    `earlier` are files of other runs, which are read and left alone.
    """

    def __init__(self, path: Path | None, earlier: Iterable[Path] = ()) -> None:
        self._path = path
        files = [*earlier, *([path] if path and path.exists() else [])]
        # Of a task that was done again, because it has been changed since, the last record counts.
        self._done = {
            (one["arm"], *key(one)): one for file in files for one in _read(file, whole=file != path)
        }

    def has(self, case: Case, arm: Arm) -> bool:
        """Say whether there is a record of this case, as it is now, under this arm."""
        found = self._done.get((arm.name, *_key(case)))
        return found is not None and found.get("task") in (None, case.fingerprint)

    def add(self, record: Record) -> None:
        """Keep a record."""
        self._done[(record["arm"], *key(record))] = record
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def of(self, cases: Iterable[Case], arms: Sequence[Arm]) -> list[Record]:
        """Return the records of these cases under these arms."""
        names = [(arm.name, *_key(case)) for case in cases for arm in arms]
        return [self._done[name] for name in names if name in self._done]


def _key(case: Case) -> tuple[str, str, str, bool]:
    return case.set, case.id, case.form, case.example


def _read(path: Path, *, whole: bool) -> list[Record]:
    """Read records; half a line at the end, from a run that was killed, is taken off a file that is not `whole`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Nl2CodeError(f"{path} cannot be read: {error.strerror or error}") from error
    lines = data[: data.rfind(b"\n") + 1]
    try:
        records: list[Record] = [json.loads(line) for line in lines.splitlines() if line.strip()]
        if any("arm" not in one for one in records):
            raise ValueError("a line is no record")
    except (ValueError, TypeError) as error:
        raise Nl2CodeError(
            f"{path} holds no records of an evaluation: {error}", "Give another path"
        ) from error
    if lines != data and not whole:
        path.write_bytes(lines)
    return records


def run(
    cases: Sequence[Case],
    arms: Sequence[Arm],
    results: Results,
    *,
    host: Mapping[str, str] | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
    test_seconds: float = SECONDS,
) -> list[Record]:
    """Run every case under every arm that has no record of it yet; return all records of these cases and arms.

    A baseline asks the model of the first product arm; where there is none, the one that settings `host` lead to.
    The arms take turns in going first.
    """
    todo = [(case, arm) for case in cases for arm in arms if not results.has(case, arm)]
    if not todo:
        return results.of(cases, arms)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="nl2code-eval-", ignore_cleanup_errors=True)
            )
        )
        isolation = stack.enter_context(Isolation())
        # What has all its records need not be started, unless it leads to the model.
        unfinished = {arm.name for _, arm in todo}
        asks = any(arm.baseline for _, arm in todo)
        ours = [arm for arm in arms if arm.baseline is None] or [Arm(settings=host or {})]
        wanted = [arm for arm in ours if arm.name in unfinished or (asks and arm is ours[0])]
        products = _products(wanted, unfinished, folder, stack)
        run_id, started, done = secrets.token_hex(4), time.monotonic(), 0
        for number, case in enumerate(cases):
            for arm in arms if number % 2 == 0 else arms[::-1]:
                if results.has(case, arm):
                    continue
                product = products.get(arm.name) or next(iter(products.values()))
                under, began = conditions.now(product.settings, run_id), time.monotonic()
                result = _plain(case, arm.baseline, product) if arm.baseline else product.complete(case)
                record = judged(case, arm, result, isolation, test_seconds)
                took = round(time.monotonic() - began, 3)
                results.add({**record, "took": took, "conditions": under})
                done += 1
                left = (time.monotonic() - started) / done * (len(todo) - done)
                tell(Progress(done, len(todo), left, record))
    return results.of(cases, arms)


def _products(
    arms: Sequence[Arm], asked: Container[str], folder: Path, stack: ExitStack
) -> dict[str, Product]:
    products: dict[str, Product] = {}
    for number, arm in enumerate(arms):
        product = Product(arm.settings, folder / str(number))
        stack.callback(product.close)
        for other in products.values():
            other.share_host(product)
        if arm.name in asked or not product.settings.endpoint:
            product.warm_up()
        products[arm.name] = product
    return products


def _plain(case: Case, baseline: chat.Baseline, product: Product) -> Result:
    """Ask the product's model without the product."""
    settings = product.settings
    message = chat.question(case, baseline)
    limit = PATIENCE * settings.request_timeout
    try:
        answer = chat.ask(product.model(), message, max_tokens=settings.max_tokens, seconds=limit)
    except chat.NoAnswer as error:
        return Result(
            case.text, False, False, limit, "", "", "", product.model().name, 0, 0, 0, 0, str(error)
        )
    code = chat.block(answer.text)
    return Result(
        text=chat.into_file(case, answer.text) if code else case.text,
        offered=bool(code),
        unasked=False,
        seconds=round(answer.seconds, 3),
        status="",
        code=code,
        raw=answer.text,
        model=answer.model,
        answers=1,
        tokens=answer.tokens,
        tokens_chosen=answer.tokens,
        tokens_offered=offered_tokens(answer.tokens, answer.text, code),
        reason="" if code else "no code in the answer",
    )


def judged(case: Case, arm: Arm, result: Result, isolation: Isolation, seconds: float = SECONDS) -> Record:
    """Run the hidden tests on a result and on every candidate behind it, and make its record."""
    before, after = case.text, result.text
    judge = Judge(case, isolation, seconds)
    found = judge.file(after) if result.offered else Found(shown=case.shown)
    failed = [reason for reason in found.reasons if reason]
    hidden = case.shown < len(case.tests)
    record: dict[str, Any] = {
        "set": case.set,
        "id": case.id,
        "form": case.form,
        "example": case.example,
        "arm": arm.name,
        "task": case.fingerprint,
        "kind": case.kind,
        "natural_language": case.natural_language,
        "project": case.project,
        "tags": list(case.tags),
        "model": result.model,
        "offered": result.offered,
        "unasked": result.unasked,
        "status": result.status,
        "parses": result.offered and measure.parses(after, before),
        "passed": found.passed,
        "tests": [not reason for reason in found.reasons],
        "hidden": found.hidden if hidden else None,
        "holds": judge.holds(after, result.runs) if result.offered else None,
        "undefined": measure.undefined_names(before, after) if result.offered else [],
        "invented": measure.invented(case.files, case.target, after) if result.offered else [],
        "annotated": _annotated(case, before, after) if result.offered else None,
        "answers": result.answers,
        "tokens": result.tokens,
        "tokens_chosen": result.tokens_chosen,
        "tokens_offered": result.tokens_offered,
        "seconds": result.seconds,
        "code": result.code,
        "raw": result.raw,
        "why": failed[0] if failed else result.reason,
        "walls": found.walls,
    }
    if arm.baseline is None:
        record["candidates"] = judge.candidates(result.candidates, result.chosen, after)
        record["rebuilt"] = _is_rebuilt(judge, result)
    return record


def _is_rebuilt(judge: Judge, result: Result) -> bool | None:
    """Say whether what we put into the file for a candidate is what the server did put there."""
    chosen = next((one for one in result.candidates if one.candidate_id == result.chosen), None)
    return judge.accepted(chosen) == result.text if chosen else None


def _annotated(case: Case, before: str, after: str) -> bool | None:
    return measure.annotated(before, after) if "annotated" in case.tags else None
