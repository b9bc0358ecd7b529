"""The prompt: one of the two contracts that serving and tuning share. Text in, messages out.

The stable part comes first and what changes last, so that a model host finds its prefix again: rules, what the file
imports of its project, the file, what the instruction brings in, the instruction, then the lines of the file that the
answer continues.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace

from .context import Context
from .hidden import without_hidden
from .placement import Place, Placement
from .style import DocstringForm
from .unit import Frame
from .versions import Version, written

PROMPT_VERSION = 3

RULES = (
    "You write Python code for one place in a file. Answer with one Python code block that holds only the new "
    "code: no explanation, no usage example, no tests, nothing that the file already has."
)

FENCE = "```python\n"

# What stands above each part, and what is asked. Every word costs a CPU some milliseconds.
_PROJECT = "What the file imports from its project:"
_FILE = "The file so far:"
_BELOW = "Below the new code follows:"
_OTHERS = "Also in the project; import what you use:"
_ACCEPTED = "Code that was accepted in this project before:"
_ANNOTATE = "Annotate all parameters and return values."
_DOCSTRINGS: dict[DocstringForm, str] = {
    "": "",
    "line": "Give each function a short docstring.",
    "google": "Give each function a docstring with Args and Returns (Google style).",
    "numpy": "Give each function a docstring with Parameters and Returns (NumPy style).",
    "sphinx": "Give each function a docstring with :param and :return: fields.",
}
_WAITING = "Use {names}, which the file imports for this."
_PYTHON = "The code must run on Python {version}."
_WANTED: dict[Place, str] = {
    "module": "Write the Python code that this comment asks for:",
    "class": "Write the part of `{scope}` that this comment asks for:",
    "body": "Write the statements that this comment asks for, inside `{scope}`:",
    "stub": "Write the body of `{scope}`:",
}
_RECENT: Version = (3, 11)
"""Models write for this Python and those before; only an older one need be told."""

# Chat, fill-in-the-middle and tool tokens of the known model families: user text must not speak for the chat.
_CONTROL = re.compile(
    r"<(?=\|[^|<>\s]{1,40}\|>)|<(?=｜[^｜<>]{1,40}｜>)|<(?=<?/?SYS>)"
    r"|<(?=/?(?:tools?|tool_\w+|s|unk|pad|bos|eos|mask|think|fim_\w+|(?:start|end)_of_\w+|extra_id_\d+|unused\d+"
    r"|PRE|SUF|MID|EOT|repo_?name|file_sep|gh_stars|issue_\w+|jupyter_\w+|empty_output|commit_\w+|pr_\w+)>)"
    r"|\[(?=/?(?:INST|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT|PREFIX|SUFFIX|MIDDLE)\])"
)
_DEFUSED = {"<": "\u2039", "[": "\u27e6"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A chat and the start of its answer."""

    messages: tuple[tuple[str, str], ...]
    """`(role, content)`."""
    frame: Frame
    version: int = PROMPT_VERSION

    @property
    def prefill(self) -> str:
        """The start of the answer: an open code fence and the frame's head."""
        return FENCE + defuse(self.frame.head)

    @property
    def hash(self) -> str:
        """sha256 of all that the model sees."""
        parts = [*(f"{role}\0{content}" for role, content in self.messages), self.prefill]
        return hashlib.sha256("\1".join(parts).encode("utf-8", "replace")).hexdigest()


def defuse(text: str) -> str:
    """Replace what a model family would read as a control token by a look-alike (`restore` maps it back).

    What a reader does not see goes first: hidden text must not speak to the model, nor hide such a token.
    """
    return _CONTROL.sub(lambda match: _DEFUSED[match[0]], without_hidden(text))


def restore(text: str) -> str:
    """Undo `defuse` in a model's answer."""
    for plain, look_alike in _DEFUSED.items():
        text = text.replace(look_alike, plain)
    return text


def _fenced(code: str) -> str:
    """Put code into a fence that nothing in it can close."""
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}python\n{code.rstrip()}\n{fence}"


def _around(context: Context) -> list[str]:
    file = "\n\n".join(part for part in (context.imports, context.outline, context.before) if part)
    titled = ((_PROJECT, context.project), (_FILE, file), (_BELOW, context.after), (_OTHERS, context.others))
    parts = [f"{title}\n{_fenced(code)}" for title, code in titled if code]
    if context.accepted:
        shown = (f"{_comment(one.instruction)}\n{one.code.strip()}" for one in reversed(context.accepted))
        code = "\n\n\n".join(shown)
        parts.append(f"{_ACCEPTED}\n{_fenced(code)}")
    return parts


def _comment(text: str) -> str:
    return "\n".join(f"# {line}".rstrip() for line in text.splitlines())


def _habits(context: Context, placement: Placement) -> str:
    """Say what the model would not do of itself, in one line."""
    said = []
    if placement.place in ("module", "class"):
        if context.style.annotated:
            said.append(_ANNOTATE)
        said.append(_DOCSTRINGS[context.style.docstrings])
    if context.python and context.python < _RECENT:
        said.append(_PYTHON.format(version=written(context.python)))
    if context.waiting:
        said.append(_WAITING.format(names=", ".join(f"`{name}`" for name in context.waiting)))
    return " ".join(one for one in said if one)


def build_stable(placement: Placement, context: Context) -> Prompt:
    """Render the part of a prompt that stands before the instruction and what it brings in: the part to warm."""
    stable = replace(context, others="", accepted=())
    frame = Frame("", placement.place, placement.scope, context.head, context.depth)
    return Prompt((("system", RULES), ("user", defuse("\n\n".join(_around(stable))))), frame)


def build(instruction: str, placement: Placement, context: Context) -> Prompt:
    """Render the prompt for one instruction."""
    wanted = _WANTED[placement.place].format(scope=".".join(placement.scope) or "this block")
    question = f"{wanted}\n\n{instruction}" if instruction else wanted
    parts = [*_around(context), _habits(context, placement), question]
    user = "\n\n".join(part for part in parts if part)
    names = tuple(said.partition("(")[0] for said in context.waiting)
    frame = Frame(instruction, placement.place, placement.scope, context.head, context.depth, names)
    return Prompt((("system", RULES), ("user", defuse(user))), frame)
