"""The product's own prompt for an instruction in a file, for rows that no editor asked for."""

from __future__ import annotations

from dataclasses import dataclass

from nl2code_server.lang.context import Around, collect
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import Instruction, at
from nl2code_server.lang.placement import Placement, place
from nl2code_server.lang.prompt import Prompt, build

from .rows import Asked

CONTEXT_TOKENS = 400
"""What the product shows of a file on the local host."""


@dataclass(frozen=True, slots=True)
class Situation:
    """An instruction in its file, and the prompt that the product makes of it."""

    snapshot: Snapshot
    instruction: Instruction
    placement: Placement
    prompt: Prompt

    def asked(self, request_id: str, *, group: str = "", time: float = 0.0) -> Asked:
        """Return the request, as the log would hold it."""
        return Asked(
            request_id=request_id,
            messages=self.prompt.messages,
            prefill=self.prompt.prefill,
            depth=self.prompt.frame.depth,
            instruction=self.instruction.text,
            kind=self.instruction.kind,
            place=self.placement.place,
            group=group,
            time=time,
        )


def situation(
    text: str,
    row: int,
    *,
    uri: str = "file:///row.py",
    around: Around | None = None,
    tokens: int = CONTEXT_TOKENS,
) -> Situation | None:
    """Return what the product makes of the instruction at a row (from 0); None if there is none."""
    snapshot = Snapshot.from_text(text, uri=uri)
    found = at(snapshot, row, attention="invoked")
    if found is None:
        return None
    placement = place(snapshot, found)
    context = collect(snapshot, found, placement, tokens=tokens, around=around)
    return Situation(snapshot, found, placement, build(found.text, placement, context))
