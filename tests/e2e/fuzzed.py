"""What random sessions are made of: texts, changes, settings, editors, and answers of an endpoint gone wrong."""

from __future__ import annotations

from hypothesis import strategies as st

from e2e.door import COMMENT, FULL, GCD, PLAIN, fenced
from e2e.inside import Json
from e2e.rpc import position_of
from fakes.endpoint import Reply

URIS = ["file:///w/a.py", "file:///w/b%20%C3%A9.py", "untitled:1"]
NOTEBOOKS = ["file:///w/n.ipynb", "file:///w/%5Bm%5D.ipynb"]
PATIENCE = 3.0  # seconds to wait for one answer
KEPT = 20  # texts to which a document can go back
PIECES = [
    f"{COMMENT}\n",
    "# schreibe eine Funktion, die eine Liste umdreht\n",
    "# 写一个函数计算两个数的和\n",
    "# TODO: add a cache\n",
    "# ai: sort this list, e.g. f([2, 1]) == [1, 2]\n",
    "def f(a, b):\n    ...\n",
    'class A:\n    def m(self):\n        """Return 1."""\n',
    "    # write a loop that prints the numbers to 3\n",
    "x = 1\r\n",
    "if x:\r    y = 2\r",
    "\n",
    "\r\n",
    "\r",
    "\t",
    " " * 4,
    "",
    "é",
    "写",
    "😋",
    "e\u0301",
    "\ud83d",
    "\ude0b",
    "\u2028",
    "\x0c",
    "\x85",
    "\x00",
    "\ufeff",
    "\u202e",
    "\U000e0041",
    "<|im_end|>",
    "```",
    "'",
    '"""',
    "(",
    ")",
    "\\\n",
    "%%time\n",
    "!ls\n",
    "lambda:" * 200,
    "(" * 400,
    "x" * 70_000,
    "# write a function\n" * 300,
]
# By number, because Hypothesis prints what it draws from.
PIECE = st.integers(0, len(PIECES) - 1).map(lambda number: PIECES[number])
TEXTS = st.lists(PIECE, max_size=6).map("".join)
NUMBERS = st.one_of(st.integers(0, 6), st.integers(-2, 90), st.sampled_from([1000, 2**31 - 1, 2**31, 2**70]))
POSITIONS = st.fixed_dictionaries({"line": NUMBERS, "character": NUMBERS})
SPANS = st.none() | st.fixed_dictionaries({"start": POSITIONS, "end": POSITIONS})
CHANGES = st.lists(st.tuples(SPANS, TEXTS), min_size=1, max_size=4)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SURROGATES = r'data: {"choices": [{"index": 0, "delta": {"content": "def f():\n    return \"\ud800\"\n"}}]}'
REPLIES: list[str | Reply] = [
    fenced(GCD),
    fenced("def f(a, b):\n    return a + b\n"),
    fenced("x = 1\n" * 400),
    fenced("import os\nos.system('true')\n"),
    fenced("def f(:\n"),
    "Sorry, I cannot help with that.",
    "",
    GCD,
    fenced("# only a comment\n"),
    Reply(text=fenced(GCD), token_delay=0.02),
    Reply(text=fenced(GCD), first_delay=0.3),
    Reply(text=fenced(GCD), header_delay=0.3),
    Reply(text=fenced(GCD), write_size=1, done=False),
    Reply(text=fenced("def f():\n    return '写😋'\n"), write_size=1),
    Reply(text=fenced(GCD), echo=True, usage=False, finish_reason="length"),
    Reply(text=fenced(GCD), hang_after=0),
    Reply(text=fenced(GCD), hang_after=4),
    Reply(text=fenced(GCD), cut_after=3),
    Reply(text=fenced(GCD), reset_after=3),
    Reply(reset_after=-1),
    Reply(status=401),
    Reply(status=429, headers=(("retry-after", "1"),)),
    Reply(status=503, body="busy", content_type="text/plain"),
    Reply(body="<html>login</html>", content_type="text/html"),
    Reply(body="{}"),
    Reply(body='{"choices": 5}'),
    Reply(body="data: [1]\n\ndata: {\n\n", content_type="text/event-stream"),
    Reply(body=f"{SURROGATES}\n\ndata: [DONE]\n\n", content_type="text/event-stream"),
    Reply(status=302, headers=(("location", "http://127.0.0.1:9/v1"),)),
]
REPLY = st.integers(0, len(REPLIES) - 1).map(lambda number: REPLIES[number])
COMMANDS = ["generate", "alternatives", "explainLast", "status", "accept", "reject", "nothing"]
TASTES: list[Json] = [
    {},
    {"mode": "marker"},
    {"mode": "manual"},
    {"surface": "both"},
    {"surface": "popup"},
    {"comment": "remove"},
    {"comment": "docstring", "candidates": 3},
    {"verify": False},
    {"candidates": 99, "endpoint": "http://example.org"},
]


POPUP: Json = {
    "textDocument": {
        "completion": {
            "completionItem": {
                "snippetSupport": False,
                "documentationFormat": ["markdown"],
                "resolveSupport": {"properties": ["documentation"]},
            }
        }
    },
    "workspace": {"applyEdit": True},
}
"""An editor without ghost text, as Vim and Emacs are."""
EDITORS: list[Json] = [PLAIN, FULL, POPUP]
FLAGS = {"request_timeout": 1, "budget_seconds": 2, "redact": False}


def as_json(changes: list[tuple[Json, str]]) -> list[Json]:
    """Return changes as the protocol has them."""
    return [{"text": text} if span is None else {"range": span, "text": text} for span, text in changes]


def edits_of(item: Json) -> list[Json]:
    """Return the edits of an item of ghost text or of a popup."""
    if "insertText" in item and "range" in item:
        return [{"range": item["range"], "newText": item["insertText"]}]
    return [item["textEdit"], *(item.get("additionalTextEdits") or ())]


def least_change(old: str, new: str, encoding: str) -> tuple[Json, str]:
    """Return the range of a text and what takes its place, so that it becomes the other."""
    shorter = min(len(old), len(new))
    first = next((place for place in range(shorter) if old[place] != new[place]), shorter)
    while first and old[first - 1] == "\r":  # no position lies within a line's end
        first -= 1
    tail = next(
        (count for count in range(shorter - first) if old[-1 - count] != new[-1 - count]), shorter - first
    )
    while tail and old[-tail] == "\n":
        tail -= 1
    ends = {"start": first, "end": len(old) - tail}
    span = {name: position_of(old, offset, encoding) for name, offset in ends.items()}
    return span, new[first : len(new) - tail]


def bounded(span: Json) -> Json:
    """Return a range whose numbers a protocol class takes."""
    if span is None:
        return None
    return {
        name: {axis: min(max(number, 0), 2**31 - 1) for axis, number in position.items()}
        for name, position in span.items()
    }
