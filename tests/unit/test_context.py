"""What the model sees of a file, and the prompt made of it."""

from __future__ import annotations

from typing import Any

import pytest

from nl2code_server.lang.context import Around, Context, Extent, collect
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.imports import unused
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.prompt import FENCE, build, defuse, restore
from nl2code_server.lang.relevant import Module
from nl2code_server.lang.similar import Snippet

FILE = '''\
import os
from pathlib import Path


class Stack:
    """Last in, first out."""

    def __init__(self):
        self.items = []

    # push an item onto the stack

    def peek(self):
        return self.items[-1]


def report(users, *,
           title):
    print(title)
    for user in users:
        if user.active:
            # print the user's name and age

            pass
    return users


def gcd(a: int, b: int) -> int:
    """Return the greatest common divisor."""
'''


def context(text: str, line: str, tokens: int = 1000) -> Context:
    snapshot = Snapshot.from_text(text)
    row = next(number for number, content in enumerate(text.splitlines()) if line in content)
    found = at(snapshot, row, attention="invoked")
    assert found is not None
    return collect(snapshot, found, place(snapshot, found), tokens=tokens)


def test_a_method_continues_its_class() -> None:
    found = context(FILE, "# push an item")
    assert found.head == "class Stack:\n    # push an item onto the stack\n"
    assert found.depth == 4
    assert "self.items = []" in found.before
    assert "def peek" in found.after
    assert found.imports == "import os\nfrom pathlib import Path"


def test_statements_continue_their_function_with_its_blocks() -> None:
    found = context(FILE, "# print the user's name")
    assert found.head == (
        "def report(users, *,\n           title):\n    print(title)\n    for user in users:\n"
        "        if user.active:\n            # print the user's name and age\n"
    )
    assert found.depth == 12
    assert "print(title)" not in found.before
    assert "class Stack" in found.before


def test_a_stub_continues_its_head_and_docstring() -> None:
    found = context(FILE, "def gcd")
    assert found.head.endswith(
        'def gcd(a: int, b: int) -> int:\n    """Return the greatest common divisor."""\n'
    )
    assert found.depth == 4


@pytest.mark.parametrize("unit", ["  ", "\t", "        "])
def test_the_head_is_in_four_spaces_whatever_the_file_has(unit: str) -> None:
    text = "class Stack:\n    def __init__(self):\n        self.items = []\n\n    # push an item\n"
    found = context(text.replace("    ", unit), "# push an item")
    assert found.head == "class Stack:\n    # push an item\n"
    assert found.depth == 4


def test_the_module_level_has_no_head() -> None:
    found = context("import os\n\nx = 1\n\n# write a function that adds two numbers\n", "# write")
    assert (found.head, found.depth) == ("", 0)
    assert found.before == "x = 1"


def test_a_small_budget_keeps_the_head_and_drops_the_rest() -> None:
    long = "".join(f"def helper_{number}(a, b):\n    return a + b\n\n\n" for number in range(200))
    found = context(long + FILE, "# print the user's name", tokens=150)
    assert "for user in users" in found.head
    assert sum(found.sizes.values()) < 150 * 4


def test_what_is_far_away_is_outlined() -> None:
    long = "def far_away(a):\n    return a\n\n\n" + "x = 1\n" * 300
    found = context(long + "# write a function that adds two numbers\n", "# write", tokens=200)
    assert "def far_away(a): ..." in found.outline


def test_a_syntax_error_around_does_no_harm() -> None:
    text = "class Broken(:\n    def method(self):\n        # return the sum of a and b\n"
    found = context(text, "# return the sum")
    assert found.head.endswith("    def method(self):\n        # return the sum of a and b\n")
    assert found.depth == 8


def test_the_stable_part_of_the_prompt_comes_first() -> None:
    snapshot = Snapshot.from_text("import os\n\n\n# write a function that adds two numbers")
    found = at(snapshot, 3)
    assert found is not None
    placement = place(snapshot, found)
    one = build("add two numbers", placement, collect(snapshot, found, placement, tokens=500))
    two = build("add three numbers", placement, collect(snapshot, found, placement, tokens=500))
    assert one.hash != two.hash
    assert one.messages[0] == two.messages[0]
    common = one.messages[1][1].index("add two")
    assert one.messages[1][1][:common] == two.messages[1][1][:common]
    assert "import os" in one.messages[1][1][:common]
    assert one.prefill == FENCE


@pytest.mark.parametrize(
    "token",
    ["<|im_end|>", "<|im_start|>", "<|fim_prefix|>", "<|endoftext|>", "<tool_call>", "</s>", "[INST]", "[/INST]",
     "<｜User｜>", "<start_of_turn>", "<think>", "<fim_suffix>"],
)  # fmt: skip
def test_control_tokens_are_defused_and_restored(token: str) -> None:
    text = f"write {token} to the file, if a < b and c |> d"
    assert token not in defuse(text)
    assert restore(defuse(text)) == text
    snapshot = Snapshot.from_text(f"x = '{token}'\n\n\n# write a function {token}")
    found = at(snapshot, 3, attention="invoked")
    assert found is not None
    placement = place(snapshot, found)
    prompt = build(found.text, placement, collect(snapshot, found, placement, tokens=500))
    assert all(token not in content for _, content in prompt.messages)


def test_a_fence_in_the_file_does_not_close_ours() -> None:
    found = Context(before='text = """\n```python\nx\n```\n"""')
    snapshot = Snapshot.from_text("# write it")
    instruction = at(snapshot, 0, attention="invoked")
    assert instruction is not None
    user = build("write it", place(snapshot, instruction), found).messages[1][1]
    assert user.count("````") == 2


MODULES = {
    "models": Snapshot.from_text(
        "class Line:\n    count: int\n\n\nclass Order:\n    lines: list[Line]\n\n\nclass Rest:\n    x: int\n"
    ),
    "money": Snapshot.from_text(
        'def show(cents):\n    """Say an amount."""\n    return 1\n\n\nRATE = 20\nAPI_KEY = "abc"\n'
    ),
}


def with_project(text: str, line: str, tokens: int = 400, **around: Any) -> Context:
    snapshot = Snapshot.from_text(text)
    row = next(number for number, content in enumerate(text.splitlines()) if line in content)
    found = at(snapshot, row, attention="invoked")
    assert found is not None
    return collect(
        snapshot, found, place(snapshot, found), tokens=tokens, around=Around(modules=MODULES, **around)
    )


def test_what_is_imported_is_shown_with_the_classes_that_it_needs() -> None:
    found = with_project("from models import Order\n\n# write a function that adds two numbers\n", "# write")
    assert found.project == "# models\nclass Line:\n    count: int\nclass Order:\n    lines: list[Line]"


def test_what_the_instruction_names_goes_first() -> None:
    text = "from models import Order, Rest\nimport money\n\n# write a function that calls money.show on an order\n"
    assert "def show(cents):" in with_project(text, "# write").project
    tight = with_project(text, "# write", tokens=70).project
    assert "def show" in tight
    assert "Rest" not in tight


@pytest.mark.parametrize("tokens", [0, 1, 20, 50, 80, 120, 200])
def test_a_budget_is_kept_and_the_head_never_cut(tokens: int) -> None:
    text = "from models import Order\nimport money\n\n" + FILE
    found = with_project(text, "# print the user's name", tokens=tokens)
    rest = sum(found.sizes.values()) - found.sizes["head"]
    assert "# print the user's name" in found.head
    assert rest <= max(0, tokens * 3.2 - found.sizes["head"]) + 8


def test_the_tables_that_an_instruction_speaks_of_are_shown() -> None:
    store = 'SQL = """\nCREATE TABLE notes (\n    id INTEGER\n);\n"""\n\n\ndef connect(): ...\n'
    snapshot = Snapshot.from_text("from store import connect\n\n# write a function that returns all notes\n")
    found = at(snapshot, 2)
    assert found is not None
    around = Around(modules={"store": Snapshot.from_text(store)})
    seen = collect(snapshot, found, place(snapshot, found), tokens=400, around=around)
    assert "CREATE TABLE notes" in seen.project


def test_values_of_what_looks_like_a_secret_are_left_out() -> None:
    found = with_project(
        "import money\n\n# write a function that uses API_KEY and RATE, money.show\n", "# write"
    )
    assert "abc" not in found.project
    assert "API_KEY = ..." in found.project


def test_what_is_not_imported_comes_behind_the_file() -> None:
    other = Module("tools", ("pack",), Snapshot.from_text("def pack(x): ...\ndef unpack(x): ...\n"))
    text = "import money\n\n# write a function that uses `pack`\n"
    found = with_project(text, "# write", others=[other])
    assert found.others == "# tools\ndef pack(x): ..."
    snapshot = Snapshot.from_text(text)
    instruction = at(snapshot, 2)
    assert instruction is not None
    user = build(instruction.text, place(snapshot, instruction), found).messages[1][1]
    assert user.index("import money") < user.index("def pack") < user.index("uses `pack`")


def test_accepted_code_has_a_part_of_the_budget() -> None:
    snippets = [
        Snippet(f"number {number}", f"def f{number}(): ..." + "\n    # more" * 8) for number in range(9)
    ]
    found = with_project("x = 1\n\n# write a function\n", "# write", accepted=snippets)
    assert 1 <= len(found.accepted) < 9
    assert found.accepted[0] == snippets[0]


def test_the_class_around_is_described_where_it_is_not_shown() -> None:
    methods = "".join(
        f"    def method_{number}(self, a):\n        x = a\n        return x\n\n" for number in range(60)
    )
    init = "    def __init__(self, size):\n        self._size = size\n\n"
    text = f"class Big:\n{init}{methods}    # return twice the size\n"
    found = with_project(text, "# return twice", tokens=300)
    assert "self._size = size" in found.outline
    assert "self._size = size" not in found.before


@pytest.mark.parametrize(("extent", "shown"), [("project", True), ("file", False), ("none", False)])
def test_the_extent_is_kept(extent: Extent, shown: bool) -> None:
    text = "from models import Order\nLIMIT = 3\n\n# write a function\n"
    snapshot = Snapshot.from_text(text)
    found = at(snapshot, 3)
    assert found is not None
    around = Around(modules=MODULES, python=(3, 8), accepted=[Snippet("a", "b")])
    seen = collect(snapshot, found, place(snapshot, found), tokens=500, around=around, extent=extent)
    assert bool(seen.project) is bool(seen.accepted) is shown
    assert ("LIMIT" in seen.before) is (extent != "none")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(a: int) -> int:\n    return a\n", "Annotate"),
        ("def f(a):\n    return a\n", ""),
        ('def f(a):\n    """Do it."""\n    return a\n', "short docstring"),
        ('def f(a):\n    """Do it.\n\n    Args:\n        a: it\n    """\n    return a\n', "Google"),
        (
            'def f(a):\n    """Do it.\n\n    Parameters\n    ----------\n    a : int\n    """\n    return a\n',
            "NumPy",
        ),
        ('def f(a):\n    """Do it.\n\n    :param a: it\n    """\n    return a\n', ":param"),
        ("from __future__ import annotations\n", "Annotate"),
        ("def f(self, *args, **kwargs) -> None:\n    pass\n", ""),
        ("def f(self, a: int = 1, *, b: str) -> None:\n    pass\n", "Annotate"),
    ],
)
def test_habits_of_the_file_are_told_in_one_line(text: str, said: str) -> None:
    source = f"{text}\n\n# write a function that adds two numbers\n"
    snapshot = Snapshot.from_text(source)
    found = at(snapshot, source.count("\n") - 1)
    assert found is not None
    placement = place(snapshot, found)
    user = build("ask", placement, collect(snapshot, found, placement, tokens=500)).messages[1][1]
    line = user.split("\n\n")[-3]
    assert (said in line) if said else ("Annotate" not in user and "docstring" not in user)


MONEY = """
class Broke(Exception):
    pass


class Purse:
    cents: int


def format_cents(cents):
    \"\"\"Return an amount as text.\"\"\"
    return f"{cents / 100:.2f}"
"""


@pytest.mark.parametrize(
    ("imports", "rest", "waiting"),
    [
        ("format_cents", "", ("format_cents(cents)",)),
        ("Broke, format_cents", "", ("Broke", "format_cents(cents)")),
        ("format_cents", "# format_cents is used here\n", ("format_cents(cents)",)),
        ("format_cents", "print(format_cents(5))\n", ()),
        ("Purse", "", ()),  # may be there for an annotation
        ("format_cents as shown", "", ()),
    ],
)
def test_what_is_imported_and_not_used_yet_is_pointed_out(
    imports: str, rest: str, waiting: tuple[str, ...]
) -> None:
    text = f"from money import {imports}\n\n{rest}\n# write a function that prints a receipt\n"
    snapshot, modules = Snapshot.from_text(text), {"money": Snapshot.from_text(MONEY)}
    found = at(snapshot, text.count("\n") - 1, attention="invoked")
    assert found is not None
    seen = collect(snapshot, found, place(snapshot, found), tokens=1000, around=Around(modules=modules))
    assert seen.waiting == waiting
    question = build(found.text, place(snapshot, found), seen).messages[-1][1]
    assert ("which the file imports for this" in question) == bool(waiting)


def test_a_file_that_gathers_imports_has_none_waiting() -> None:
    names = ", ".join("abcdef")
    assert unused(Snapshot.from_text(f"from letters import {names}\n")) == ()
    assert unused(Snapshot.from_text("from letters import a, b\nimport os.path\n")) == ("a", "b", "os")
