"""From an instruction to suggestions: prompt, generate, validate, verify, rank. Async; knows no LSP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..errors import Nl2CodeError
from ..lang import Edit
from ..lang.document import Snapshot
from ..lang.instruction import Instruction
from ..lang.placement import Placement
from ..lang.validate import Check
from ..lang.versions import Version

Status = Literal["verified", "valid", "failed"]


@dataclass(frozen=True, slots=True)
class ExampleRun:
    """One example of the instruction, run in the sandbox."""

    call: str
    expected: str
    got: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the project around a file. All of it was read, nothing was run."""

    python: Version | None = None
    """The oldest Python that the project supports, if it says."""
    environment: str = ""
    """The folder of its virtual environment; empty if none was found."""
    importable: frozenset[str] = frozenset()
    """Top-level names of the standard library, the project and that environment."""
    definitions: Mapping[str, str] = field(default_factory=dict)
    """Public names that one module of the project defines, and the line that imports each into this file."""
    quotes: str = ""
    """The quote that the file uses throughout; empty if it has no habit."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked, and where: everything that a suggestion depends on besides the settings."""

    snapshot: Snapshot
    instruction: Instruction
    candidates: int = 1
    surface: str = "inline"
    trigger: str = "automatic"
    fresh: bool = False
    """Ask again, by sampling, instead of taking a finished answer to the same prompt."""
    modules: Mapping[str, Snapshot] = field(default_factory=dict)
    """Modules of the project that the file imports, by the name that its import statement gives (`shop.prices`,
    `.helpers`), as they are in open editors, else on disk; then those that these import, by their absolute name."""
    known: Known = Known()
    accepted: tuple[str, ...] = ()
    """Code accepted before: what the model is shown of it, and what one tuned here may know by heart."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Code that can be offered, bound to the snapshot that it was made for."""

    id: str
    request_id: str
    code: str
    """The unit asked for, line feeds, its first line unindented; how it enters the file is `splice`'s business."""
    instruction: Instruction
    placement: Placement
    edits: tuple[Edit, ...]
    """Applied together to `Job.snapshot`, they give the whole file as it should be."""
    status: Status
    checks: tuple[Check, ...] = ()
    examples: tuple[ExampleRun, ...] = ()
    imports: tuple[str, ...] = ()


@dataclass(slots=True)
class Trace:
    """One decision from end to end, for `explain`, the hover and `nl2code.explainLast`."""

    instruction: str = ""
    kind: str = ""
    detected: str = ""
    prompt: str = ""
    raw: list[str] = field(default_factory=list)
    checks: list[list[Check]] = field(default_factory=list)
    examples: list[list[ExampleRun]] = field(default_factory=list)
    stages: list[tuple[str, float]] = field(default_factory=list)
    """What was done, and the seconds since the start at which it was done."""
    result: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job. `suggestions` are best first; if there are none, `reason` says why."""

    request_id: str
    snapshot: Snapshot
    """What the suggestions' edits refer to."""
    suggestions: tuple[Suggestion, ...]
    reason: str
    model: str
    seconds: float
    tokens: int
    trace: Trace
    failure: Nl2CodeError | None = None
    """What went wrong, if it was not the model's answers."""
