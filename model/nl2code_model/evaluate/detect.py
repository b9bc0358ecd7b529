"""Measure the detector of instructions: what fires in files that ask for nothing, and which requests it misses."""

from __future__ import annotations

import csv
import gzip
import json
import sys
import sysconfig
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nl2code_server.errors import Nl2CodeError
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import Attention, find
from nl2code_server.lang.instruction.comments import blocks

SHIPPED = Path(__file__).with_name("instructions")
ATTENTIONS: tuple[Attention, ...] = ("none", "cursor")
PLACES = {
    "module": "import os\n\n\n{}\n\n\ndef main():\n    return os.getcwd()\n",
    "end": "import os\n\n\n{}\n",
    "class": "class Order:\n    def __init__(self, rows):\n        self.rows = rows\n\n{}\n\n    def show(self):\n"
    "        print(self.rows)\n",
    "body": "def main(rows):\n    total = 0\n\n{}\n\n    return total\n",
    "placeholder": "def main(rows):\n    for row in rows:\n{}\n        pass\n",
    "code": "def main(rows):\n    total = 0\n{}\n    total = len(rows)\n    return total\n",
}
"""Files with a hole for a comment. In all but `code` the place below it is empty."""
_INDENTS = {"class": 4, "body": 4, "placeholder": 8, "code": 4}


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that is taken for a request."""

    file: str
    line: int
    """From 1."""
    text: str
    kind: str


@dataclass(slots=True)
class Folder:
    """What was found in the files of one folder."""

    name: str
    files: int = 0
    skipped: int = 0
    """Files that are no text that Python could read."""
    own_line: int = 0
    """Blocks of comments on lines of their own."""
    fired: int = 0
    """Those of them that fire unasked, alone or as part of a stub."""
    at_cursor: int = 0
    """Those that fire while the cursor rests at their end."""
    bare_stubs: int = 0
    """Stubs that fire without a comment of their own: by docstring, or for having no body at all."""
    hits: list[Hit] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Request:
    """A comment that asks for code, and where in a file it would stand."""

    text: str
    place: str = "module"


def folders(paths: Iterable[Path]) -> dict[str, Path]:
    """Return what to read by name: the paths, or the standard library and the packages of this interpreter."""
    given = {str(path): path for path in paths}
    places = sysconfig.get_paths()
    return given or {"standard library": Path(places["stdlib"]), "packages": Path(places["purelib"])}


def scan(name: str, root: Path, tell: Callable[[Folder], None] = lambda _: None) -> Folder:
    """Read every Python file below a folder, and count what fires in it."""
    folder = Folder(name)
    for path in _python_files(root):
        try:
            with tokenize.open(path) as file:
                snapshot = Snapshot.from_text(file.read())
        except (SyntaxError, UnicodeDecodeError, OSError):
            folder.skipped += 1
            continue
        folder.files += 1
        _count(folder, snapshot, path.relative_to(root).as_posix() if path != root else path.name)
        tell(folder)
    return folder


def _python_files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for path in sorted(root.iterdir()):
        if path.is_dir() and not path.is_symlink():
            if path.name not in ("site-packages", "dist-packages", "__pycache__"):
                yield from _python_files(path)
        elif path.suffix == ".py":
            yield path


def _count(folder: Folder, snapshot: Snapshot, file: str) -> None:
    unasked = [one for one in find(snapshot) if one.fires]
    pointed = [one for one in find(snapshot, attention="cursor") if one.fires]
    starts = sorted(block.start for block in blocks(snapshot) if not block.behind_code)
    folder.own_line += len(starts)
    folder.at_cursor += sum(any(one.start <= start <= one.end for start in starts) for one in pointed)
    for one in unasked:
        if any(one.start <= start <= one.end for start in starts):
            folder.fired += 1
            folder.hits.append(Hit(file, one.start_row + 1, one.text, one.kind))
        else:
            folder.bare_stubs += 1


def fires(text: str, place: str, attention: Attention) -> bool:
    """Tell whether a comment with this text is taken for a request in a place."""
    return any(
        one.fires and one.kind != "stub"
        for one in find(Snapshot.from_text(in_place(text, place)), attention=attention)
    )


def in_place(text: str, place: str) -> str:
    """Return a file that holds a comment with this text."""
    mark = " " * _INDENTS.get(place, 0) + "# "
    return PLACES[place].replace("{}", "\n".join((mark + line).rstrip() for line in text.split("\n")))


def recall(requests: list[Request]) -> dict[str, Any]:
    """Count the requests that are taken for such: each in its own place, and all of them in every place."""
    rows: dict[str, Any] = {"requests": len(requests)}
    for attention in ATTENTIONS:
        own = [fires(one.text, one.place, attention) for one in requests]
        rows[attention] = {"own": _rate(own)} | {
            place: _rate([fires(one.text, place, attention) for one in requests]) for place in PLACES
        }
        if attention == "none":
            rows["missed"] = [one.text for one, fired in zip(requests, own, strict=True) if not fired]
    return rows


def _rate(fired: list[bool]) -> float:
    return sum(fired) / len(fired)


def shipped() -> dict[str, list[Request]]:
    """Return the instructions of our own, by language."""
    return {path.stem: requests(path) for path in sorted(SHIPPED.glob("*.jsonl"))}


def requests(path: Path, *, raw: bool = False) -> list[Request]:
    """Read the requests of MBPP, CoNaLa, ODEX or our own; `raw` takes CoNaLa's titles as they were posted."""
    found = []
    for row in _rows(path):
        names = ("intent",) if raw else ("rewritten_intent", "intent", "prompt", "text")
        text = next((row[name] for name in names if row.get(name)), None)
        if not isinstance(text, str) or row.get("place", "module") not in PLACES:
            raise Nl2CodeError(
                f"{path} holds a row without a request", "Give MBPP, CoNaLa or ODEX as published"
            )
        found.append(
            Request(" ".join(text.split()) if "place" not in row else text, row.get("place", "module"))
        )
    return found


def with_examples(path: Path) -> list[Request]:
    """Read the requests of MBPP with the first assert behind each, as a user would show it."""
    asserts = [row["test_list"][0].removeprefix("assert").strip() for row in _rows(path)]
    return [
        Request(f"{one.text.rstrip(' .')}, e.g. {' '.join(shown.split())}")
        for one, shown in zip(requests(path), asserts, strict=True)
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    """Read a JSON list or JSON lines, packed or not."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            text = file.read()
        rows = json.loads(text) if text.lstrip().startswith("[") else list(map(json.loads, _lines(text)))
    except (OSError, ValueError) as error:
        raise Nl2CodeError(f"{path} can not be read: {error}", "Give a JSON list or JSON lines") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise Nl2CodeError(f"{path} holds no requests", "Give MBPP, CoNaLa or ODEX as published")
    return rows


def _lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def debts(path: Path) -> list[str]:
    """Read comments that admit technical debt from a CSV with a column `Comment Text`, lines joined with `||`."""
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        texts = [row.get("Comment Text") or "" for row in csv.DictReader(file)]
    lines = [[line.strip(" #'\"") for line in text.split("||")] for text in texts]
    found = ["\n".join(line for line in one if line) for one in lines]
    if not any(found):
        raise Nl2CodeError(f"{path} has no column `Comment Text`", "Give the set as published")
    return [text for text in found if text]


def false_alarms(texts: list[str]) -> dict[str, Any]:
    """Count the notes that are taken for requests, above code and above an empty place."""
    return {"comments": len(texts)} | {
        attention: {
            place: _rate([fires(text, place, attention) for text in texts]) for place in ("code", "body")
        }
        for attention in ATTENTIONS
    }
