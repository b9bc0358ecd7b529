"""What a workspace gives to a file: which modules its imports mean, what may be read, which line imports a name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from nl2code_server.lang.document import Snapshot
from nl2code_server.lang.ignore import ignored, rules
from nl2code_server.suggest.files import LARGEST, Files, path_of
from nl2code_server.suggest.project import Project


def make(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root.resolve()


def modules(root: Path, name: str, text: str) -> dict[str, str]:
    """Return the modules that a file imports, with their texts."""
    project = Project(root)
    file = root / name
    return {key: one.text for key, one in project.modules(file, Snapshot.from_text(text)).items()}


def test_absolute_and_relative_imports_are_found(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "shop/__init__.py": "",
            "shop/prices.py": "A = 1",
            "shop/sub/__init__.py": "",
            "shop/sub/deep.py": "B = 2",
            "shop/sub/near.py": "C = 3",
        },
    )
    text = "from shop.prices import A\nfrom ..prices import A as B\nfrom . import near\nfrom .near import C"
    assert modules(root, "shop/sub/deep.py", text) == {
        "shop.prices": "A = 1",
        "..prices": "A = 1",
        ".": "",
        ".near": "C = 3",
    }


def test_a_member_that_is_a_module_is_one(tmp_path: Path) -> None:
    root = make(tmp_path, {"shop/__init__.py": "x = 1", "shop/prices.py": "A = 1", "app.py": ""})
    assert modules(root, "app.py", "from shop import prices") == {"shop": "x = 1", "shop.prices": "A = 1"}


def test_what_an_init_takes_from_its_package_comes_with_it(tmp_path: Path) -> None:
    root = make(
        tmp_path, {"shop/__init__.py": "from .prices import A", "shop/prices.py": "A = 1", "app.py": ""}
    )
    assert modules(root, "app.py", "from shop import A") == {
        "shop": "from .prices import A",
        "shop.prices": "A = 1",
    }


def test_a_source_folder_is_searched(tmp_path: Path) -> None:
    root = make(tmp_path, {"src/shop/__init__.py": "", "src/shop/prices.py": "A = 1", "tests/test_it.py": ""})
    assert modules(root, "tests/test_it.py", "from shop.prices import A") == {"shop.prices": "A = 1"}


def test_modules_beside_a_script_are_found(tmp_path: Path) -> None:
    root = make(tmp_path, {"tools/helper.py": "A = 1", "tools/run.py": ""})
    assert modules(root, "tools/run.py", "import helper") == {"helper": "A = 1"}


def test_modules_that_import_each_other_do_no_harm(tmp_path: Path) -> None:
    root = make(tmp_path, {"a.py": "import b", "b.py": "import c\nimport a", "c.py": "import b"})
    assert modules(root, "a.py", "import b") == {"b": "import c\nimport a", "c": "import b"}


def test_a_broken_module_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    root = make(tmp_path, {"broken.py": "def f(:\nimport\n", "app.py": ""})
    assert list(modules(root, "app.py", "import broken\nimport nowhere\nfrom . import")) == ["broken"]


def test_links_that_lead_out_of_the_workspace_are_not_followed(tmp_path: Path) -> None:
    outside = make(tmp_path / "outside", {"secret.py": "A = 1", "pack/__init__.py": "B = 2"})
    root = make(tmp_path / "work", {"app.py": "", "real.py": "C = 3"})
    (root / "linked.py").symlink_to(outside / "secret.py")
    (root / "pack").symlink_to(outside / "pack")
    (root / "inside.py").symlink_to(root / "real.py")
    (root / "loop.py").symlink_to(root / "loop.py")
    text = "import linked, pack, inside, loop\nfrom .. import outside\nfrom ..outside import secret"
    assert modules(root, "app.py", text) == {"inside": "C = 3"}
    assert not {"A", "B"} & Project(root).index().names.keys()


@pytest.mark.parametrize(
    "name", [".hidden/x.py", "venv/x.py", "node_modules/x.py", "a.txt", "private/x.py", "x_local.py"]
)
def test_what_may_not_be_read(tmp_path: Path, name: str) -> None:
    root = make(tmp_path, {name: "AA = 1", ".gitignore": "private/\n*_local.py\n", "ok.py": "BB = 1"})
    files = Files(root)
    assert files.snapshot(root / name) is None
    assert files.snapshot(root / "ok.py") is not None
    assert list(Project(root).index().names) == ["BB"]


def test_ignored_files_are_not_read_though_they_are_open(tmp_path: Path) -> None:
    root = make(tmp_path, {".gitignore": "keys.py\n", "keys.py": "A = 1"})
    files = Files(root)
    files.opened = {root / "keys.py": Snapshot.from_text("A = 2")}
    assert files.snapshot(root / "keys.py") is None


def test_the_ignore_files_of_a_repository_around_the_workspace_count(tmp_path: Path) -> None:
    make(tmp_path, {".git/info/exclude": "one.py\n", ".gitignore": "/work/two.py\n", "work/three.py": ""})
    root = make(tmp_path / "work", {"one.py": "A = 1", "two.py": "B = 1"})
    assert [path.name for path in Files(root).walk(most=10, seconds=5)] == ["three.py"]


def test_a_huge_file_and_one_that_is_no_text_are_left_out(tmp_path: Path) -> None:
    root = make(tmp_path, {"huge.py": "x = 1\n" * (LARGEST // 6 + 1)})
    (root / "latin.py").write_bytes(b"# \xe9\n")
    files = Files(root)
    assert files.snapshot(root / "huge.py") is None
    assert files.snapshot(root / "latin.py") is None


def test_the_text_of_an_editor_goes_before_the_disk_and_a_change_is_seen(tmp_path: Path) -> None:
    root = make(tmp_path, {"a.py": "A = 1"})
    files = Files(root)
    first = files.snapshot(root / "a.py")
    assert first is not None and first is files.snapshot(root / "a.py")
    (root / "a.py").write_text("A = 22")
    second = files.snapshot(root / "a.py")
    assert second is not None and second.text == "A = 22"
    files.opened = {root / "a.py": Snapshot.from_text("A = 3"), root / "new.py": Snapshot.from_text("B = 4")}
    third = files.snapshot(root / "a.py")
    assert third is not None and third.text == "A = 3"
    project = Project(root)
    project.files.opened = files.opened
    assert list(project.modules(root / "x.py", Snapshot.from_text("import new"))) == ["new"]


@pytest.mark.parametrize(
    ("lines", "path", "verdict"),
    [
        ("*.log", "a/b.log", True),
        ("/build", "build/x.py", True),
        ("/build", "src/build/x.py", False),
        ("a/b", "c/a/b", False),
        ("**/gen/**", "x/gen/y.py", True),
        ("gen/", "gen", False),
        ("gen/", "gen/x", True),
        ("*.py\n!keep.py", "keep.py", False),
        ("dir/\n!dir/keep.py", "dir/keep.py", True),
        ("# a comment\n\n", "# a comment", False),
        ("[ab].py", "a.py", True),
        ("[!ab].py", "a.py", False),
        (r"\#x.py", "#x.py", True),
        ("x?.py", "x1.py", True),
        ("x[", "x[", True),
    ],
)
def test_lines_of_an_ignore_file(lines: str, path: str, verdict: bool) -> None:
    assert ignored(path, [("", rules(lines))]) is verdict


def test_an_inner_ignore_file_decides_for_its_folder() -> None:
    files = [("", rules("*.py")), ("sub", rules("!a.py"))]
    assert ignored("a.py", files)
    assert not ignored("sub/a.py", files)


def definitions(root: Path, name: str, text: str = "") -> dict[str, str]:
    project = Project(root)
    return project.definitions(root / name, Snapshot.from_text(text), project.index())


def test_a_name_that_one_module_defines_can_be_imported(tmp_path: Path) -> None:
    files = {
        "shop/__init__.py": "",
        "shop/prices.py": "def parse_price(text): ...\nLIMIT = 3\n_hidden = 1\nclass Path: ...",
        "shop/a.py": "class Twice: ...",
        "shop/b.py": "class Twice: ...",
        "tests/test_x.py": "class Fake: ...",
        "app.py": "def main(): ...",
    }
    root = make(tmp_path, files)
    found = definitions(root, "app.py")
    assert found["parse_price"] == "from shop.prices import parse_price"
    assert found["LIMIT"] == "from shop.prices import LIMIT"
    assert not {"Twice", "_hidden", "Fake", "main", "Path"} & found.keys()
    near = definitions(root, "app.py", "from shop.a import x\nfrom shop.prices import LIMIT")
    assert near["Twice"] == "from shop.a import Twice"
    assert near["Path"] == "from shop.prices import Path"  # before the standard library's


def test_an_import_is_written_in_the_files_own_way(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "shop/__init__.py": "",
            "shop/prices.py": "A1 = 1",
            "shop/sub/__init__.py": "",
            "shop/sub/x.py": "",
            "other.py": "B1 = 1",
        },
    )
    assert definitions(root, "shop/sub/x.py")["A1"] == "from shop.prices import A1"
    relative = definitions(root, "shop/sub/x.py", "from . import y")
    assert relative["A1"] == "from ..prices import A1"
    assert relative["B1"] == "from other import B1"


def test_modules_that_an_instruction_speaks_of(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        {
            "prices.py": "def parse_price(t): ...\ndef other(t): ...",
            "orders.py": "class Order: ...",
            "app.py": "",
        },
    )
    project = Project(root)

    def spoken(text: str, source: str = "") -> list[tuple[str, tuple[str, ...]]]:
        found = project.spoken_of(root / "app.py", Snapshot.from_text(source), text, project.index())
        return [(one.name, one.names) for one in found]

    assert spoken("read the file, use parse_price from prices") == [("prices", ("parse_price",))]
    assert spoken("return the largest of some orders") == [("orders", ("Order",))]
    assert spoken("put the lines in another order", "class Order: ...") == []
    assert spoken("return the other one") == []
    assert spoken("sum up the prices", "from prices import other") == []


def test_the_index_reads_again_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nl2code_server.suggest.project.FRESH_SECONDS", 0.0)
    root = make(tmp_path, {"a.py": "A1 = 1", "b.py": "B1 = 1"})
    project = Project(root)
    assert set(project.index().names) == {"A1", "B1"}
    (root / "b.py").write_text("B22 = 1")
    read: list[str] = []

    def reading(path: Path) -> bytes | None:
        read.append(path.name)
        return path.read_bytes()

    monkeypatch.setattr(project.files, "source", reading)
    assert set(project.index().names) == {"A1", "B22"}
    assert read == ["b.py"]


def test_a_walk_has_its_limits(tmp_path: Path) -> None:
    root = make(tmp_path, {f"m{number}.py": "" for number in range(30)})
    assert len(list(Files(root).walk(most=10, seconds=5))) == 10
    assert list(Files(root).walk(most=10, seconds=-1)) == []


def test_what_names_no_file() -> None:
    assert path_of("") is None
    assert path_of("untitled:Untitled-1") is None
    assert path_of("vscode-notebook-cell:///a.ipynb#x") is None
    assert path_of("https://example.org/a.py") is None
    assert path_of("file:///tmp/a%20b.py") == Path("/tmp/a b.py").resolve()
