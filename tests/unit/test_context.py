"""What the model sees of a file, and the prompt made of it."""

from __future__ import annotations

import pytest

from nl2code_server.lang.context import Context, collect
from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import at
from nl2code_server.lang.placement import place
from nl2code_server.lang.prompt import FENCE, build, defuse, restore

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
