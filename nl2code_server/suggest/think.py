"""Ask for the same code with an explanation in it: a small model that says first what to do does it better."""

from __future__ import annotations

from dataclasses import replace

from ..lang.prompt import Prompt

_DOCSTRING = "Give it a docstring that explains step by step what it does, with examples."
_COMMENT = "Begin with comments that explain step by step what the code does."


def thinking_prompt(prompt: Prompt) -> Prompt:
    """Return the chat with the wish for an explanation at its end: what stands before is found again by the host."""
    *before, (role, question) = prompt.messages
    wish = _DOCSTRING if prompt.frame.place in ("module", "class") else _COMMENT
    return replace(prompt, messages=(*before, (role, f"{question}\n\n{wish}")))
