"""Names that new code uses and nobody defines, and the imports that would define them."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from . import Edit, Point

if TYPE_CHECKING:
    from tree_sitter import Node

    from .document import Snapshot

_MODULE_NAMES = """
abc argparse array ast asyncio base64 binascii bisect calendar cmath collections concurrent configparser
contextlib copy csv ctypes dataclasses datetime decimal difflib email enum errno fnmatch fractions functools
gc getpass glob gzip hashlib heapq hmac html http importlib inspect io ipaddress itertools json locale
logging math mimetypes multiprocessing numbers operator os pathlib pickle pkgutil platform pprint queue
random re secrets shlex shutil signal socket sqlite3 ssl stat statistics string struct subprocess sys
tarfile tempfile textwrap threading time timeit traceback types typing unicodedata unittest urllib uuid
warnings weakref xml zipfile zlib zoneinfo
"""
_MODULES = frozenset(_MODULE_NAMES.split())
_MEMBERS = {
    "abc": "ABC ABCMeta abstractmethod",
    "bisect": "bisect_left bisect_right insort insort_left",
    "collections": "Counter OrderedDict ChainMap UserDict UserList defaultdict deque namedtuple",
    "collections.abc": "AsyncIterable AsyncIterator Awaitable Callable Collection Container Coroutine Generator "
    "Hashable ItemsView Iterable Iterator KeysView Mapping MutableMapping MutableSequence MutableSet Sequence Sized "
    "ValuesView",
    "contextlib": "contextmanager asynccontextmanager suppress closing redirect_stdout ExitStack nullcontext",
    "concurrent.futures": "ThreadPoolExecutor ProcessPoolExecutor as_completed",
    "copy": "copy deepcopy",
    "dataclasses": "dataclass asdict astuple",
    "datetime": "datetime date timedelta timezone",
    "decimal": "Decimal ROUND_HALF_UP ROUND_HALF_EVEN ROUND_DOWN",
    "enum": "Enum IntEnum StrEnum Flag IntFlag",
    "fractions": "Fraction",
    "functools": "reduce lru_cache cache cached_property partial wraps total_ordering singledispatch cmp_to_key",
    "glob": "glob",
    "heapq": "heappush heappop heapify nlargest nsmallest heapreplace heappushpop",
    "html.parser": "HTMLParser",
    "io": "StringIO BytesIO",
    "itertools": "accumulate chain combinations combinations_with_replacement cycle dropwhile groupby islice "
    "pairwise permutations product repeat starmap takewhile tee zip_longest",
    "math": "gcd lcm sqrt ceil floor factorial isclose isqrt hypot pi",
    "operator": "itemgetter attrgetter mul xor",
    "pathlib": "Path PurePath PurePosixPath",
    "pprint": "pprint",
    "queue": "Queue PriorityQueue",
    "random": "randint choice shuffle sample uniform",
    "statistics": "mean median mode stdev",
    "string": "ascii_letters ascii_lowercase ascii_uppercase digits punctuation",
    "tempfile": "NamedTemporaryFile TemporaryDirectory",
    "threading": "Lock RLock Thread",
    "types": "SimpleNamespace MappingProxyType",
    "typing": "Any AnyStr ClassVar Dict Final FrozenSet Generic List Literal NamedTuple NoReturn Optional Protocol "
    "Self Set Tuple Type TypeVar TypedDict Union cast overload TYPE_CHECKING",
    "urllib.parse": "urlparse urlencode urljoin quote unquote parse_qs",
    "urllib.request": "urlopen",
    "uuid": "uuid4 UUID",
    "zoneinfo": "ZoneInfo",
}
_SOURCES = {name: module for module, names in _MEMBERS.items() for name in names.split()}

# What every module or class body has, and builtins of Python versions that ours may not be.
_GIVEN_NAMES = """
__name__ __file__ __doc__ __package__ __spec__ __loader__ __path__ __builtins__ __annotations__ __dict__
__module__ __qualname__ __class__ __debug__ __cached__ WindowsError aiter anext ExceptionGroup
BaseExceptionGroup EncodingWarning PythonFinalizationError
"""
_GIVEN = frozenset(dir(builtins)) | frozenset(_GIVEN_NAMES.split())
_ANYTHING_GOES = frozenset({"exec", "globals"})


def undefined(source_before: str, source_after: str) -> tuple[str, ...]:
    """Return, sorted, the names that the second text uses without a definition and the first one did not.

    Empty as well where nothing can be said: the text does not parse, or names may come from a star import or `exec`.
    """
    after = _undefined(source_after)
    return tuple(sorted(after - _undefined(source_before))) if after else ()


@lru_cache(maxsize=4)
def _undefined(source: str) -> frozenset[str]:
    if _STAR_IMPORT.search(source):
        return frozenset()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user's file may warn, we have nobody to tell
            # With `annotations` deferred by it, the names in them would not count as used.
            top = symtable.symtable(_FUTURE_IMPORT.sub("", source), "<file>", "exec")
            return frozenset(_unresolved(top))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()


_STAR_IMPORT = re.compile(r"^[ \t]*from\s.*import\s*\*", re.MULTILINE)
_FUTURE_IMPORT = re.compile(r"^from\s+__future__\s+import\s+(?:\([^)]*\)|[\w ,]+)[ \t]*\r?$", re.MULTILINE)


def _unresolved(top: symtable.SymbolTable) -> set[str]:
    defined: set[str] = set()
    used: set[str] = set()
    for table in _tables(top):
        for symbol in table.get_symbols():
            name = symbol.get_name()
            module_level = table is top or symbol.is_declared_global()
            if module_level and (symbol.is_assigned() or symbol.is_imported() or symbol.is_annotated()):
                defined.add(name)
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                used.add(name)
    if used & _ANYTHING_GOES - defined:
        return set()
    return used - defined - _GIVEN


def _tables(top: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    stack = [top]
    while stack:
        table = stack.pop()
        yield table
        stack.extend(table.get_children())


def missing_imports(
    names: Iterable[str], code: str = "", project: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the line that imports each name: from `project`, which has such lines, or the standard library.

    `code` is where they are used; it decides between a module and its member of the same name (`datetime.now()`).
    """
    known = project or {}
    return {name: line for name in names if (line := known.get(name) or _import_line(name, code))}


def well_known(name: str) -> bool:
    """Tell whether a name alone says which module of the standard library it comes from."""
    return name in _SOURCES or name in _MODULES


def _import_line(name: str, code: str) -> str:
    module = _SOURCES.get(name)
    if module is None:
        return f"import {name}" if name in _MODULES else ""
    if name in _MODULES and re.search(rf"(?<![\w.]){name}\s*\.", code):
        members = r"\s*\.\s*(?:datetime|date|time|timedelta|timezone|UTC)\b"
        if name != "datetime" or re.search(rf"(?<![\w.]){name}{members}(?!\s*\(\s*\))", code):
            return f"import {name}"
    return f"from {module} import {name}"


# Edits


def insert_imports(snapshot: Snapshot, lines: Iterable[str]) -> tuple[Edit, ...]:
    """Return the edits that add import lines to the file's import block, leaving out what it imports already."""
    header = list(_header(snapshot))
    above = [node for node in header if node.start_point[0] >= snapshot.top]
    present = {key for node in header for key in _imported(_text(node))}
    wanted = [
        line for line in dict.fromkeys(map(str.strip, lines)) if line and not _imported(line) <= present
    ]
    future = [line for line in wanted if line.startswith("from __future__")]
    others = [line for line in wanted if line not in future]
    edits = []
    if future:
        first = [n for n in above if n.type in ("expression_statement", "future_import_statement")]
        edits.append(_insertion(snapshot, first, future))
    if others:
        edits.append(_insertion(snapshot, above, others))
    if len(edits) == 2 and edits[0].start == edits[1].start:
        return (_insertion(snapshot, above, [*future, *others]),)
    return tuple(edits)


_IMPORTS = ("import_statement", "import_from_statement", "future_import_statement")


def _header(snapshot: Snapshot) -> Iterator[Node]:
    """Yield the module docstring and the imports above the first definition."""
    first = True
    for node in snapshot.tree.root_node.named_children:
        if node.type == "comment":
            continue
        if node.type in ("function_definition", "class_definition", "decorated_definition"):
            return
        docstring = first and node.type == "expression_statement" and node.named_child_count == 1
        if node.type in _IMPORTS or (docstring and node.named_children[0].type == "string"):
            yield node
        first = False


def _insertion(snapshot: Snapshot, above: list[Node], lines: list[str]) -> Edit:
    eol = snapshot.eol
    text = eol.join(lines) + eol
    if above:
        row = above[-1].end_point[0] + 1
        if above[-1].type not in _IMPORTS:  # a docstring
            text = eol + text
        elif row < len(snapshot.lines) and _begins_import(snapshot, row):
            return Edit((row, 0), (row, 0), text)
    else:
        row = _top(snapshot)
    if row >= len(snapshot.lines):  # the last line has no line ending
        end: Point = (row - 1, len(snapshot.lines[row - 1]))
        return Edit(end, end, eol + text.removesuffix(eol))
    return Edit((row, 0), (row, 0), text + eol * _missing_blank_lines(snapshot, row, bool(above)))


def _begins_import(snapshot: Snapshot, row: int) -> bool:
    return snapshot.line(row).startswith((b"import ", b"from "))


def _missing_blank_lines(snapshot: Snapshot, row: int, below_header: bool) -> int:
    line = snapshot.line(row)
    if not line.strip():
        return 0
    if re.match(rb"(?:async\s+def|def|class|@|#)", line):
        return 2
    return 1 if not below_header or not line.startswith((b" ", b"\t", b")")) else 0


def _top(snapshot: Snapshot) -> int:
    """Return the first row below what must stay first: shebang, coding, licence."""
    row = snapshot.top
    while row < min(snapshot.top + 2, len(snapshot.lines)) and re.match(
        rb"#!|#.*coding[:=]", snapshot.lines[row]
    ):
        row += 1
    end = row
    while end < len(snapshot.lines) and snapshot.lines[end].startswith(b"#"):
        end += 1
    block = b"".join(snapshot.lines[row:end])
    if re.search(rb"copyright|licen[cs]e|spdx", block, re.IGNORECASE):
        while end < len(snapshot.lines) - 1 and not snapshot.line(end).strip():
            end += 1
        return end
    return row


def _imported(line: str) -> set[tuple[str, str, str]]:
    """Return what an import binds, as `(module, member, name)`."""
    try:
        tree = ast.parse(line)
    except (SyntaxError, ValueError):
        return set()
    found: set[tuple[str, str, str]] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {(alias.name, "", alias.asname or alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {(module, alias.name, alias.asname or alias.name) for alias in node.names}
    return found


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")
