"""The wheel holds both packages and nothing else; the light half stays light."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from nl2code_server.cli.editors import RECIPES, recipe

ROOT = Path(__file__).parents[2]
EDITORS = "nl2code_server/editors/"
HEAVY = ("torch", "transformers", "numpy", "xllamacpp", "rich", "typer", "nl2code_model")
LATER = ("httpx2", "pydantic_monty", "detect_secrets")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel's content, built by its backend in this process: no network, no new environment."""
    from hatchling.build import build_wheel

    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        name = build_wheel(str(folder))
    with zipfile.ZipFile(folder / name) as archive:
        assert archive.testzip() is None
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.fixture(scope="module")
def wheel(unpacked: Path) -> list[str]:
    """Return the names of the files in the wheel."""
    return [path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()]


def test_the_wheel_has_two_packages_at_its_top(wheel: list[str]) -> None:
    top = {name.split("/")[0] for name in wheel}
    (info,) = [name for name in top if name.endswith(".dist-info")]
    assert top == {"nl2code_server", "nl2code_model", info}


def test_the_wheel_has_every_module_and_data_file(wheel: list[str]) -> None:
    sources = {
        f"{folder.name}/{path.relative_to(folder).as_posix()}"
        for folder in (ROOT / "nl2code_server", ROOT / "model" / "nl2code_model")
        for path in folder.rglob("*")
        if path.suffix in (".py", ".toml", ".typed", ".jsonl")
    }
    assert sources - set(wheel) == set()
    assert {
        "nl2code_server/py.typed",
        "nl2code_model/py.typed",
        "nl2code_server/endpoint/quirks.toml",
        "nl2code_model/models/catalog.toml",
    } <= set(wheel)


def test_the_wheel_has_what_setup_writes(wheel: list[str]) -> None:
    recipes = [recipe(editor, "nl2code-server") for editor in RECIPES]
    wanted = {f"{EDITORS}{one.editor}/{name}" for one in recipes for name in one.files}
    assert wanted == {name for name in wheel if name.startswith(EDITORS)}


def test_who_installs_the_wheel_can_set_an_editor_up(unpacked: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "HOME": str(tmp_path)}
    code = "from nl2code_server.cli.app import main; main(['setup', 'emacs', '--write'])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / ".emacs.d" / "nl2code" / "nl2code.el").read_bytes()
    assert written == (unpacked / EDITORS / "emacs" / "nl2code.el").read_bytes()


def test_the_wheel_has_no_leftovers(wheel: list[str]) -> None:
    ours = [name for name in wheel if ".dist-info/" not in name and not name.startswith(EDITORS)]
    kinds = {Path(name).suffix for name in ours}
    assert kinds <= {".py", ".toml", ".typed", ".jsonl", ".md", ".j2", ".css", ".js"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel)
    assert any(name.endswith(".dist-info/entry_points.txt") for name in wheel)


def test_the_model_folder_is_no_package() -> None:
    assert list((ROOT / "model").glob("*.py")) == []


def loaded(*modules: str) -> set[str]:
    """Import modules in a fresh interpreter; return the top-level names of all that this loaded."""
    code = f"import {', '.join(modules)}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    return set(done.stdout.split())


def server_modules() -> list[str]:
    """Return the modules of the language server: the light half without its command line."""
    folder = ROOT / "nl2code_server"
    paths = [path.relative_to(ROOT).with_suffix("") for path in sorted(folder.rglob("*.py"))]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths]
    return [name for name in names if not name.startswith("nl2code_server.cli")]


def test_the_server_loads_nothing_heavy_nor_early() -> None:
    assert "nl2code_server.__main__" in server_modules()
    assert loaded(*server_modules()) & {*HEAVY, *LATER} == set()


def test_a_heavy_import_would_be_seen() -> None:
    assert "rich" in loaded("rich")
