"""Undefined names by scope, the imports that define them, and where these go."""

from __future__ import annotations

import ast
import sys

import pytest

from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.names import insert_imports, missing_imports, undefined


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x):\n    return math.sqrt(x) + helper", ("helper", "math")),
        ("x = [i for i in range(3) if i]\ny = i", ("i",)),
        ("class A:\n    k = 1\n    def f(self):\n        return k, self.k, __class__", ("k",)),
        ("class A:\n    k = 1\n    m = k, __qualname__", ()),
        ("def f():\n    global q\n    q = 1\nprint(q)", ()),
        ("def o():\n    x = 1\n    def i():\n        nonlocal x\n        x += 1\n    return i", ()),
        (
            "match v:\n    case [a, *b]: print(a, b)\n    case {'x': y, **r}: print(y, r)\n    case C(z=w): w",
            ("C", "v"),
        ),
        ("try:\n    pass\nexcept E as e:\n    print(e)", ("E",)),
        ("if (n := 3):\n    print(n)", ()),
        ("print([m := 1, m])", ()),
        ("f = lambda a, *b, c=1, **d: (a, b, c, d, z)", ("z",)),
        ("for k, (l, m) in []:\n    k, l, m\nwith o() as (p, q):\n    p, q", ("o",)),
        ("import a.b as c, d.e\nfrom g import h\nc, d, h, a", ("a",)),
        ("print(__name__, __file__, self)", ("self",)),
        ("x: int\nx", ()),
        ("@deco\ndef f(a=default): pass", ("deco", "default")),
        ("def f(a: Foo) -> Bar: pass", ("Bar", "Foo")),
        ("from __future__ import annotations\ndef f(a: Foo) -> List[int]: pass", ("Foo", "List")),
        ("from __future__ import (\n    annotations,\n)\r\ndef f(a: Foo): pass", ("Foo",)),
        ("f'{a!r:>{b}}'", ("a", "b")),
        ("def f():\n    return later()\ndef later(): pass", ()),
        ("async def f():\n    async with a as b:\n        return [c async for c in b]", ("a",)),
        ("del gone", ()),
        ("def f():\n    try:\n        import x\n    except ImportError:\n        x = None\n    return x", ()),
        ("from x import *\nfoo", ()),
        ("try:\n    from x import  (a)\n    from .x import*\nexcept E: pass", ()),
        ("exec('a = 1')\na", ()),
        ("globals()['a'] = 1\na", ()),
    ],
)
def test_undefined_names(source: str, names: tuple[str, ...]) -> None:
    assert undefined("", source) == names


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters")
def test_type_parameters_are_defined() -> None:
    assert undefined("", "def f[T: B](x: T) -> T: return x\nclass C[U]: x: U\ntype A[V] = list[V]") == ("B",)


def test_what_was_undefined_before_is_not_reported() -> None:
    before = "old()\n"
    assert undefined(before, before + "def f():\n    return old(), new()\n") == ("new",)
    assert undefined("def (", "new()") == ("new",)


@pytest.mark.parametrize(
    "source", ["def f(:", "x\x00", "(" * 1000, "-" * 100_000 + "1", "nonlocal x", "return ]"]
)
def test_source_that_does_not_parse_says_nothing(source: str) -> None:
    assert undefined("", source) == ()


def test_a_definition_that_the_code_removes_is_reported() -> None:
    assert undefined("import os\nos.getcwd()", "os.getcwd()") == ("os",)


def test_missing_imports() -> None:
    assert missing_imports(["math", "defaultdict", "List", "Path", "reduce", "Iterable", "helper", "np"]) == {
        "math": "import math",
        "defaultdict": "from collections import defaultdict",
        "List": "from typing import List",
        "Path": "from pathlib import Path",
        "reduce": "from functools import reduce",
        "Iterable": "from collections.abc import Iterable",
    }


@pytest.mark.parametrize(
    ("code", "name", "line"),
    [
        ("datetime.now()", "datetime", "from datetime import datetime"),
        ("datetime.datetime.now()", "datetime", "import datetime"),
        ("datetime.timedelta(days=1)", "datetime", "import datetime"),
        ("datetime.now().date()", "datetime", "from datetime import datetime"),
        ("copy.deepcopy(x)", "copy", "import copy"),
        ("copy(x)", "copy", "from copy import copy"),
        ("glob.glob('*')", "glob", "import glob"),
        ("glob('*')", "glob", "from glob import glob"),
        ("time.time()", "time", "import time"),
    ],
)
def test_a_module_and_its_member_of_the_same_name(code: str, name: str, line: str) -> None:
    assert missing_imports([name], code) == {name: line}


def test_every_known_import_works() -> None:
    from nl2code_server.lang import names

    lines = missing_imports([*names._SOURCES, *names._MODULES]).values()
    assert len(lines) > 200
    scope: dict[str, object] = {}
    exec("\n".join(lines), scope)
    assert undefined("", "\n".join([*lines, *(f"{name}" for name in names._SOURCES)])) == ()


def inserted(text: str, *lines: str) -> str:
    snapshot = Snapshot.from_text(text)
    return snapshot.edited(insert_imports(snapshot, lines)).text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "import math\n"),
        ("# write f\n", "import math\n\n\n# write f\n"),
        ("\n\n# write f\n", "import math\n\n\n# write f\n"),
        ("def f(): pass\n", "import math\n\n\ndef f(): pass\n"),
        ("x = 1\n", "import math\n\nx = 1\n"),
        (
            "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n# f",
            "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\nimport math\n\n\n# f",
        ),
        ("# Copyright\n# MIT license\n\n# f\n", "# Copyright\n# MIT license\n\nimport math\n\n\n# f\n"),
        ('"""Doc."""\n', '"""Doc."""\n\nimport math\n'),
        ('"""Doc."""', '"""Doc."""\n\nimport math'),
        ('"""D\n"""\n\n# f\n', '"""D\n"""\n\nimport math\n\n# f\n'),
        ("import os", "import os\nimport math"),
        (
            "import os\nimport sys\n\n\ndef f(): pass\n",
            "import os\nimport sys\nimport math\n\n\ndef f(): pass\n",
        ),
        ("from a import (\n  b,\n  c)\n# f\n", "from a import (\n  b,\n  c)\nimport math\n\n\n# f\n"),
        (
            "from __future__ import annotations\n\nx = 1\n",
            "from __future__ import annotations\nimport math\n\nx = 1\n",
        ),
        ("import os; x = 1\n", "import os; x = 1\nimport math\n"),
        ("import os\r\n\r\nx = 1\r\n", "import os\r\nimport math\r\n\r\nx = 1\r\n"),
        ("x = 1\r\n", "import math\r\n\r\nx = 1\r\n"),
        ("def f():\n    import os\n", "import math\n\n\ndef f():\n    import os\n"),
        ("import os\n\nx = (\n", "import os\nimport math\n\nx = (\n"),
        ("import math\n", "import math\n"),
        ("import os, math\n", "import os, math\n"),
    ],
)
def test_where_an_import_goes(before: str, after: str) -> None:
    assert inserted(before, "import math") == after


def test_only_what_is_missing_is_added() -> None:
    text = "from typing import List, Dict\n"
    assert inserted(text, "from typing import List", "import re", "import re") == text + "import re\n"
    assert insert_imports(Snapshot.from_text(text), ["from typing import Dict"]) == ()
    assert insert_imports(Snapshot.from_text(text), []) == ()


def test_a_future_import_goes_first() -> None:
    future = "from __future__ import annotations"
    assert (
        inserted('"""D"""\nimport os\n', "import re", future)
        == f'"""D"""\n\n{future}\n\nimport os\nimport re\n'
    )
    for text in (
        "",
        "x = 1\n",
        '"""D"""\n',
        "import os\n",
        "# f\n",
        "from __future__ import division\nimport os\n",
    ):
        ast.parse(inserted(text, "import re", future))
        compile(inserted(text, "import re", future), "<file>", "exec")


def test_names_of_the_project_go_before_the_librarys() -> None:
    project = {"Order": "from shop.models import Order", "date": "from shop.dates import date"}
    assert missing_imports(["Order", "date", "gcd", "nothing"], "", project) == {
        "Order": "from shop.models import Order",
        "date": "from shop.dates import date",
        "gcd": "from math import gcd",
    }
