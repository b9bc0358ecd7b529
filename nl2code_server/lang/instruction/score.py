"""Does it ask for code? Place first (is there an empty place below?), then wording, in any language."""

from __future__ import annotations

from typing import Literal

from .comments import Block
from .stubs import Stub
from .values import Attention, Mode

Below = Literal["end", "blank", "dedent", "placeholder", "code"]
"""What stands below a comment: the end of the file, a blank line, the end of its block, a placeholder, code."""

Verdict = tuple[bool, str]


def judge_comment(block: Block, below: Below, above: str, mode: Mode, attention: Attention) -> Verdict:
    """Decide whether a comment block is a request, and why."""
    if block.never:
        return False, block.never
    if not block.text:
        return False, "says nothing"
    if attention == "invoked":
        return True, "you asked for it"
    if mode == "manual":
        return False, "nothing is taken for a request in manual mode"
    if block.kind == "marker":
        return True, "is addressed to the tool"
    if mode == "marker":
        return False, "is not marked"
    return below != "code", "stands above an empty place" if below != "code" else "stands above code"


def judge_stub(stub: Stub, mode: Mode, attention: Attention) -> Verdict:
    """Decide whether a stub is a request, and why."""
    if attention == "invoked":
        return True, "you asked for it"
    if mode == "manual":
        return False, "nothing is taken for a request in manual mode"
    return True, "stub"
