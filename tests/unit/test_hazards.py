"""Risky calls through any name, licence texts, copies, and characters that nobody sees."""

from __future__ import annotations

import pytest

from nl2code_server.lang.hazards import copied_tokens, licence_lines, risky_calls
from nl2code_server.lang.hidden import hidden, mixed_names, visible, without_hidden


def names(code: str, *, before: str = "", wanted: str = "sort the list") -> list[str]:
    return [call.name for call in risky_calls(before, f"{before}\n{code}", code, wanted)]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("eval(x)", "eval"),
        ("import os\nos.system('ls')", "os.system"),
        ("from os import system\nsystem('ls')", "os.system"),
        ("from os import system as tidy\ntidy('ls')", "os.system"),
        ("import os as o\nf = o.system\ng = f\ng('ls')", "os.system"),
        ("import os\ngetattr(os, 'system')('ls')", "os.system"),
        ("import os\ngetattr(os, 'sys' + 'tem')('ls')", None),  # what the module docstring says: no wall
        ("__import__('os').system('ls')", "os.system"),
        ("import importlib\nimportlib.import_module('os').system('ls')", "os.system"),
        ("import importlib\nimportlib.import_module(name)", "importlib.import_module"),
        ("globals()['eval']('1')", "eval"),
        ("__builtins__['exec']('1')", "exec"),
        ("import builtins\nbuiltins.exec('1')", "exec"),
        ("import sys\nsys.modules['os'].remove('x')", "os.remove"),
        ("import os\nos.__dict__['remove']('x')", "os.remove"),
        ("from os import *\nremove('x')", "os.remove"),
        ("import os\nlist(map(os.remove, paths))", "os.remove"),
        ("import os\ndef f(do=os.remove):\n    do('x')", "os.remove"),
        ("os.remove('x')", "os.remove"),  # the import may be added later
        ("import subprocess as sp\nsp.run(command, shell=True)", "subprocess.run, shell=True"),
        ("import subprocess as sp\nsp.run(command, shell=flag)", "subprocess.run, shell=True"),
        ("import subprocess\nsubprocess.run(command, shell=False)", "subprocess.run"),
        ("from pathlib import Path\nPath('x').unlink()", "pathlib.Path.unlink"),
        ("from pathlib import Path\n(Path.home() / 'x').rmdir()", "pathlib.Path.rmdir"),
        ("from pathlib import Path\ndef f(path: Path | None):\n    path.unlink()", "pathlib.Path.unlink"),
        ("def f(folder):\n    for one in folder.iterdir():\n        one.unlink()", "….unlink"),
        ("import shutil\nshutil.rmtree('x')", "shutil.rmtree"),
        ("import pickle\npickle.loads(data)", "pickle.loads"),
        ("import yaml\nyaml.load(text)", "yaml.load"),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", "numpy.load"),
        ("import requests\nwith requests.Session() as s:\n    s.get(url)", "requests.Session.get"),
        ("import requests\nrequests.get(url, verify=False)", "requests.get, verify=False"),
        ("import urllib.request\nurllib.request.urlopen(url)", "urllib.request.urlopen"),
        ("import socket\nsocket.create_connection(a)", "socket.create_connection"),
        ("import ctypes\nctypes.CDLL('x')", "ctypes.CDLL"),
        ("import os\nos.chmod('x', 0o777)", "os.chmod"),
        ("import os\nasync def f():\n    if (run := os.popen):\n        run('x')", "os.popen"),
    ],
)
def test_a_call_is_seen_through_its_names(code: str, name: str | None) -> None:
    assert (name in names(code)) is (name is not None)


@pytest.mark.parametrize(
    "code",
    [
        "import os\nos.path.join('a', 'b')\nos.getcwd()\nos.environ['X']",
        "model.eval()\nframe.eval('a')\nitems.remove(1)\nre.compile('x')",
        "import re\nre.compile('x')",
        "def eval(x):\n    return x\n\neval(1)",
        "import subprocess\ntry:\n    f()\nexcept subprocess.CalledProcessError:\n    pass",
        "import pickle\npickle.dumps(1)",
        "import yaml\nyaml.safe_load(text)\nyaml.load(text, Loader=yaml.SafeLoader)",
        "import requests\ntry:\n    f()\nexcept requests.exceptions.HTTPError:\n    pass",
        "import numpy as np\nnp.load('x')",
        "from .tools import remove\nremove('x')",
        "text = 'os.system(1)'  # eval(x)",
        "def f(code, requests):\n    code.append(requests.pop())",
        "from http import HTTPStatus\nHTTPStatus.OK",
    ],
)
def test_ordinary_code_has_no_risky_calls(code: str) -> None:
    assert names(code) == []


def test_only_what_a_change_adds_is_told() -> None:
    before = "import os\n\ndef tidy():\n    os.remove('x')\n"
    assert names("def f():\n    return 1\n", before=before) == []
    assert names("def f():\n    os.remove('y')\n", before=before) == ["os.remove"]
    # A name of the file that the change gives another meaning.
    assert names("from os import system as tidy2\n", before="tidy2('x')\n") == ["os.system"]


def test_a_file_that_does_not_parse_is_no_hiding_place() -> None:
    broken = "import os\ndef half(:\n"
    assert names("def f():\n    os.remove('y')\n", before=broken) == ["os.remove"]
    assert names("return os.remove('y')", before=broken) == ["os.remove"]


@pytest.mark.parametrize(
    ("wanted", "code", "asked"),
    [
        ("delete the file at path", "import os\nos.remove('x')", True),
        ("读取文件然后删除它", "import os\nos.remove('x')", True),
        ("sort the list", "import os\nos.remove('x')", False),
        ("write a function remove_stale(folder)", "import os\nos.unlink('x')", True),
        ("use pickle to keep the result", "import pickle\npickle.load(f)", True),
        ("add two numbers", "import pickle\npickle.load(f)", False),
        ("download the page", "import requests\nrequests.get(u)", True),
        ("compute the gcd", "import requests\nrequests.get(u)", False),
        ("runCommand", "import subprocess\nsubprocess.run(c)", True),
        ("evaluate the expression", "eval(x)", True),
        ("return the mean", "eval(x)", False),
    ],
)
def test_what_was_asked_for_is_told_apart(wanted: str, code: str, asked: bool) -> None:
    (call,) = risky_calls("", code, code, wanted)
    assert call.asked is asked


@pytest.mark.parametrize(
    "text",
    [
        "# SPDX-License-Identifier: GPL-3.0-only",
        "# Copyright (c) 2019 Somebody Else",
        '"""Licensed under the Apache License, Version 2.0"""',
        "# Permission is hereby granted, free of charge, to any person obtaining a copy",
    ],
)
def test_a_licence_text_that_comes_along_is_seen(text: str) -> None:
    code = f"{text}\ndef f():\n    return 1\n"
    assert licence_lines("", code, "write f")
    assert not licence_lines(f"{text}\n", code, "write f")
    assert not licence_lines("", code, "write f with a copyright line")
    assert not licence_lines("", "def copyright():\n    return 'all rights'\n", "write f")


def test_a_long_copy_is_seen_and_a_short_one_is_not() -> None:
    row = "\n".join(f"value_{n} = first[{n}] + second({n}, 'x')" for n in range(30))
    assert copied_tokens(f"a = 1\n{row}\nb = 2\n", ["other", row]) >= 300
    assert copied_tokens(row.replace("value_15", "renamed"), [row]) < 300
    assert copied_tokens("\n".join(row.splitlines()[:3]), [row]) == 0
    assert copied_tokens(row, []) == 0


@pytest.mark.parametrize("shift", [0, 1, 17, 29, 30, 59])
def test_a_copy_is_found_wherever_it_begins(shift: int) -> None:
    row = " ".join(f"a{n}" for n in range(60))
    before = " ".join(f"b{n}" for n in range(shift))
    assert copied_tokens(f"{before} {row} end", ["nothing", f"x y {row}"]) == 60
    assert copied_tokens(f"{before} {row.replace('a59', 'c')} end", [f"x y {row}"]) == 0


def test_hidden_characters_are_named_and_taken_out() -> None:
    text = "del\u202eete \u2066it\u2069 n\u200bow\U000e0041\U000e0042 \x1b[2J"
    assert hidden(text) == ("U+001B", "U+200B", "U+202E", "U+2066", "U+2069", "U+E0041", "U+E0042")
    assert without_hidden(text) == "delete it now [2J"
    plain = "naïve 中文 дом 👍🏽 \t\r\n\f"
    assert hidden(plain) == () and without_hidden(plain) == plain


def test_in_strings_escapes_stand_in_for_them() -> None:
    code = 'x = "a\u200bb"  # c\u202ed\ny = r"a\u200b"\nz\u200b = f"{x}\U000e0041"\n'
    assert visible(code) == 'x = "a\\u200bb"  # cd\ny = r"a"\nz = f"{x}\\U000e0041"\n'
    assert visible("x = '中文'") == "x = '中文'"


def test_names_of_two_alphabets_are_seen() -> None:
    assert mixed_names("p\u0430ypal = 1\nимя = 2\nΔx = дом\nπ2 = 3\n") == ("p\u0430ypal",)
