"""Run cases under several arms, in turn, and keep a record of each: what `nl2code eval` does."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nl2code_server.errors import Nl2CodeError

from . import chat, measure
from .isolate import SECONDS, Isolation
from .product import Product, Result
from .score import Record, key
from .transplant import Case


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
    """Records in a JSONL file, one a line, or in memory alone. What is there already is not done again."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.records: list[Record] = _read(path) if path and path.exists() else []
        self._done = {(one["arm"], *key(one)) for one in self.records}

    def has(self, case: Case, arm: Arm) -> bool:
        """Say whether there is a record of this case under this arm."""
        return (arm.name, case.set, case.id, case.form, case.example) in self._done

    def add(self, record: Record) -> None:
        """Keep a record."""
        self.records.append(record)
        self._done.add((record["arm"], *key(record)))
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def of(self, cases: Iterable[Case], arms: Sequence[Arm]) -> list[Record]:
        """Return the records of these cases under these arms."""
        names = {arm.name for arm in arms}
        wanted = {(case.set, case.id, case.form, case.example) for case in cases}
        return [one for one in self.records if one["arm"] in names and key(one) in wanted]


def _read(path: Path) -> list[Record]:
    """Read records; half a line at the end, from a run that was killed, is taken off the file."""
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    try:
        records: list[Record] = [json.loads(line) for line in whole.splitlines() if line.strip()]
        if any("arm" not in one for one in records):
            raise ValueError("a line is no record")
    except (ValueError, TypeError) as error:
        raise Nl2CodeError(
            f"{path} holds no records of an evaluation: {error}", "Give another path"
        ) from error
    if whole != data:
        path.write_bytes(whole)
    return records


def run(
    cases: Sequence[Case],
    arms: Sequence[Arm],
    results: Results,
    *,
    tell: Callable[[Progress], None] = lambda _: None,
    test_seconds: float = SECONDS,
) -> list[Record]:
    """Run every case under every arm that has no record of it yet; return all records of these cases and arms.

    A baseline asks the model of the first product arm. The arms take turns in going first.
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
        products = _products(arms, folder, stack)
        started, done = time.monotonic(), 0
        for number, case in enumerate(cases):
            for arm in arms if number % 2 == 0 else arms[::-1]:
                if results.has(case, arm):
                    continue
                result = _one(case, arm, products)
                record = judged(case, arm, result, isolation, test_seconds)
                results.add(record)
                done += 1
                left = (time.monotonic() - started) / done * (len(todo) - done)
                tell(Progress(done, len(todo), left, record))
    return results.of(cases, arms)


def _products(arms: Sequence[Arm], folder: Path, stack: ExitStack) -> dict[str, Product]:
    products: dict[str, Product] = {}
    for number, arm in enumerate(arms):
        if arm.baseline:
            continue
        product = Product(arm.settings, folder / str(number))
        stack.callback(product.close)
        for other in products.values():
            other.share_host(product)
        product.warm_up()
        products[arm.name] = product
    if not products:
        raise Nl2CodeError("There is no product among the arms")
    return products


def _one(case: Case, arm: Arm, products: Mapping[str, Product]) -> Result:
    if arm.baseline is None:
        return products[arm.name].complete(case)
    product = next(iter(products.values()))
    settings = product.settings
    message = chat.question(case, arm.baseline)
    answer = chat.ask(
        product.model(), message, max_tokens=settings.max_tokens, seconds=settings.request_timeout
    )
    code = chat.block(answer.text)
    text = chat.into_file(case, answer.text) if code else case.text
    share = len(code) / len(answer.text) if answer.text else 0.0
    return Result(
        text=text,
        offered=bool(code),
        unasked=False,
        seconds=round(answer.seconds, 3),
        status="",
        code=code,
        raw=answer.text,
        model=answer.model,
        answers=1,
        tokens=answer.tokens,
        tokens_offered=round(answer.tokens * share),
        reason="" if code else "no code in the answer",
    )


def judged(case: Case, arm: Arm, result: Result, isolation: Isolation, seconds: float = SECONDS) -> Record:
    """Run the hidden tests on a result and make its record."""
    before, after = case.text, result.text
    verdicts: tuple[str, ...] = ()
    walls = ""
    if result.offered:
        files = {**case.files, case.target: runnable(case, after)}
        verdict = isolation.run(files, tests(case, after), seconds=seconds)
        verdicts, walls = verdict.reasons, verdict.walls
    hidden = verdicts[case.shown :] if case.shown < len(case.tests) else None
    failed = [reason for reason in verdicts if reason]
    passed = bool(verdicts) and not failed
    record: dict[str, Any] = {
        "set": case.set,
        "id": case.id,
        "form": case.form,
        "example": case.example,
        "arm": arm.name,
        "kind": case.kind,
        "natural_language": case.natural_language,
        "project": case.project,
        "tags": list(case.tags),
        "model": result.model,
        "offered": result.offered,
        "unasked": result.unasked,
        "status": result.status,
        "parses": result.offered and measure.parses(after, before),
        "passed": passed,
        "tests": [not reason for reason in verdicts],
        "hidden": None if hidden is None else bool(hidden) and not any(hidden),
        "undefined": measure.undefined_names(before, after) if result.offered else [],
        "invented": measure.invented(case.files, case.target, after) if result.offered else [],
        "annotated": _annotated(case, before, after) if result.offered else None,
        "answers": result.answers,
        "tokens": result.tokens,
        "tokens_offered": result.tokens_offered,
        "seconds": result.seconds,
        "code": result.code,
        "raw": result.raw,
        "why": failed[0] if failed else result.reason,
        "walls": walls,
    }
    return record


def runnable(case: Case, text: str) -> str:
    """Return the file as the tests import it: without the error that has nothing to do with the task."""
    return text.replace(case.broken, "", 1) if case.broken else text


def tests(case: Case, after: str) -> list[str]:
    """Return the tests of a case as programs of their own: `target` and `new` are theirs to use."""
    setup = case.setup
    if not setup:
        name = measure.the_new_one(case.text, after)
        found = f"target.{name}" if name else "None"
        setup = f"import importlib\ntarget = importlib.import_module({case.module!r})\nnew = {found}"
    return [f"{setup}\n{test}" for test in case.tests]


def _annotated(case: Case, before: str, after: str) -> bool | None:
    return measure.annotated(before, after) if "annotated" in case.tags else None
