"""The unit that was asked for, cut out of a model's answer: while it streams, and afterwards."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from .outline import Span, rows_inside_strings, top_level
from .placement import Place
from .syntax import parse

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[ \t]*$", re.MULTILINE)
_DEFINITION = re.compile(r"(?:async\s+def|def|class)\s+(\w+)")
# What small models add after the code that was asked for.
_EXTRA_NAMES = re.compile(r"^(main|test_?\w*|example\w*|demo\w*|run_?tests?|(?:check|verify)_?\w*)$")
_REPEATED_LINES = 8
_REPEATED_BLOCKS = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """What is known of an answer before it comes: the request, its place, and the lines that it continues."""

    instruction: str
    place: Place
    scope: tuple[str, ...] = ()
    """Names of the definitions around the place, outermost first."""
    head: str = ""
    """Those definitions down to the instruction, in four-space indentation; empty at module level."""
    depth: int = 0
    """Spaces in front of the unit's first line below `head`."""
    uses: tuple[str, ...] = ()
    """Names that the answer is likely to need: see `context.Context.waiting`."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Code that was asked for: line feeds, first line unindented, its top-level imports apart."""

    code: str
    imports: tuple[str, ...] = ()


def repeats(text: str) -> bool:
    """Tell whether a model has fallen into a loop: the same line, or the same few lines, over and over."""
    lines = [line for line in text.split("\n")[:-1] if line.strip()]
    for period in range(1, 9):
        times = _REPEATED_LINES if period == 1 else _REPEATED_BLOCKS
        tail = lines[-period * times :]
        if len(tail) == period * times and tail == tail[:period] * times:
            return True
    return False


def complete(text: str, frame: Frame, *, prefilled: bool = True) -> bool:
    """Tell whether `text`, an answer in the making, already holds all of the unit.

    `prefilled` says that it continues the frame's head; else it begins with whatever the model likes to say first.
    Looks at finished lines only, so call it after each line feed.
    """
    finished = text[: text.rfind("\n") + 1]
    if not finished:
        return False
    fences = len(_FENCE.findall(finished))
    if not prefilled:
        return fences > 1
    return fences > 0 or len(_own_lines(finished, frame)) < finished.count("\n")


def extract(raw: str, frame: Frame, *, prefilled: bool = True) -> Unit | None:
    """Cut the unit out of a whole answer; None if there is no code in it.

    `prefilled` says that `raw` continues the open fence and the frame's head; one that begins anew all the same is
    understood too. Else it is an answer from its beginning: prose, a fence, perhaps the enclosing definitions again,
    or code alone, from models that know no fences.
    """
    text = raw.replace("\r\n", "\n").replace("\r", "\n")
    fences = list(_FENCE.finditer(text))
    if fences and (fences[0][2] or len(fences) > 1 or not text[: fences[0].start()].strip()):
        end = fences[1].start() if len(fences) > 1 else len(text)
        text = _unwrap(text[fences[0].end() + 1 : end], frame)
        frame = replace(frame, head="", depth=0)
    elif fences:
        text = text[: fences[0].start()]
    elif not prefilled:
        text = _unwrap(text, frame)
        frame = replace(frame, head="", depth=0)
    lines = _own_lines(text if text.endswith("\n") else text + "\n", frame)
    code = _dedent("\n".join(lines)).strip("\n").rstrip()
    code = _without_echo(code, frame.instruction)
    if frame.place == "module":
        code = _without_trials(code)
    code, imports = _split_imports(code)
    return Unit(code, imports) if _has_code(code) or imports else None


def _own_lines(text: str, frame: Frame) -> list[str]:
    """Return the lines of `text` (whole lines) up to where the unit ends."""
    lines = text.split("\n")[:-1]
    first = frame.head.count("\n")
    inside = rows_inside_strings(parse(_encode(frame.head + text)))
    seen = 0  # definitions at the unit's own depth
    for number, line in enumerate(lines):
        stripped = line.strip()
        if not stripped or first + number in inside:
            continue
        expanded = line.expandtabs(4)
        indent = len(expanded) - len(expanded.lstrip())
        outside = indent < frame.depth and not stripped.startswith((")", "]", "}", "#"))
        if outside or (indent <= frame.depth and seen and _ends_unit(stripped, frame, lines[:number])):
            return _without_lead(lines[:number])
        if indent <= frame.depth and _DEFINITION.match(stripped):
            seen += 1
    return lines


def _without_lead(lines: list[str]) -> list[str]:
    """Drop trailing comments and decorators: they belong to what follows and is left out."""
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith(("#", "@"))):
        lines.pop()
    return lines


def _dedent(code: str) -> str:
    """Take the common indentation away; `textwrap.dedent` would count the lines of string literals."""
    lines = code.split("\n")
    inside = rows_inside_strings(parse(_encode(code)))
    margins = [
        len(line) - len(line.lstrip()) for row, line in enumerate(lines) if line.strip() and row not in inside
    ]
    margin = min(margins, default=0)
    return "\n".join(line[margin:] if not line[:margin].strip() else line for line in lines)


def _ends_unit(line: str, frame: Frame, above: list[str]) -> bool:
    """Tell whether a line at the unit's own depth, below its first definition, no longer belongs to it."""
    if frame.place not in ("module", "class"):
        return False
    definition = _DEFINITION.match(line)
    if definition is None:
        return not line.startswith("@") and not _continues(line)
    name = definition[1]
    if name in frame.instruction or any(name in one for one in above):
        return False
    return bool(_EXTRA_NAMES.match(name)) or (frame.place == "class" and not _several(frame.instruction))


def _continues(line: str) -> bool:
    """Tell whether a line may stand between definitions: an import, a comment, a constant, a closing bracket."""
    return bool(re.match(r"(?:from|import)\s|[)\]}#]|[A-Z_][A-Z0-9_]*\s*(?::[^=]+)?=[^=]", line))


def _several(instruction: str) -> bool:
    return bool(
        re.search(
            r"\b(?:methods|functions|properties|both|setters?|getters?)\b|方法们|多个",
            instruction,
            re.IGNORECASE,
        )
    )


def _without_trials(code: str) -> str:
    """Drop a leading or trailing part that only tries the code out: definitions named main, test…, demo…"""
    lines = code.split("\n")
    for span in reversed(_spans(code)):
        needed = any(span.name in line for line in lines[: span.start_row])
        if span.name and _EXTRA_NAMES.match(span.name) and span.start_row > 0 and not needed:
            del lines[span.start_row : span.end_row + 1]
        else:
            break
    return "\n".join(lines).rstrip()


def without_known(code: str, known: Collection[str]) -> str:
    """Drop definitions that the file has already, if others remain: models copy what they were shown."""
    spans = _spans(code)
    copies = [span for span in spans if span.name in known]
    if not any(span.name and span.name not in known for span in spans):
        return code
    lines = code.split("\n")
    for span in reversed(copies):
        del lines[span.start_row : span.end_row + 1]
    return "\n".join(lines).strip("\n")


def _without_echo(code: str, instruction: str) -> str:
    """Drop leading comment lines that only repeat the instruction."""
    asked = re.sub(r"\W+", " ", instruction).strip().lower()
    lines = code.split("\n")
    while lines and (not lines[0].strip() or lines[0].lstrip().startswith("#")):
        said = re.sub(r"\W+", " ", lines[0]).strip().lower()
        if said and said not in asked:
            break
        lines.pop(0)
    return "\n".join(lines)


def _unwrap(code: str, frame: Frame) -> str:
    """Take the code for an inner place out of an answer that repeats the definitions around it."""
    code = _dedent(code)
    if frame.place == "module":
        return code
    lines = code.split("\n")
    for name in frame.scope:
        around = next((span for span in _spans("\n".join(lines)) if span.name == name), None)
        if around is None:
            break
        lines = _dedent("\n".join(lines[around.body_row : around.end_row + 1])).split("\n")
    said = {line.strip() for line in frame.head.split("\n") if line.strip()}
    while lines and (not lines[0].strip() or lines[0].strip() in said):
        lines.pop(0)
    return "\n".join(lines)


def _split_imports(code: str) -> tuple[str, tuple[str, ...]]:
    """Take the import statements in front of the code apart from it."""
    lines = code.split("\n")
    imports: list[str] = []
    taken = 0
    for span in _spans(code):
        if span.kind not in ("import_statement", "import_from_statement", "future_import_statement"):
            break
        imports.append("\n".join(lines[span.start_row : span.end_row + 1]).strip())
        taken = span.end_row + 1
    return "\n".join(lines[taken:]).strip("\n"), tuple(imports)


def _has_code(code: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in code.split("\n"))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _spans(code: str) -> list[Span]:
    return top_level(parse(_encode(code)))
