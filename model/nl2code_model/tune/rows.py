"""What tuning learns from: judged answers and pairs of them, before they become tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from nl2code_server.lang.placement import Place
from nl2code_server.lang.prompt import FENCE, defuse
from nl2code_server.lang.reindent import reindent
from nl2code_server.lang.unit import Frame

CLOSE = "\n```"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: what the model was shown, and where it came from."""

    request_id: str
    messages: tuple[tuple[str, str], ...]
    """`(role, content)`, without the start of the answer."""
    prefill: str = ""
    """Start of the answer that the model continued; empty where the endpoint could not."""
    depth: int = 0
    """Spaces in front of the answer's first line."""
    instruction: str = ""
    kind: str = "comment"
    place: Place = "module"
    group: str = ""
    """File that the request was made in, under its keyed hash."""
    project: str = ""
    time: float = 0.0
    model: str = ""
    adapter: str = ""

    @property
    def frame(self) -> Frame:
        """What serving knows of the answer before it comes."""
        return Frame(self.instruction, self.place, (), self.head, self.depth)

    @property
    def head(self) -> str:
        """The lines of the file that the answer continues."""
        return self.prefill.removeprefix(FENCE)

    def answer(self, code: str) -> str:
        """Return what the model would have to say for this code, after the prefill, without its last token."""
        if not self.prefill:
            return f"{FENCE}{defuse(code)}{CLOSE}"
        return defuse(reindent(code, indent=" " * self.depth, unit="    ")) + CLOSE


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An answer with a verdict."""

    id: str
    asked: Asked
    code: str
    """The unit with its imports, its first line unindented."""
    desirable: bool
    learn: bool
    """Whether to learn it word for word."""
    source: str
    """`accepted`, `edited`, `instead`, `undone`, `rejected`, `ignored`, `repository`, `sibling`, `replay`."""
    parent: str = ""
    """Row that this one is a variant of."""
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two answers to one request, one of which is better."""

    id: str
    asked: Asked
    chosen: str
    rejected: str
    source: str
    """`edited`, `instead`, `sibling` (seen and passed over, or turned down), `verifier`."""


def fingerprint(value: Any) -> str:
    """Return the sha256 of a value in JSON with sorted keys."""
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "replace")
    ).hexdigest()


def row_json(row: Row) -> dict[str, Any]:
    """Return a row for a file."""
    return asdict(row)


def row_of(data: Mapping[str, Any]) -> Row:
    """Read a row back."""
    return Row(**{**data, "asked": asked_of(data["asked"])})


def asked_of(data: Mapping[str, Any]) -> Asked:
    """Read a request back."""
    known = {one.name: data[one.name] for one in fields(Asked) if one.name in data}
    return Asked(**{**known, "messages": tuple((role, content) for role, content in data["messages"])})


def with_instruction(asked: Asked, instruction: str) -> Asked | None:
    """Return the request in other words; None if its prompt does not end in the instruction."""
    role, content = asked.messages[-1]
    old = defuse(asked.instruction)
    if not old or not content.endswith(old):
        return None
    last = (role, content[: len(content) - len(old)] + defuse(instruction))
    return replace(asked, messages=(*asked.messages[:-1], last), instruction=instruction)
