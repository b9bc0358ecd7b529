"""The Python and the packages of a project, read from folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.imports import Import, imports, missing_members, needed, unknown_imports
from nl2code_server.suggest.environment import STANDARD, installed, required_python, virtual_environment


def environment(folder: Path, config: str = "home = /usr/bin\n") -> Path:
    site = folder / "lib" / "python3.12" / "site-packages"
    (site / "requests").mkdir(parents=True)
    (site / "yaml").mkdir()
    (site / "PyYAML-6.0.dist-info").mkdir()
    (site / "PyYAML-6.0.dist-info" / "top_level.txt").write_text("_yaml\nyaml\n")
    (site / "my_app-1.dist-info").mkdir()
    (site / "six.py").write_text("raise SystemExit('never run')")
    (site / "fast.cpython-312-x86_64-linux-gnu.so").write_bytes(b"")
    (site / "evil.pth").write_text("import os; os.system('touch /tmp/ran')\n")
    sources = folder.parent / "elsewhere"
    (sources / "edited").mkdir(parents=True)
    (site / "edited.pth").write_text(f"{sources}\n")
    (folder / "pyvenv.cfg").write_text(config)
    return folder


def test_installed_names_are_read(tmp_path: Path) -> None:
    names = installed(environment(tmp_path / ".venv")) or frozenset()
    assert {"requests", "yaml", "_yaml", "my_app", "six", "fast", "edited"} <= names
    assert "numpy" not in names


def test_an_environment_that_sees_the_systems_packages_tells_nothing(tmp_path: Path) -> None:
    assert installed(environment(tmp_path / "venv", "include-system-site-packages = true\n")) is None


def test_the_nearest_environment_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    file = tmp_path / "work" / "app" / "x.py"
    assert virtual_environment(file, tmp_path / "work") is None
    outer = environment(tmp_path / "work" / ".venv")
    assert virtual_environment(file, tmp_path / "work") == outer
    inner = environment(tmp_path / "work" / "app" / "venv")
    assert virtual_environment(file, tmp_path / "work") == inner
    assert virtual_environment(tmp_path / "other.py", tmp_path / "work") is None
    active = environment(tmp_path / "active")
    monkeypatch.setenv("VIRTUAL_ENV", str(active))
    assert virtual_environment(file, tmp_path / "work") == active
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "gone"))
    assert virtual_environment(file, tmp_path / "work") == inner


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('[project]\nrequires-python = ">=3.9"\n', (3, 9)),
        ('[tool.poetry.dependencies]\npython = "^3.8"\n', (3, 8)),
        ("[project]\nrequires-python = 3\n", None),
        ("not toml [", None),
        ("[tool]\npoetry = 1\n", None),
    ],
)
def test_the_nearest_pyproject_says_which_python(
    tmp_path: Path, text: str, version: tuple[int, int] | None
) -> None:
    root = tmp_path / "work"
    (root / "app").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.7"\n')
    assert required_python(root / "app" / "x.py", root) is None  # that one is outside
    (root / "pyproject.toml").write_text(text)
    assert required_python(root / "app" / "x.py", root) == version


def test_unknown_imports() -> None:
    before = Snapshot.from_text("import already\n")
    text = (
        "import already\nimport os, requests\nfrom nowhere.inner import x\nfrom . import y\nimport nowhere2\n"
        "try:\n    import maybe\nexcept ImportError:\n    maybe = None\n"
        "if TYPE_CHECKING:\n    import typing_only\n"
    )
    after = Snapshot.from_text(text)
    assert unknown_imports(before, after, STANDARD | {"requests"}) == ("nowhere", "nowhere2")


def test_imports_as_values() -> None:
    text = "import a.b as c\nfrom ..d import (e as f,\n  g)\nfrom m import *\ndef h():\n    import i.j\n"
    assert imports(Snapshot.from_text(text)) == (
        Import("a.b", (), "c", 0),
        Import("..d", (("e", "f"), ("g", "g")), "", 1),
        Import("m", (("*", "*"),), "", 3),
        Import("i.j", (), "i", 5),
    )


def test_members_that_a_module_of_the_project_lacks() -> None:
    modules = {
        "money": Snapshot.from_text("def show(): pass\nA, B = 1, 2\n"),
        "made": Snapshot.from_text("def __getattr__(name): ..."),
        "tools": Snapshot.from_text(""),
        "tools.numbers": Snapshot.from_text("def share(): pass\n"),
    }

    def lacking(code: str) -> tuple[str, ...]:
        return missing_members(Snapshot.from_text("import money\n"), Snapshot.from_text(code), modules)

    assert lacking("import money\nmoney.show(money.A)\n") == ()
    assert lacking("import money\nmoney.nothing()\n") == ("money.nothing",)
    assert lacking("from money import nothing, show\n") == ("money.nothing",)
    assert lacking("from tools import numbers, letters\nnumbers.mean()\n") == (
        "tools.letters",
        "tools.numbers.mean",
    )
    assert lacking("from made import anything\nimport other\nother.x\n") == ()
    assert lacking("import money\ndef f(money):\n    return money.amount\n") == ()
    assert lacking("import money\nfor money in x:\n    money.amount\n") == ()


def test_imports_of_new_code_are_repaired() -> None:
    project = {"Item": "from models import Item", "Request": "from .web import Request"}
    lines = [
        "from shop.models import Item, Order",
        "import re, os",
        "import numpy as np",
        "from typing import List",
    ]
    code = "def f(item: Item, order: Order):\n    return np.array(re.findall(item.os))"
    assert needed(lines, code, project, {"typing", "numpy", "re"}) == (
        "from models import Item",
        "from shop.models import Order",
        "import re",
        "import numpy as np",
    )
    assert needed(["from fastapi import Request"], "Request()", project, {"fastapi"}) == (
        "from fastapi import Request",
    )
    kept = ["from __future__ import annotations", "from x import *", "import ("]
    assert needed(kept, "pass", project) == tuple(kept)
