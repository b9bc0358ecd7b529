"""Does it ask for code? Place first (is there an empty place below?), then wording, in any language."""

from __future__ import annotations

import re
from typing import Literal

from .comments import Block
from .echo import echoes
from .language import length
from .stubs import Stub
from .values import Attention, Mode
from .wording import asks_outright, describes_result, evidence, names_unit

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
_MARK = "start it with `ai:` to ask for code"
_MANUAL = "is not taken unasked in manual mode: ask with “Generate code for this comment”"
_INSIDE = "put the cursor into it, or write `# ai: …` there"
_UNMARKED = "is not marked, which this mode wants: start it with `ai:`"

_READ = 2000
"""Characters of a comment that are weighed. Nobody asks for code in more, and some patterns are not linear."""


def judge_comment(
    block: Block, below: Below, above: str, mode: Mode, attention: Attention, *, beneath: str = ""
) -> Verdict:
    """Decide whether a comment block is a request, and why.

    `above` is the line on top of it, `beneath` the next line of code below it, if that is no placeholder.
    """
    if block.never:
        return False, block.never
    if not block.text:
        return False, "says nothing: write what you want"
    if attention == "invoked":
        return True, "you asked for it"
    if mode == "manual":
        return False, _MANUAL
    if block.kind == "marker":
        return True, "is addressed to the tool"
    if mode == "marker":
        return False, _UNMARKED
    text = block.text[:_READ]
    if below == "code":
        return _judge_above_code(block, text, beneath, attention)
    weight = evidence(text) + _position(below, above)
    if block.kind == "todo":
        weight -= 0.25
    echoed = 0.0 if names_unit(text) else min(0.5 * echoes(text, beneath), 1)
    weight -= echoed / 2 if attention == "cursor" else echoed
    enough = _ENOUGH_AT_CURSOR if attention == "cursor" and length(text) >= 2 else _ENOUGH
    if weight >= enough:
        return True, f"asks for code {_PLACES[below]}"
    if weight + echoed >= enough:
        return False, f"says what the code further down says: {_MARK}"
    return False, f"reads like a note, though {_PLACES[below]}: say what to write, or {_MARK}"


def _judge_above_code(block: Block, text: str, beneath: str, attention: Attention) -> Verdict:
    """Decide about a comment directly above code: most describe it, so only a plain request may be none of these."""
    if attention != "cursor" or block.kind == "todo" or not asks_outright(text):
        return False, f"stands directly above code, and may describe it: leave a line free below, or {_MARK}"
    if echoes(text, beneath) and not names_unit(text):
        return False, f"says what the code below it says: {_MARK}"
    return True, "asks for code, and the cursor is at its end"


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
        return False, _MANUAL
    if any(block.kind == "marker" for block in stub.comments):
        return True, "is addressed to the tool"
    if mode == "marker":
        return False, _UNMARKED
    if stub.never:
        return False, f"{stub.never}: write `# ai: …` into it to ask for code"
    if stub.hollow:
        return True, "has no body"
    if attention == "cursor":
        return True, "has no body yet"
    if not stub.text:
        return False, "has a placeholder, but nothing says what it should do: add a docstring or a comment"
    if stub.siblings >= _INTERFACE:
        return False, f"is one of several methods without a body, like an interface: {_INSIDE}"
    if stub.name.startswith("test") or _MEANT_EMPTY.search(stub.text[:_READ]):
        return False, f"is meant to have no body, by its name or words: {_INSIDE}"
    text = stub.text[:_READ]
    weight = evidence(text) + _STUB_BONUS + 1.5 * describes_result(text)
    if weight >= _ENOUGH:
        return True, "says what it should do"
    return False, f"is described, but does not say what it should do: {_INSIDE}"
