"""Put a task into a file as a user would write it: a comment here or there, a stub, other line endings, an error."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from nl2code_server.errors import Nl2CodeError
from nl2code_server.lang.document import Snapshot

from .tasks import Anchor, Problem

FORMS = ("module", "function", "class", "stub", "error", "crlf", "tabs")


@dataclass(frozen=True, slots=True)
class Case:
    """A task in its place: what an editor opens, where the cursor rests, and what is run afterwards."""

    id: str
    set: str
    kind: str
    natural_language: str
    project: bool
    tags: tuple[str, ...]
    form: str
    example: bool
    """Whether the instruction shows one."""
    files: Mapping[str, str]
    target: str
    line: int
    """Row of the instruction's last line; the cursor is at its end."""
    tests: tuple[str, ...]
    shown: int
    setup: str = ""
    """Source in front of every test."""
    broken: str = ""
    """Text with a syntax error that is taken out again before the tests."""

    @property
    def text(self) -> str:
        """The file that holds the instruction."""
        return self.files[self.target]

    @property
    def snapshot(self) -> Snapshot:
        """The same for `nl2code_server.lang`."""
        return Snapshot.from_text(self.text, uri=f"file:///{self.target}")

    @property
    def fingerprint(self) -> str:
        """Tells this state of the task from others: what is asked, where, and how it is tested."""
        parts = [dict(self.files), self.target, self.line, self.tests, self.setup]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]

    @property
    def module(self) -> str:
        """Name under which the tests import that file."""
        return self.target.removesuffix(".py").replace("/", ".")


def case(task: Problem | Anchor, form: str = "module", *, example: bool = True) -> Case:
    """Place a task. Anchors have a place of their own and keep it."""
    if isinstance(task, Anchor):
        return _anchored(task)
    if form not in FORMS:
        raise Nl2CodeError(f"There is no form {form}", f"Take one of {', '.join(FORMS)}")
    text, line = _FORMS[form](task, example)
    head = f"{task.preamble}\n\n\n" if task.preamble else ""
    if form == "crlf":
        head = head.replace("\n", "\r\n")
    setup = f"{task.setup}\n{_EVERYTHING}{_FINDERS.get(form, '').format(name=task.name)}"
    return Case(
        id=task.id,
        set=task.set,
        kind="stub" if form == "stub" else "function",
        natural_language=task.natural_language,
        project=False,
        tags=(),
        form=form,
        example=example and bool(task.example),
        files={"task.py": head + text},
        target="task.py",
        line=head.count("\n") + line,
        tests=task.tests,
        shown=task.shown if example and task.example else 0,
        setup=setup,
        broken=_BROKEN if form == "error" else "",
    )


def _anchored(task: Anchor) -> Case:
    return Case(
        id=task.id,
        set="anchors",
        kind=task.kind,
        natural_language=task.natural_language,
        project=task.project,
        tags=task.tags,
        form="anchor",
        example="example" in task.tags,
        files=task.files,
        target=task.target,
        line=task.line,
        tests=(task.tests,),
        shown=0,
    )


def asked(task: Problem, example: bool) -> str:
    """Say what a user would write: the text with an example, or with the head of the function alone."""
    bare = task.text.rstrip(" .。")
    if not (example and task.example):
        link = "" if bare.endswith(("?", "？")) else ":"
        return f"{bare}{link} {task.signature.removeprefix('def ').rstrip(':')}"
    if "\n" in task.example or "\n" in bare:
        return f"{task.text}\n{task.example}"
    return f"{bare}, e.g. {task.example}"


def _comment(text: str, indent: str = "") -> str:
    return "\n".join(f"{indent}# {line}".rstrip() for line in text.split("\n"))


def _last(text: str) -> int:
    return text.count("\n")


def _module(task: Problem, example: bool) -> tuple[str, int]:
    comment = _comment(asked(task, example))
    return comment + "\n", _last(comment)


def _function(task: Problem, example: bool, indent: str = "    ") -> tuple[str, int]:
    above = f"def build():\n{_comment(asked(task, example), indent)}"
    return f"{above}\n\n{indent}return {task.name}\n", _last(above)


def _class(task: Problem, example: bool) -> tuple[str, int]:
    text = asked(task, example)
    if example:
        text = re.sub(rf"(?<![\w.]){re.escape(task.name)}\(", f"Tools().{task.name}(", text)
    above = f"{_TOOLS}{_comment(text, '    ')}"
    return above + "\n", _last(above)


def _stub(task: Problem, example: bool) -> tuple[str, int]:
    text = task.text
    if example and task.example:
        text += f"\n\n{task.example}"
    docstring = text.replace("\\", "\\\\").replace('"""', "'''").replace("\n", "\n    ")
    docstring = "\n".join(line.rstrip() for line in docstring.split("\n"))
    end = "\n    " if "\n" in docstring or docstring.endswith('"') else ""
    stub = f'{task.signature}\n    """{docstring}{end}"""'
    return stub + "\n", _last(stub)


def _error(task: Problem, example: bool) -> tuple[str, int]:
    text, line = _module(task, example)
    return _BROKEN + text, _last(_BROKEN) + line


def _crlf(task: Problem, example: bool) -> tuple[str, int]:
    text, line = _module(task, example)
    above = 'NAME = "tools"\n\n\ndef greet(who):\n    return f"Hello, {who}"\n\n\n'
    return (above + text).replace("\n", "\r\n"), _last(above) + line


def _tabs(task: Problem, example: bool) -> tuple[str, int]:
    return _function(task, example, "\t")


_FORMS = {
    "module": _module,
    "function": _function,
    "class": _class,
    "stub": _stub,
    "error": _error,
    "crlf": _crlf,
    "tabs": _tabs,
}
_TOOLS = """\
class Tools:
    def __init__(self, name="tools"):
        self.name = name

"""
_BROKEN = "def load(path)\n    return path\n\n\n"
# What a star import gives, and names with an underscore.
_EVERYTHING = "import task\nglobals().update((k, v) for k, v in vars(task).items() if k[:2] != '__')\n"
_BUILT = "{name} = build()\n"
_METHOD = """\
import inspect
_plain = inspect.getattr_static(Tools, "{name}")
_first = next(iter(inspect.signature(_plain).parameters), "") if inspect.isfunction(_plain) else "self"
{name} = getattr(Tools(), "{name}") if _first in ("self", "cls") else _plain
"""
# What makes the function that was asked for reachable by its name, where it is not at module level.
_FINDERS = {"function": _BUILT, "tabs": _BUILT, "class": _METHOD}
