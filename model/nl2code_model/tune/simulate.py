"""A programmer that is a program: asks the real server over LSP, and takes what works and is in a certain style.

    NL2CODE_HOME=~/sim python -m nl2code_model.tune.simulate act mbpp.jsonl --events 100 --style annotated
    NL2CODE_HOME=~/sim python -m nl2code_model.tune.simulate measure mbpp.jsonl --skip 100 --limit 60
    python -m nl2code_model.tune.simulate run mbpp.jsonl --into ~/e1

The first fills the feedback log of that home, for `nl2code tune`; prompts never state the style. The second only
looks: one line of JSON for each task, then one with the rates. The third is the whole `experiment`, in a home of its
own; `gate` in the same folder tunes on that log spoilt in three ways too, and tells which of them the gate lets pass.
The same seed gives the same decisions.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nl2code_server.errors import Nl2CodeError

from ..evaluate import measure, tasks
from ..evaluate.client import Editor
from ..evaluate.isolate import Isolation
from ..evaluate.judging import Judge
from ..evaluate.transplant import Case, case

Style = Literal["annotated", "documented", "both", "bare"]
Deed = Literal["accepted", "edited", "rejected", "ignored", "nothing"]
STYLES: tuple[Style, ...] = ("annotated", "documented", "both", "bare")
SECONDS = 240.0
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Habits:
    """What this programmer likes, and how reliably they show it."""

    style: Style = "both"
    flipped: float = 0.08
    """Share of decisions made the wrong way round."""
    ignored: float = 0.2
    """Share of answers left alone."""
    edits: float = 0.5
    """Share of answers that work and lack the style which are taken and mended; the others are turned down."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Looked:
    """What there is to say about one answer."""

    id: str
    offered: bool
    parses: bool
    passed: bool
    style: bool
    deed: Deed
    code: str = ""


class Hand(Editor):
    """An editor whose user also saves, turns down and mends."""

    def reject(self, suggestion: str) -> None:
        """Turn a suggestion down."""
        params = {"command": "nl2code.reject", "arguments": [suggestion, "style"]}
        self._request("workspace/executeCommand", params, 30)

    def write(self, text: str) -> None:
        """Make the file this text."""
        lines = self.text.split("\n")
        end = {"line": len(lines) - 1, "character": self._width(lines[-1])}
        self._edit([{"range": {"start": {"line": 0, "character": 0}, "end": end}, "newText": text}])

    def save(self) -> None:
        """Save the file."""
        self._notify("textDocument/didSave", {"textDocument": {"uri": self.uri}})
        self._request("workspace/executeCommand", {"command": "nl2code.status", "arguments": []}, 30)


# --- style ---


def conforms(code: str, style: Style) -> bool:
    """Say whether all functions of some code are in a style; code without functions is in none."""
    found = functions(code)
    if not found:
        return False
    annotated = all(_is_annotated(one) for one in found)
    documented = all(ast.get_docstring(one) for one in found)
    return {
        "annotated": annotated,
        "documented": documented,
        "both": annotated and documented,
        "bare": not any(_has_hint(one) or ast.get_docstring(one) for one in found),
    }[style]


def mended(code: str, style: Style, sentence: str, examples: Sequence[str] = ()) -> str | None:
    """Return code rewritten to a style: types as the examples show them, a docstring of the request's words."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTIONS):
            _mend(node, style, sentence, _types(node.name, examples))
    made = ast.unparse(tree)
    return made if conforms(made, style) else None


def _mend(
    node: ast.FunctionDef | ast.AsyncFunctionDef, style: Style, sentence: str, types: tuple[list[str], str]
) -> None:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    if style == "bare":
        node.returns = None
        for one in arguments:
            one.annotation = None
        if ast.get_docstring(node) and len(node.body) > 1:
            node.body.pop(0)
    if style in ("annotated", "both"):
        named = [one for one in arguments if one.arg not in ("self", "cls")]
        for number, one in enumerate(named):
            known = types[0][number] if number < len(types[0]) else "object"
            one.annotation = one.annotation or ast.parse(known, mode="eval").body
        node.returns = node.returns or ast.parse(types[1], mode="eval").body
    if style in ("documented", "both") and not ast.get_docstring(node):
        first = sentence.strip().split("\n")[0].split(", e.g.")[0].rstrip(" .")
        node.body.insert(0, ast.Expr(ast.Constant(f"{first[:1].upper()}{first[1:]}.")))


def _types(name: str, examples: Sequence[str]) -> tuple[list[str], str]:
    """Read from asserts which types a function takes and gives."""
    for example in examples:
        try:
            tree = ast.parse(example)
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Call):
                call = node.left
                if isinstance(call.func, ast.Name) and call.func.id == name:
                    return [_type(one) for one in call.args], _type(node.comparators[0])
    return [], "object"


def _type(node: ast.expr) -> str:
    try:
        name = type(ast.literal_eval(node)).__name__
    except (ValueError, TypeError, SyntaxError):
        return "object"
    return "object" if name == "NoneType" else name


def _is_annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return node.returns is not None and all(
        one.annotation for one in arguments if one.arg not in ("self", "cls")
    )


def _has_hint(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return node.returns is not None or any(one.annotation for one in arguments)


def functions(code: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return the functions of some code, methods and nested ones too; none if it does not parse."""
    try:
        return [node for node in ast.walk(ast.parse(code)) if isinstance(node, _FUNCTIONS)]
    except (SyntaxError, ValueError):
        return []


# --- deeds ---


def decide(id: str, habits: Habits, *, passed: bool, style: bool, mendable: bool) -> Deed:
    """Return what the programmer does about an answer: by its merits, with the noise of a person."""
    draw = random.Random(f"{habits.seed}/{id}")  # noqa: S311 - a person, not a secret
    left_alone, flipped, mends = draw.random(), draw.random(), draw.random()
    if left_alone < habits.ignored:
        return "ignored"
    good = passed and style
    if flipped < habits.flipped:
        good = not good
    if good:
        return "accepted"
    return "edited" if passed and mendable and mends < habits.edits else "rejected"


def look(
    hand: Hand, one: Case, folder: Path, isolation: Isolation, habits: Habits | None, style: Style
) -> Looked:
    """Ask about one case, judge the first answer, and do about it what the habits say; nothing without habits."""
    hand.open(folder / f"{one.id.replace('/', '-')}.py", one.text)
    got = hand.suggestion(one.line, SECONDS)
    if got.item is None:
        return Looked(one.id, False, False, False, False, "nothing")
    before = hand.text
    after = hand.take(got.item) if habits is None else _preview(hand, got.item)
    code = _new_part(before, after)
    passed = Judge(one, isolation).file(after).passed
    fits = conforms(code, style)
    better = mended(code, style, Judge(one, isolation).instruction.text, one.tests)
    deed: Deed = "nothing"
    if habits is not None:
        deed = decide(one.id, habits, passed=passed, style=fits, mendable=better is not None)
        _do(hand, deed, got.item, got.suggestion_id, code, better)
    return Looked(one.id, True, measure.parses(after, before), passed, fits, deed, code)


def _do(hand: Hand, deed: Deed, item: dict[str, Any], suggestion: str, code: str, better: str | None) -> None:
    if deed == "rejected":
        hand.reject(suggestion)
    elif deed in ("accepted", "edited"):
        hand.take(item)
        if deed == "edited" and better:
            hand.write(hand.text.replace(code, better))
        hand.save()


def _preview(hand: Hand, item: dict[str, Any]) -> str:
    """Return the file as it would be with an item, which a person sees as ghost text."""
    start, end = (hand._offset(item["range"][side]) for side in ("start", "end"))
    return hand.text[:start] + str(item["insertText"]) + hand.text[end:]


def _new_part(before: str, after: str) -> str:
    """Return what stands in a file that did not before."""
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    start = after.rfind("\n", 0, head) + 1 if head and not after[:head].endswith("\n") else head
    text = after[start : len(after) - tail]
    return text if functions(text) else after[head : len(after) - tail]


def _common(one: str, other: str) -> int:
    """Return how many characters two texts begin with alike."""
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def cases(path: Path | None, *, skip: int, limit: int) -> list[Case]:
    """Return tasks in their files: a public set as published, else our own."""
    found = [case(task) for task in (tasks.read(path) if path else tasks.read())]
    return found[skip : skip + limit] if limit else found[skip:]


def programme(
    chosen: Sequence[Case], habits: Habits | None, style: Style, environment: Mapping[str, str]
) -> Iterator[Looked]:
    """Work through cases with one server, in files of their own; a new one takes its place if it ends."""
    with tempfile.TemporaryDirectory(prefix="nl2code-sim-") as made, Isolation() as isolation:
        folder = Path(made)
        with Hand(environment, folder, folder / "server.log") as hand:
            for one in chosen:
                yield look(hand, one, folder, isolation, habits, style)


def rates(looked: Sequence[Looked]) -> dict[str, Any]:
    """Return the figures: acceptance is style among answers that parse; whether they work stands apart."""
    whole = [one for one in looked if one.offered and one.parses]
    return {
        "tasks": len(looked),
        "offered": sum(one.offered for one in looked),
        "parse": len(whole),
        "style": sum(one.style for one in whole),
        "style_rate": round(sum(one.style for one in whole) / len(whole), 4) if whole else None,
        "passed": sum(one.passed for one in looked),
        "pass_rate": round(sum(one.passed for one in looked) / len(looked), 4) if looked else None,
        "style_of_passing": sum(one.style for one in looked if one.passed),
        "deeds": {
            deed: sum(one.deed == deed for one in looked) for deed in sorted({one.deed for one in looked})
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run as a command: lines of JSON on stdout, the last with the rates."""
    options = _parser().parse_args(arguments)
    try:
        if options.what in ("run", "gate"):
            _experiment(options)
        else:
            _look(options)
    except Nl2CodeError as error:
        sys.exit(f"error: {error}")


def _look(options: argparse.Namespace) -> None:
    habits = Habits(options.style, options.flipped, options.ignored, options.edits, options.seed)
    acts = options.what == "act"
    environment = {**os.environ, **({} if acts else {"NL2CODE_FEEDBACK": "off"})}
    chosen = cases(options.tasks, skip=options.skip, limit=options.events if acts else options.limit)
    looked = []
    for one in programme(chosen, habits if acts else None, options.style, environment):
        looked.append(one)
        print(json.dumps(asdict(one), ensure_ascii=False), flush=True)
    print(json.dumps(rates(looked)))


def _experiment(options: argparse.Namespace) -> None:
    from .experiment import RECIPE, Experiment, Plan

    if options.tasks is None or options.into is None:
        raise Nl2CodeError(f"{options.what} needs a set of tasks and --into FOLDER")
    # Ended by a signal it ends what it has started, as after an error.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    plan = Plan(
        tasks=str(options.tasks.absolute()),
        model=options.model,
        style=options.style,
        events=options.events,
        prompts=options.limit,
        seed=options.seed,
        threads=options.threads,
        recipe=tuple({**RECIPE, **dict(pair.split("=", 1) for pair in options.set)}.items()),
    )
    experiment = Experiment(options.into.absolute(), plan)
    print(json.dumps(experiment.run() if options.what == "run" else experiment.run_gate(), indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nl2code_model.tune.simulate", description=__doc__)
    parser.add_argument("what", choices=("act", "measure", "run", "gate"))
    parser.add_argument(
        "tasks", nargs="?", type=Path, help="MBPP or HumanEval as published; own tasks without it"
    )
    parser.add_argument("--style", choices=STYLES, default="both")
    parser.add_argument("--events", type=int, default=100, help="tasks to work through when acting")
    parser.add_argument("--limit", type=int, default=60, help="tasks to look at when measuring; 0 is all")
    parser.add_argument("--skip", type=int, default=0, help="tasks to pass over at the start of the set")
    for name, default in (("flipped", 0.08), ("ignored", 0.2), ("edits", 0.5)):
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--seed", type=int, default=0)
    run = parser.add_argument_group("run")
    run.add_argument("--into", type=Path, help="folder of the experiment; the same goes on with it")
    run.add_argument("--model", default="auto")
    run.add_argument("--threads", type=int, default=1, help="of the model host and of training")
    run.add_argument("--set", action="append", default=[], metavar="PART.NAME=VALUE", help="of the recipe")
    return parser


if __name__ == "__main__":
    main()
