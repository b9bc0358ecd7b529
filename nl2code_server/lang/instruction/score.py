"""Does it ask for code? Place first (is there an empty place below?), then wording, in any language."""

from __future__ import annotations

import re
from typing import Literal

from .comments import Block
from .language import length
from .stubs import Stub
from .values import Attention, Mode
from .wording import asks_outright, describes_result, evidence

Below = Literal["end", "blank", "dedent", "placeholder", "code"]
"""What stands below a comment: the end of the file, a blank line, the end of its block, a placeholder, code."""

Verdict = tuple[bool, str]

_ENOUGH = 1.75
_ENOUGH_AT_CURSOR = -0.75  # nobody rests there by accident: all but plain notes
_STUB_BONUS = 1.25  # a definition without a body is most of a request
_INTERFACE = 3
_MEANT_EMPTY = re.compile(
    r"""\b(?:abstract|overrid\w+|overwrit\w+|subclass\w*|derived|base\ class|hooks?|optional(?:ly)?|no-?op|dummy|stub
    |does\ nothing|do\ nothing|nothing\ to\ do|not\ (?:supported|used|needed|implemented)|deprecated
    |placeholder|mock)\b""",
    re.VERBOSE | re.IGNORECASE,
)
_PLACES = {
    "end": "at the end of the file",
    "blank": "above an empty line",
    "dedent": "at the end of its block",
    "placeholder": "above a placeholder",
}


_READ = 2000
"""Characters of a comment that are weighed. Nobody asks for code in more, and some patterns are not linear."""


def judge_comment(block: Block, below: Below, above: str, mode: Mode, attention: Attention) -> Verdict:
    """Decide whether a comment block is a request, and why. `above` is the line on top of it, stripped."""
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
    if below == "code":
        if attention == "cursor" and asks_outright(block.text[:_READ]):
            return True, "asks for code, and the cursor is at its end"
        return False, "stands directly above code"
    weight = evidence(block.text[:_READ]) + _position(below, above)
    if block.kind == "todo":
        weight -= 0.25
    enough = _ENOUGH_AT_CURSOR if attention == "cursor" and length(block.text[:_READ]) >= 2 else _ENOUGH
    if weight >= enough:
        return True, f"asks for code {_PLACES[below]}"
    return False, f"does not read like a request, though {_PLACES[below]}"


def _position(below: Below, above: str) -> float:
    """Weigh the place: notes stand on handlers that do nothing, below docstrings and signatures, and behind code."""
    if below == "placeholder":
        return -1.5 if above.startswith(("except", "else", "finally", "elif")) else 0.25
    if above.endswith(('"""', "'''")):
        return -0.5
    if above.startswith(("def ", "class ", "async def ")):
        return -0.25
    if above and not above.endswith(":"):
        return -0.25
    return 0.25 if below == "end" else 0.0


def judge_stub(stub: Stub, mode: Mode, attention: Attention) -> Verdict:
    """Decide whether a stub is a request, and why."""
    if attention == "invoked":
        return True, "you asked for it"
    if mode == "manual":
        return False, "nothing is taken for a request in manual mode"
    if any(block.kind == "marker" for block in stub.comments):
        return True, "is addressed to the tool"
    if mode == "marker":
        return False, "is not marked"
    if stub.never:
        return False, stub.never
    if stub.hollow:
        return True, "has no body"
    if attention == "cursor":
        return True, "has no body yet"
    if not stub.text:
        return False, "has a placeholder, but nothing says what it should do"
    if stub.siblings >= _INTERFACE:
        return False, "is one of several methods without a body: an interface"
    if stub.name.startswith("test") or _MEANT_EMPTY.search(stub.text[:_READ]):
        return False, "is meant to have no body"
    text = stub.text[:_READ]
    weight = evidence(text) + _STUB_BONUS + 1.5 * describes_result(text)
    return (True, "says what it should do") if weight >= _ENOUGH else (False, "does not read like a request")
