"""Examples in an instruction or a docstring, as calls with the value that they should have. Nothing is run here.

An example that was misread makes good code look wrong, so whatever is not clearly a call with its value is left out.
"""

from __future__ import annotations

import ast
import builtins
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from .example_words import INPUT, OUTPUT, RAISES, REST, ROUNDING, SAYS, TOPIC, VERB

_MAX_TEXT = 20_000
_MAX_CALLS = 100
_MAX_LENGTH = 2_000
_MAX_EXAMPLES = 16
_MAX_DEPTH = 100

_FULL_WIDTH = str.maketrans("（）［］｛｝，：；＝＋－＊／＜＞．＂＇", "()[]{},:;=+-*/<>.\"'")
_OPEN, _CLOSE = "([{", ")]}"

_CALL = re.compile(r"(?<![A-Za-z0-9_.])[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*[(（]")
_TRAILER = re.compile(r"(?:\.[A-Za-z_][A-Za-z0-9_]*)*[(（\[［]|(?:\.[A-Za-z_][A-Za-z0-9_]*)+")
# What may stand in front of a call without becoming part of the expression: bullets yes, operators no.
_OPERATOR_BEFORE = re.compile(r"(?:\b(?:def|class|not|lambda)|[^\s`][ \t]*[-*]|[+/%<>=!&|^~@])\s*$")

_SENTENCE_END = "，。；、！？）】」』…—–`\n;!?"
_COUNTER = "个個项項次位条條字元倍种種天年的の回つ件枚人개번명"
_WORDS = {"true": "True", "false": "False", "none": "None", "null": "None"}


UNIT = "_nl2code_unit"
"""Stands for the function that is asked for where an example does not name it: "input 5, output 120"."""


@dataclass(frozen=True, slots=True)
class Example:
    """An expression that should have the value of `expected`, or raise `raises` (then `expected` is empty)."""

    call: str
    expected: str
    raises: str = ""
    setup: str = ""
    """Statements to run first: the doctest lines above."""
    tolerance: float = 0.0
    """How far the value may be off: a number that a sentence gives with decimals may have been rounded."""


def find_examples(text: str, *, name: str = "") -> tuple[Example, ...]:
    """Return the examples in a text, in order; with `name`, those alone that use it."""
    text = text[:_MAX_TEXT].replace("\r\n", "\n").replace("\r", "\n")
    found = list(_doctests(text))
    text = _DOCTEST.sub(lambda match: _blank(match[0]), text)
    for start, end, examples in _asserts(text):
        found += [(start, example) for example in examples]
        text = text[:start] + _blank(text[start:end]) + text[end:]
    found += _raising_blocks(text)
    found += _sentences(text)
    found += _inputs(text)
    found.sort(key=lambda pair: pair[0])
    unique = dict.fromkeys(example for _, example in found if not name or _mentions(example, name))
    return tuple(unique)[:_MAX_EXAMPLES]


def _blank(text: str) -> str:
    return re.sub(r"\S", " ", text)


_DOCTEST = re.compile(
    r"^[ \t]*>>>[ \t]?(.*(?:\n[ \t]*\.\.\.(?:[ \t].*)?$)*)((?:\n(?![ \t]*>>>)[^\n]*\S[^\n]*)*)", re.MULTILINE
)


def _doctests(text: str) -> Iterator[tuple[int, Example]]:
    setup: list[str] = []
    for match in _DOCTEST.finditer(text):
        source = re.sub(r"\n[ \t]*\.\.\.[ \t]?", "\n", match[1]).strip()
        module = _parse(source, "exec")
        if not isinstance(module, ast.Module):
            continue
        if len(setup) > _MAX_EXAMPLES:
            return
        before, bound = "\n".join(setup), _bound(setup)
        output = [line.strip() for line in match[2].strip().split("\n")]
        statement = module.body[0] if len(module.body) == 1 else None
        if isinstance(statement, ast.Assert):
            yield from ((match.start(), example) for example in _from_test(statement.test, before, bound))
        elif isinstance(statement, ast.Expr) and output != [""]:
            example = _doctest(statement.value, output, before, bound)
            if example is not None:
                yield match.start(), example
            if setup and not (example and example.raises):  # it may change what was set up
                setup.append(source)
        else:
            setup.append(source)


def _doctest(call: ast.expr, output: list[str], setup: str, bound: set[str]) -> Example | None:
    if not _is_call(call, bound):
        return None
    if output[0].startswith("Traceback"):
        raised = re.match(r"(?:\w+\.)*([A-Z]\w*)(?::|$)", output[-1])
        return Example(ast.unparse(call), "", raised[1], setup) if raised else None
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "print":
        if len(call.args) != 1 or call.keywords or isinstance(call.args[0], ast.Starred):
            return None
        return Example(f"str({ast.unparse(call.args[0])})", repr("\n".join(output)), "", setup)
    # What follows the value without an empty line between is prose.
    for text in ("\n".join(output), output[0]):
        value = _value(text)
        if value is not None and _is_value(value):
            return Example(ast.unparse(call), ast.unparse(value), "", setup)
    return None


def _asserts(text: str) -> Iterator[tuple[int, int, list[Example]]]:
    for match in islice(re.finditer(r"(?<![\w.])assert\s", text), _MAX_CALLS):
        source, end = _until(text, match.start(), "\n`")
        source = source.rstrip(" .。;；,，")
        module = _parse(source, "exec")
        if isinstance(module, ast.Module):
            tests = [node.test for node in module.body if isinstance(node, ast.Assert)]
            if examples := [example for test in tests for example in _from_test(test, "", set())]:
                yield match.start(), end, examples


def _from_test(test: ast.expr, setup: str, bound: set[str]) -> Iterator[Example]:
    """Split the condition of an assert into examples."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for value in test.values:
            yield from _from_test(value, setup, bound)
        return
    call, expected = test, None
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], (ast.Eq, ast.Is)):
        call, expected = test.left, test.comparators[0]
        if not _has_call(call):
            call, expected = expected, call
    if not _is_call(call, bound):
        return
    if expected is not None and (near := _approximately(call, expected)):
        yield Example(near, "True", "", setup)
    elif expected is None:
        yield Example(f"bool({ast.unparse(call)})", "True", "", setup)
    elif not _free(expected, bound):
        yield Example(ast.unparse(call), ast.unparse(expected), "", setup)


_RAISING = re.compile(r"\braises\(\s*(?:\w+\.)*([A-Z]\w*)[^()\n]*\)\s*:\s*")


def _raising_blocks(text: str) -> Iterator[tuple[int, Example]]:
    """Read `with pytest.raises(ValueError): f(0)`."""
    for match in islice(_RAISING.finditer(text), _MAX_CALLS):
        call = _CALL.match(text, match.end())
        read = _read_call(text, call.start(), call.end() - 1) if call else None
        if read is not None:
            yield match.start(), Example(ast.unparse(read[0]), "", match[1])


def _approximately(call: ast.expr, expected: ast.expr) -> str:
    """Return the comparison that `pytest.approx` makes; empty if the value is not one."""
    if not (isinstance(expected, ast.Call) and ast.unparse(expected.func).rpartition(".")[2] == "approx"):
        return ""
    wanted = {keyword.arg: ast.unparse(keyword.value) for keyword in expected.keywords}
    if len(expected.args) != 1 or wanted.keys() - {"rel", "abs"}:
        return ""
    value = ast.unparse(expected.args[0])
    near = f"rel_tol={wanted.get('rel', '1e-06')}, abs_tol={wanted.get('abs', '1e-12')}"
    return f"math.isclose({ast.unparse(call)}, {value}, {near})"


# Input and output


def _inputs(text: str) -> Iterator[tuple[int, Example]]:
    """Read `输入 12 和 18，输出 6`: arguments and a value, all of them literals, for a function without a name."""
    for match in islice(INPUT.finditer(text), _MAX_CALLS):
        out = OUTPUT.search(text, match.end(), match.end() + 200)
        if out is None:
            continue
        given = re.sub(
            r"\s*(?:[和与及と]|\band\b|\by\b|\bund\b|\bи\b)\s*", ", ", text[match.end() : out.start()]
        )
        arguments = _value(f"({given.translate(_FULL_WIDTH).strip(' `,')},)")
        value, _ = _read_value(text, out.end())
        if not isinstance(arguments, ast.Tuple) or value is None or not _is_literal(arguments):
            continue
        if _is_literal(value) and not (len(arguments.elts) == 1 and isinstance(arguments.elts[0], ast.Tuple)):
            inside = ", ".join(map(ast.unparse, arguments.elts))
            yield match.start(), Example(f"{UNIT}({inside})", ast.unparse(value))


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


# Sentences


def _sentences(text: str) -> Iterator[tuple[int, Example]]:
    done = 0
    exact = bool(ROUNDING.search(text))
    for match in islice(_CALL.finditer(text), _MAX_CALLS):
        if match.start() < done or _OPERATOR_BEFORE.search(text, max(0, match.start() - 40), match.start()):
            continue
        read = _read_call(text, match.start(), match.end() - 1)
        if read is None:
            continue
        call, end = read
        described = _is_description(call)
        if (raised := RAISES.match(text, end)) and not described:
            done = raised.end()
            name = (raised[1] or raised[2]).rpartition(".")[2]
            yield match.start(), Example(ast.unparse(call), "", name)
        elif found := _said(text, end, described):
            value, done = found
            if (error := _is_error(value)) and not described:
                yield match.start(), Example(ast.unparse(call), "", error)
            else:
                tolerance = 0.0 if exact else _tolerance(value)
                yield match.start(), Example(ast.unparse(call), ast.unparse(value), tolerance=tolerance)


def _said(text: str, end: int, described: bool) -> tuple[ast.expr, int] | None:
    """Read what a sentence says about the call that ends at `end`."""
    for says in (SAYS.match(text, end), TOPIC.match(text, end)):
        if says is None:
            continue
        value, value_end = _read_value(text, says.end())
        if value is None or (described and ast.unparse(value) in ("None", "True", "False")):
            continue
        if says.re is TOPIC and not VERB.match(text, value_end):
            continue
        arrow = re.search(r"[→⇒⟶]|[-=]>", says[0])
        if _is_value(value, types="==" in says[0]) or (arrow and _is_error(value)):
            return value, value_end
    return None


def _is_error(value: ast.expr) -> str:
    """Return the name of a builtin exception, given in place of a value: `f(0) -> ValueError`."""
    kind = getattr(builtins, value.id, None) if isinstance(value, ast.Name) else None
    return kind.__name__ if isinstance(kind, type) and issubclass(kind, BaseException) else ""


def _tolerance(value: ast.expr) -> float:
    """Return half a unit of the last decimal of a number that has two or more."""
    if isinstance(value, ast.UnaryOp):
        value = value.operand
    if not (isinstance(value, ast.Constant) and isinstance(value.value, float)):
        return 0.0
    digits = repr(value.value).partition(".")[2]
    return 0.5 * 10.0 ** -len(digits) if 2 <= len(digits) <= 6 and digits.isdigit() else 0.0


def _read_call(text: str, start: int, bracket: int) -> tuple[ast.expr, int] | None:
    """Read a call with what hangs on it (`f(2)[0]`, `Stack().push(1)`)."""
    source, end = text[start:bracket], bracket
    while match := _TRAILER.match(text, end):
        if text[match.end() - 1] not in "(（[［":
            source, end = source + match[0], match.end()
            continue
        group, group_end = _balanced(text, match.end() - 1)
        if not group:
            break
        source, end = source + match[0][:-1] + group, group_end
    call = _value(source)
    return (call, end) if call is not None and _is_call(call, set()) else None


def _read_value(text: str, start: int) -> tuple[ast.expr | None, int]:
    while text[start : start + 1] in (" ", "\t"):
        start += 1
    if text[start : start + 1] == "“" and (close := text.find("”", start)) > 0:
        return ast.Constant(text[start + 1 : close]), close + 1
    source, end = _until(text, start, _SENTENCE_END, prose=True)
    after = text[end : end + 1]
    if after and after in _COUNTER:
        return None, end
    if after in (",", "，") and re.match(r"[,，]\s*[-\d'\"(\[{（]", text[end:]):
        return None, end  # the value may be a tuple without parentheses
    source = source.rstrip(" \t.:")
    return _value(_WORDS.get(source.lower(), source)), end


# Characters


def _balanced(text: str, start: int) -> tuple[str, int]:
    """Read from an opening bracket to its closing one; full-width brackets and commas count, and become plain."""
    source, end = _until(text, start, "", closed=True)
    return (source, end) if source and source[-1] in _CLOSE else ("", end)


def _until(text: str, start: int, stop: str, *, prose: bool = False, closed: bool = False) -> tuple[str, int]:
    """Read Python source up to a stop character outside brackets and strings.

    With `prose`, also up to what begins the rest of a sentence; with `closed`, up to where all brackets are closed.
    """
    parts: list[str] = []
    depth, at, limit = 0, start, min(len(text), start + _MAX_LENGTH)
    while at < limit:
        char = text[at].translate(_FULL_WIDTH)
        if not depth and (text[at] in stop or (prose and _rest(text, start, at))):
            break
        if char in "'\"":
            literal = _STRING.match(text, at) if text[at] in "'\"" else None
            if literal is None:
                break
            parts.append(literal[0])
            at = literal.end()
            continue
        if char in _CLOSE:
            depth -= 1
            if depth < 0:
                break
        depth += char in _OPEN
        parts.append(char)
        at += 1
        if closed and not depth:
            break
    return "".join(parts), at


_STRING = re.compile(
    r"\'\'\'(?:[^\\]|\\.)*?\'\'\'|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\""
)


def _rest(text: str, start: int, at: int) -> bool:
    char = text[at]
    if char in ",#" or "\u2e80" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7a3":
        return True
    if at == start or text[at - 1] not in " \t":
        return False
    return char == "(" or bool(REST.match(text, at)) or bool(re.match(r"-+\s|//", text[at : at + 4]))


# Syntax


def _parse(source: str, mode: str) -> ast.AST | None:
    if not source or len(source) > _MAX_LENGTH:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in somebody's comment is not our warning
            tree = ast.parse(source, mode=mode)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return tree if _is_shallow(tree) else None


def _is_shallow(tree: ast.AST) -> bool:
    """Tell whether recursion over this tree is safe."""
    level: list[ast.AST] = [tree]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return True
    return False


def _value(source: str) -> ast.expr | None:
    tree = _parse(source.strip(), "eval")
    return tree.body if isinstance(tree, ast.Expression) else None


def _has_call(node: ast.expr) -> bool:
    return any(isinstance(inner, ast.Call) for inner in ast.walk(node))


def _is_call(node: ast.expr, bound: set[str]) -> bool:
    """Tell whether this calls something with arguments that have a value: not `gcd(a, b)`, not `f(...)`."""
    called = {inner.func for inner in ast.walk(node) if isinstance(inner, ast.Call)}
    names = {func.id for func in called if isinstance(func, ast.Name)}
    own = names - _BUILTINS or any(isinstance(func, ast.Attribute) for func in called) or bound & _names(node)
    return bool(called) and bool(own) and not _free(node, bound)


def _is_description(call: ast.expr) -> bool:
    """Tell whether no argument is given and no class made: `done() returns True` tells what a function is for."""
    calls = [node for node in ast.walk(call) if isinstance(node, ast.Call)]
    return not any(node.args or node.keywords or ast.unparse(node.func)[:1].isupper() for node in calls)


def _is_value(node: ast.expr, *, types: bool = False) -> bool:
    """Tell a value from half a sentence (`4 or 5`), half a chain (`a == b == c`) and, unless wanted, from a type."""
    if isinstance(node, (ast.BoolOp, ast.Compare, ast.Lambda, ast.GeneratorExp)):
        return False
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return False
    return not _free(node, set()) and (types or not isinstance(node, (ast.Subscript, ast.Name)))


def _free(node: ast.expr, bound: set[str]) -> bool:
    """Tell whether a variable or placeholder is used that has no value. Classes and constants may exist."""
    called = {id(inner.func) for inner in ast.walk(node) if isinstance(inner, ast.Call)}
    roots = {id(inner.value) for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
    inside = {arg.arg for arg in ast.walk(node) if isinstance(arg, ast.arg)}
    inside |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and inner.value is ...:
            return True
        if isinstance(inner, (ast.Await, ast.Yield, ast.YieldFrom)):
            return True
        if isinstance(inner, ast.Name) and not {id(inner)} & (called | roots):
            name = inner.id
            known = name in bound or name in inside or name in _BUILTINS
            if not known and not (name[0].isupper() and len(name) > 1):
                return True
    return False


_BUILTINS = frozenset(dir(builtins))


def _names(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _bound(setup: Iterable[str]) -> set[str]:
    """Return the names that doctest lines give a value."""
    names: set[str] = set()
    for source in setup:
        tree = _parse(source, "exec")
        for node in ast.walk(tree) if tree else ():
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.alias):
                names.add((node.asname or node.name).partition(".")[0])
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                names.add(node.name)
    return names


def _mentions(example: Example, name: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", f"{example.setup}\n{example.call}"))
