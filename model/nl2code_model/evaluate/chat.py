"""The baseline: the same text as a plain chat message to the same model, its whole answer, the first code block.

`chat` sends the text of the instruction and nothing else; of a stub, its source. `file` puts the file in front, as
people paste it. No system message, temperature 0, the product's own limit of tokens.
"""

from __future__ import annotations

import http.client
import json
import re
import time
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from nl2code_server.errors import Nl2CodeError
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import Instruction, at
from nl2code_server.lang.names import insert_imports
from nl2code_server.lang.outline import top_level
from nl2code_server.lang.placement import place
from nl2code_server.lang.splice import apply, splice
from nl2code_server.lang.unit import Frame, extract

from .transplant import Case

Baseline = Literal["chat", "file"]


class NoAnswer(Nl2CodeError):
    """The endpoint took the question and did not answer it in time."""


@dataclass(frozen=True, slots=True)
class Model:
    """Where a model answers, and under which name."""

    url: str
    """Base URL, ends in `/v1`."""
    key: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What it said."""

    text: str
    tokens: int
    seconds: float
    model: str


def instruction_of(case: Case) -> Instruction:
    """Return the instruction of a case."""
    found = at(case.snapshot, case.line, attention="invoked")
    if found is None:
        raise Nl2CodeError(f"{case.id}: there is no instruction on line {case.line + 1} of {case.target}")
    return found


def question(case: Case, baseline: Baseline) -> str:
    """Return the message that a user of a chat window would send."""
    instruction = instruction_of(case)
    text = instruction.text
    if instruction.kind == "stub":
        snapshot = case.snapshot
        start, end = snapshot.offset(instruction.start), snapshot.offset(instruction.end)
        text = f"Complete this:\n\n```python\n{snapshot.source[start:end].decode()}\n```"
    if baseline == "chat":
        return text
    name = PurePosixPath(case.target).name
    code = case.text.replace("\r\n", "\n").rstrip()
    return f"This is {name}:\n\n```python\n{code}\n```\n\n{text}\n\nGive only the new code."


def ask(model: Model, message: str, *, max_tokens: int, seconds: float) -> Answer:
    """Send one message and wait for the whole answer; `NoAnswer` if it takes longer than `seconds`."""
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": message}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": False,
    }
    body["model"] = model.name or _first_model(model)
    started = time.monotonic()
    answer = _call(model, "POST", "/chat/completions", body, seconds)
    try:
        text = answer["choices"][0]["message"]["content"] or ""
        tokens = int((answer.get("usage") or {}).get("completion_tokens", 0))
    except (KeyError, IndexError, TypeError) as error:
        raise Nl2CodeError(f"The endpoint's answer cannot be read: {error!r}") from error
    return Answer(text, tokens, time.monotonic() - started, str(answer.get("model") or body["model"]))


def block(answer: str) -> str:
    """Return the first fenced block of an answer; all of it if there is none."""
    found = re.search(
        r"^[ \t]*```[ \t]*[\w+-]*[ \t]*\n(.*?)(?:^[ \t]*```|\Z)", answer, re.DOTALL | re.MULTILINE
    )
    return (found[1] if found else answer).strip("\n")


def into_file(case: Case, answer: str) -> str:
    """Put an answer's code where the instruction wants it.

    At module level that is the block as it is. Elsewhere definitions around it that the answer repeats are taken off.
    A block that defines all that the file does stands for the file.
    """
    code = block(answer)
    snapshot = case.snapshot
    defined = {span.name for span in top_level(snapshot.tree) if span.name}
    given = {span.name for span in top_level(Snapshot.from_text(code).tree) if span.name}
    instruction = instruction_of(case)
    placement = place(snapshot, instruction)
    if placement.place == "module":
        if defined and defined <= given:
            return code + "\n"
        return apply(snapshot, splice(snapshot, instruction, placement, code))
    if len(defined) > 1 and defined <= given:
        return code + "\n"
    unit = extract(f"```python\n{code}\n```\n", Frame(instruction.text, placement.place, placement.scope))
    if unit is None:
        return case.text
    edits = (
        *insert_imports(snapshot, unit.imports),
        *splice(snapshot, instruction, placement, unit.code),
    )
    return apply(snapshot, edits)


def _first_model(model: Model) -> str:
    listed = _call(model, "GET", "/models", None, 30)
    try:
        return str(listed["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        raise Nl2CodeError(f"{model.url} lists no model") from error


def _call(model: Model, method: str, path: str, body: dict[str, Any] | None, seconds: float) -> Any:
    parts = urlsplit(model.url + path)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = connect(parts.hostname or "", parts.port, timeout=seconds)
    headers = {"content-type": "application/json"}
    if model.key:
        headers["authorization"] = f"Bearer {model.key}"
    try:
        connection.request(method, parts.path, json.dumps(body).encode() if body else None, headers)
        response = connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise Nl2CodeError(
                f"{parts.netloc} answered {response.status}: {data[:200].decode(errors='replace')}"
            )
        return json.loads(data)
    except TimeoutError as error:
        raise NoAnswer(f"{parts.netloc} did not answer within {seconds:.0f} s") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Nl2CodeError(f"{parts.netloc} did not answer: {error}") from error
    finally:
        connection.close()
