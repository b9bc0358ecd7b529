"""What is taken for a request, and what never is."""

from __future__ import annotations

import pytest

from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.instruction import Instruction, at, find
from nl2code_server.lang.instruction.comments import is_code
from nl2code_server.lang.instruction.language import foreign


def _only(text: str, mode: str = "auto") -> Instruction:
    found = find(Snapshot.from_text(text), mode)  # type: ignore[arg-type]
    assert len(found) == 1, found
    return found[0]


REQUESTS = [
    "write a function computing the gcd of two numbers, e.g. gcd(12, 18) == 6",
    "sort the list by age",
    "Given a string, return its longest palindrome.",
    "how to reverse a dictionary?",
    "请编写一个Python函数，用于计算两个数的最大公约数。",
    "读取配置文件并返回字典",
    "计算阶乘",
    "2つの数の最大公約数を計算する関数を書いてください",
    "辞書型オブジェクト`d`内のキー`k`を削除する",
    "두 수의 최대공약수를 구하는 함수를 작성하세요",
    "напиши функцию, которая складывает два числа",
    "Отсортировать список словарей по ключу",
    "escribe una función que sume dos números",
    "Écris une fonction qui additionne deux nombres",
    "Schreibe eine Funktion, die zwei Zahlen addiert",
    "Crie uma função que some dois números",
    "اكتب دالة تجمع عددين",
]


@pytest.mark.parametrize("text", REQUESTS)
@pytest.mark.parametrize(
    "file",
    [
        "# {}",
        "# {}\n",
        "x = 1\n\n# {}\n\ny = 2\n",
        "for x in []:\n    # {}\n    pass\n",
        "if x:\n    y = 1\n\n    # {}\nz = 1\n",
    ],
)
def test_fires_above_an_empty_place(text: str, file: str) -> None:
    found = _only(file.format(text))
    assert found.fires, found.reason
    assert (found.kind, found.text) == ("comment", text)


@pytest.mark.parametrize("text", REQUESTS)
def test_directly_above_code_only_on_attention(text: str) -> None:
    snapshot = Snapshot.from_text(f"# {text}\nx = 1\n")
    assert not find(snapshot)[0].fires
    pointed = at(snapshot, 0, attention="invoked")
    assert pointed is not None and pointed.fires


def test_cursor_at_the_end_above_code_wants_wording() -> None:
    def fires(text: str) -> bool:
        found = at(Snapshot.from_text(f"# {text}\nx = 1\n"), 0, attention="cursor")
        return found is not None and found.fires

    assert fires("write a function that doubles, e.g. f(2) == 4")
    assert fires("请编写一个函数，用于计算两个数的最大公约数。")
    assert fires("напиши функцию, которая складывает два числа")
    assert not fires("the default timeout")
    assert not fires("主函数")


@pytest.mark.parametrize("text", ["gcd of two numbers", "use a heap here", "users"])
def test_any_prose_in_an_empty_place_is_enough_at_the_cursor_or_on_command(text: str) -> None:
    snapshot = Snapshot.from_text(f"# {text}\n\n")
    assert not find(snapshot)[0].fires
    pointed = at(snapshot, 0, attention="invoked")
    assert pointed is not None and pointed.fires
    at_cursor = at(snapshot, 1, attention="cursor")
    assert at_cursor is not None and at_cursor.fires == (" " in text)


NOTES = [
    "Base class for all kinds of client-side errors.",
    "Test that sum works correctly with IEEE-754 special values.",
    "This file is based on sgmllib.py, but the API is slightly different.",
    "Decoding Table",
    "private methods",
    "XXX Need test for when max_line_length is less than the chrome size.",
    "See https://example.org/issue/1 for the reason",
    "we don't copy it because the caller owns it",
    "注意：这里不能为空",
    "用户模型",
]


@pytest.mark.parametrize("text", NOTES)
def test_notes_and_headings_do_not_fire(text: str) -> None:
    found = _only(f"import os\n\n# {text}\n\nx = 1\n")
    assert not found.fires
    assert found.reason


NEVER = [
    ("# type: ignore", "directive"),
    ("# noqa: E501", "directive"),
    ("# pragma: no cover", "directive"),
    ("# fmt: off", "directive"),
    ("# pylint: disable=all", "directive"),
    ("# isort: skip_file", "directive"),
    ("# -*- coding: utf-8 -*-", "directive"),
    ("# vim: set ts=4", "directive"),
    ("# %% write a function", "directive"),
    ("#!/usr/bin/env python", "shebang"),
    ("#: the width of a line", "documents the line below"),
    ("#", "says nothing"),
    ("# ----------------", "section heading"),
    ("# ======== write ========", "section heading"),
    ("# Copyright 2020 The Authors", "licence text"),
    ("# Licensed under the Apache License, Version 2.0", "licence text"),
    ("# SPDX-License-Identifier: MIT", "licence text"),
    ("# x = compute(1)", "commented-out code"),
    ("# def f(x):\n#     return x", "commented-out code"),
    ("# import os", "commented-out code"),
    ("# else:", "commented-out code"),
    ("x = 1  # write a function", "stands behind code"),
    ("x = [\n    # write a list of primes\n\n]", "stands inside an expression"),
    ("@cache\n# write a function\n\ndef f(): return 1", "stands between decorator and definition"),
]


@pytest.mark.parametrize(("text", "reason"), NEVER)
def test_never(text: str, reason: str) -> None:
    snapshot = Snapshot.from_text(f"{text}\n")
    assert [one.fires for one in find(snapshot)] == [False]
    assert reason in find(snapshot)[0].reason
    row = find(snapshot)[0].start_row
    pointed = at(snapshot, row, attention="invoked")
    assert pointed is not None and not pointed.fires


@pytest.mark.parametrize(
    "text",
    [
        "s = '# write a function'\n",
        's = """\n# write a function\n\n"""\n',
        'def f():\n    """Do.\n\n    # write a function\n    """\n    return 1\n',
        "s = f'''{x}\n# write a function\n'''\n",
    ],
)
def test_text_in_strings_is_no_comment(text: str) -> None:
    assert find(Snapshot.from_text(text)) == []


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("# ai: sort the list", "sort the list"),
        ("# AI: sort the list", "sort the list"),
        ("# @ai sort the list", "sort the list"),
        ("# sort the list AI!", "sort the list"),
        ("# sort the list, ai!", "sort the list"),
        ("# AI! sort the list", "sort the list"),
        ("# 写一个函数 AI！", "写一个函数"),
        ("# sort\n# the list AI!", "sort\nthe list"),
        ("# ai: x = 1", "x = 1"),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "marker"])
def test_markers_fire_above_code(text: str, asked: str, mode: str) -> None:
    found = _only(f"{text}\nx = 1\n", mode)
    assert (found.kind, found.text, found.fires) == ("marker", asked, True)


@pytest.mark.parametrize("text", ["# maintained by AI", "# the ai module", "# email! now"])
def test_not_every_ai_is_a_marker(text: str) -> None:
    assert _only(f"{text}\n").kind == "comment"


@pytest.mark.parametrize(
    ("text", "asked", "fires"),
    [
        ("TODO: implement the parser", "implement the parser", True),
        ("FIXME(kim): sort the list by name", "sort the list by name", True),
        ("todo write a function that adds", "write a function that adds", True),
        ("TODO: is this still needed?", "is this still needed?", False),
        ("TODO: refactor properly later", "refactor properly later", False),
        ("FIXME", "", False),
    ],
)
def test_todo(text: str, asked: str, fires: bool) -> None:
    found = _only(f"# {text}\n\nx = 1\n")
    assert (found.kind, found.text, found.fires) == ("todo", asked, fires)
    assert not _only(f"# {text}\nx = 1\n").fires


def test_modes() -> None:
    text = "# write a function that adds numbers\n"
    snapshot = Snapshot.from_text(text)
    assert _only(text).fires
    for mode in ("marker", "manual"):
        assert not _only(text, mode).fires
        pointed = at(snapshot, 0, mode, attention="cursor")
        assert pointed is not None and not pointed.fires
        asked = at(snapshot, 0, mode, attention="invoked")
        assert asked is not None and asked.fires
    assert not _only("# ai: sort\n", "manual").fires
    assert not _only("def f():\n    # sort the list\n", "marker").fires


def test_blocks() -> None:
    text = (
        "#!/bin/python\n# write a function\n#\n# that adds: >>> add(1, 2)\n    # deeper\n\n# other\nx = 1\n"
    )
    found = find(Snapshot.from_text(text))
    assert [(one.start, one.end) for one in found] == [
        ((0, 0), (0, 13)),
        ((1, 0), (3, 26)),
        ((4, 4), (4, 12)),
        ((6, 0), (6, 7)),
    ]
    assert found[1].text == "write a function\n\nthat adds: >>> add(1, 2)"


def test_relative_indentation_of_a_block_is_kept() -> None:
    found = _only("# write a class:\n#     with a method\n")
    assert found.text == "write a class:\n    with a method"


def test_invisible_characters_are_taken_out() -> None:
    found = _only("# \u202ewrite\u202c a func\u200btion\U000e0041 \u2066that\u2069 adds\n")
    assert found.text == "write a function that adds"


def test_rows_limits_the_search_to_whole_blocks() -> None:
    text = "# a one\n# a two\n\nx = 1\n\n# b one\n# b two\n\ndef f():\n    # c\n    pass\n"
    snapshot = Snapshot.from_text(text)
    every = find(snapshot)
    assert len(every) == 3
    for row in range(len(snapshot.lines)):
        expected = [one for one in every if one.start_row <= row <= one.end_row]
        assert find(snapshot, rows=range(row, row + 1)) == expected


@pytest.mark.parametrize(
    ("row", "start"),
    [
        (0, None),
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 1),
        (5, None),
        (6, 6),
        (7, 6),
        (8, 6),
        (9, 6),
        (10, 6),
        (11, 11),
        (12, 11),
    ],
)
def test_at(row: int, start: int | None) -> None:
    text = "x = 1\n# one\n# two\n\n\ny = 2\ndef f():\n    # three\n\n    pass\n\n# four\n"
    found = at(Snapshot.from_text(text), row)
    assert (found.start_row if found else None) == start


def test_at_finds_the_comment_from_the_placeholder_below_it() -> None:
    found = at(Snapshot.from_text("if x:\n    # sort the list\n\n    pass\n"), 3)
    assert found is not None
    assert found.fires and found.start == (1, 4) and found.body == ((3, 4), (3, 8))


def test_at_outside_the_file() -> None:
    snapshot = Snapshot.from_text("# sort the list")
    assert at(snapshot, 1) is None
    assert at(snapshot, -1) is None
    assert at(Snapshot.from_text(""), 0) is None


def test_a_note_on_a_handler_that_does_nothing() -> None:
    assert not _only("try:\n    x()\nexcept OSError:\n    # remove the old file later\n    pass\n").fires


def test_long_lines_and_long_blocks_are_quick() -> None:
    line = "# write " + "a" * 200_000 + "\n"
    assert not _only(line).fires
    assert _only("# write a function\n" * 3000).end == (2999, 18)
    quotes = "# " + "'\"`" * 5_000 + "\n"
    assert not _only(quotes).fires


@pytest.mark.parametrize("eol", ["\n", "\r\n", "\r"])
def test_line_endings(eol: str) -> None:
    found = _only(f"# sort the list{eol}# by age{eol}{eol}x = [3, 1]{eol}")
    assert found.fires
    assert (found.text, found.start, found.end) == ("sort the list\nby age", (0, 0), (1, 8))


def test_half_typed_elsewhere() -> None:
    text = "def broken(:\n    x = (\n\n# write a function that adds\n\nclass\n"
    assert [one.fires for one in find(Snapshot.from_text(text))] == [True]


OTHER_LANGUAGES = [
    "größten gemeinsamen Teiler zweier Zahlen berechnen",
    "ordenar una lista de diccionarios por la clave",
    "schrijf een functie die twee getallen optelt",
    "napisz funkcję, która sortuje listę",
    "tulis fungsi untuk menghitung faktorial",
    "kirjoita funktio joka laskee kahden luvun summan",
    "scrivi una funzione che inverte una stringa",
    "viết hàm tính giai thừa",
    "sorter listen etter alder",
    "verilen listeyi küçükten büyüğe sırala",
    "Διάβασε ένα αρχείο και μέτρησε τις λέξεις",
    "เขียนฟังก์ชันหาค่าเฉลี่ย ของตัวเลข ในรายการ",
]


@pytest.mark.parametrize("text", OTHER_LANGUAGES)
def test_prose_in_any_language_fires_above_an_empty_place(text: str) -> None:
    assert foreign(text)
    assert _only(f"x = 1\n\n# {text}\n\ny = 2\n").fires


@pytest.mark.parametrize(
    "text",
    [
        "Sjoerd Mullender, Jack Jansen, Lars Knudsen",
        "trailer: '(' [testlist] ')' | '[' subscript ']' | '.' NAME",
        "ismodule, isclass and ismethod are tested here",
        "see foo.bar.baz and qux_quux",
        "Ran out of steam; TO DO: divmod, div, future division",
    ],
)
def test_names_and_grammars_are_no_foreign_prose(text: str) -> None:
    assert not foreign(text)
    assert not _only(f"x = 1\n\n# {text}\n\ny = 2\n").fires


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Find all matching objects.", "def findall(elem, path):"),
        ("Store the result as a tuple", "class ResultStore:"),
        ("get number of samples", "num_samples = len(rows)"),
        ("Open socket to server.", "def opensocket(self):"),
    ],
)
def test_what_the_code_below_says_already_is_no_request(text: str, code: str) -> None:
    body = "\n    return 1" if code.endswith(":") else ""
    found = find(Snapshot.from_text(f"# {text}\n\n{code}{body}\n"))[0]
    assert not found.fires
    assert "says what the code" in found.reason or "reads like a note" in found.reason
    directly = at(Snapshot.from_text(f"# {text}\n{code}{body}\n"), 0, attention="cursor")
    assert directly is not None and not directly.fires


def test_an_echo_is_what_makes_the_difference() -> None:
    text = "# Find all matching objects.\n\ndef {}(elem, path):\n    return 1\n"
    echo, other = (find(Snapshot.from_text(text.format(name)))[0] for name in ("findall", "run"))
    assert (echo.fires, other.fires) == (False, True)
    assert "says what the code further down says" in echo.reason


def test_what_names_the_unit_is_a_request_whatever_stands_below() -> None:
    text = "# write a function that finds all rows of a table\n\ndef find_rows(table):\n    return 1\n"
    assert find(Snapshot.from_text(text))[0].fires


def test_the_cursor_in_an_empty_place_counts_more_than_a_word_in_common() -> None:
    text = "def f(items):\n    # total price of the cart with tax\n\n    return total\n"
    found = at(Snapshot.from_text(text), 2, attention="cursor")
    assert found is not None and found.fires


@pytest.mark.parametrize("text", ["TODO: add index to xls file", "FIXME: write a function to do this"])
def test_todo_directly_above_code_waits_for_a_command(text: str) -> None:
    snapshot = Snapshot.from_text(f"# {text}\nx = 1\n")
    rests = at(snapshot, 0, attention="cursor")
    asks = at(snapshot, 0, attention="invoked")
    assert rests is not None and not rests.fires
    assert asks is not None and asks.fires


@pytest.mark.parametrize(
    "text",
    [
        "a function purge(rows, limit) that drops old rows",
        "pay(order): mark the order as paid and return the receipt",
        "def mean(xs): average of the numbers",
        "recursively delete all empty folders",
        "multiply two matrices",
        "apply a function to each row",
        "How can I split a string in Python?",
    ],
)
def test_requests_by_signature_adverb_and_question(text: str) -> None:
    assert _only(f"x = 1\n\n# {text}\n\ny = 2\n").fires


@pytest.mark.parametrize(
    "text", ["3. Calculate the path", "Next, compile the source", "Step 2: load the rows"]
)
def test_steps_tell_and_do_not_ask(text: str) -> None:
    assert not _only(f"x = 1\n\n# {text}\n\ny = 2\n").fires


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("print name, self.first[name].keys()", True),
        ('print "using asymp"', True),
        ("print 'hello' twice", False),
        ("print numbers, sorted", False),
        ("print the numbers (sorted)", False),
        ("print backslash", False),
    ],
)
def test_print_as_python_2_had_it_is_code(text: str, code: bool) -> None:
    assert is_code(text) == code


REFUSED = [
    "# users\n\nx = 1\n",
    "# sort the list\nx = 1\n",
    "# Find all matching objects.\n\ndef findall():\n    return 1\n",
    'def f():\n    """The default."""\n    pass\n',
    "class A:\n    def a(self): ...\n    def b(self): ...\n    def c(self): ...  # it\n",
]


@pytest.mark.parametrize("text", [*REFUSED, "# x = compute(1)\n"])
def test_a_decision_against_says_how_to_ask(text: str) -> None:
    refused = [one for one in find(Snapshot.from_text(text)) if not one.fires]
    assert refused
    for one in refused:
        assert "ai:" in one.reason or "add a docstring" in one.reason


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize(("mode", "hint"), [("marker", "`ai:`"), ("manual", "Generate code")])
def test_a_mode_that_refuses_says_how_to_ask(text: str, mode: str, hint: str) -> None:
    assert all(hint in one.reason for one in find(Snapshot.from_text(text), mode))  # type: ignore[arg-type]
