"""`nl2code setup`: what is written where, again and again, without losing what was there; the doctor looks at it."""

from __future__ import annotations

import json
import re
import shutil
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from nl2code_server import __version__
from nl2code_server.cli.app import main
from nl2code_server.cli.doctor_editors import findings
from nl2code_server.cli.editors import RECIPES, UNTESTED, Recipe, recipe, server_program, shipped
from nl2code_server.cli.setup import BEGIN, END, install, marked
from nl2code_server.errors import Nl2CodeError

SERVER = "/opt/nl2code/bin/nl2code-server"
BLOCKS = ("neovim", "emacs", "vim", "helix")
JSON = ("zed", "kate", "sublime")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "NVIM_APPNAME"):
        monkeypatch.delenv(name, raising=False)


def config(wanted: Recipe) -> Path:
    assert wanted.config
    return wanted.config


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.name}.*.bak"))


@pytest.mark.parametrize("editor", [*BLOCKS, *JSON])
def test_written_into_a_fresh_home_and_again(editor: str, tmp_path: Path) -> None:
    wanted = recipe(editor, SERVER)
    assert config(wanted).is_relative_to(tmp_path)
    assert all(line.startswith("written") for line in install(wanted) if line not in wanted.notes)
    assert SERVER in config(wanted).read_text()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert all(line.startswith("unchanged") for line in install(wanted) if line not in wanted.notes)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("editor", BLOCKS)
@pytest.mark.parametrize("text", ["mine\n", "mine", "mine\r\nand mine\r\n", "\n\n"])
def test_what_was_there_stays(editor: str, text: str) -> None:
    wanted = recipe(editor, SERVER)
    path = config(wanted)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    install(wanted)
    after = path.read_bytes().decode()
    assert after.startswith(text)
    assert ("\r\n" in text) == ("\r\n" in after)
    assert [backup.read_bytes().decode() for backup in backups(path)] == [text]


@pytest.mark.parametrize("editor", BLOCKS)
def test_a_second_time_replaces_the_block_alone(editor: str) -> None:
    path = config(recipe(editor, SERVER))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("above\n", encoding="utf-8")
    install(recipe(editor, "/old/nl2code-server"))
    with path.open("a") as file:
        file.write("below\n")
    install(recipe(editor, SERVER))
    text = path.read_text(encoding="utf-8")
    assert text.startswith("above\n") and text.endswith("below\n")
    assert text.count(BEGIN) == text.count(END) == 1
    assert SERVER in text and "/old/" not in text


@pytest.mark.parametrize("half", [BEGIN, END])
def test_half_a_block_is_left_to_the_user(half: str) -> None:
    wanted = recipe("neovim", SERVER)
    path = config(wanted)
    path.parent.mkdir(parents=True)
    path.write_text(f"-- {half}\nmine\n", encoding="utf-8")
    with pytest.raises(Nl2CodeError, match="without its other half"):
        install(wanted)
    assert path.read_text(encoding="utf-8") == f"-- {half}\nmine\n"
    assert wanted.plugin and not wanted.plugin.exists()


def test_what_would_contradict_is_refused() -> None:
    wanted = recipe("helix", SERVER)
    path = config(wanted)
    path.parent.mkdir(parents=True)
    path.write_text('[[language]]\nname = "python"\n', encoding="utf-8")
    with pytest.raises(Nl2CodeError, match="by hand"):
        install(wanted)


def test_json_keeps_other_values_and_its_indentation() -> None:
    wanted = recipe("zed", SERVER)
    path = config(wanted)
    path.parent.mkdir(parents=True)
    path.write_text('{\n    "theme": "é",\n    "lsp": {"ruff": {}}\n}\n', encoding="utf-8")
    install(wanted)
    text = path.read_text(encoding="utf-8")
    made = json.loads(text)
    assert made["theme"] == "é" and made["lsp"]["ruff"] == {}
    assert made["lsp"]["pylsp"]["binary"]["path"] == SERVER
    assert '\n    "theme": "é"' in text
    assert len(backups(path)) == 1


@pytest.mark.parametrize(
    "text",
    ['{"servers": {"python": {"command": ["pylsp"]}}}', "{} // mine", "[]", '{"servers": 1}', "\udcff"],
)
def test_json_that_would_lose_something_is_left(text: str) -> None:
    wanted = recipe("kate", SERVER)
    path = config(wanted)
    path.parent.mkdir(parents=True)
    data = text.encode("utf-8", "surrogateescape")
    path.write_bytes(data)
    with pytest.raises(Nl2CodeError, match="by hand"):
        install(wanted)
    assert path.read_bytes() == data and backups(path) == []


def test_json_of_ours_takes_another_server() -> None:
    install(recipe("kate", "/old/nl2code-server"))
    install(recipe("kate", SERVER))
    made = json.loads(config(recipe("kate", SERVER)).read_text(encoding="utf-8"))
    assert made["servers"]["python"]["command"] == [SERVER]


def test_a_link_stays_one_and_modes_stay(tmp_path: Path) -> None:
    wanted = recipe("emacs", SERVER)
    real = tmp_path / "dotfiles" / "init.el"
    real.parent.mkdir()
    real.write_text("", encoding="utf-8")
    real.chmod(0o600)
    config(wanted).parent.mkdir(parents=True)
    config(wanted).symlink_to(real)
    install(wanted)
    assert config(wanted).is_symlink()
    assert BEGIN in real.read_text(encoding="utf-8")
    assert stat.S_IMODE(real.stat().st_mode) == 0o600


def test_paths_are_quoted() -> None:
    odd = '/opt/a "b"\\c/nl2code-server'
    assert r'"/opt/a \"b\"\\c/nl2code-server"' in recipe("neovim", odd).block
    assert r'"/opt/a \"b\"\\c/nl2code-server"' in recipe("emacs", odd).block
    assert tomllib.loads(recipe("helix", odd).block)["language-server"]["nl2code"]["command"] == odd
    assert "'/it''s/nl2code-server'" in recipe("vim", "/it's/nl2code-server").block


def test_an_init_vim_gets_vim_script() -> None:
    path = Path.home() / ".config" / "nvim" / "init.vim"
    path.parent.mkdir(parents=True)
    path.write_text("set number\n", encoding="utf-8")
    install(recipe("neovim", SERVER))
    lines = path.read_text(encoding="utf-8").splitlines()[3:-1]
    assert lines and all(line.startswith("lua ") for line in lines)
    assert not path.with_name("init.lua").exists()


def test_a_new_vimrc_keeps_vims_defaults() -> None:
    install(recipe("vim", SERVER))
    text = config(recipe("vim", SERVER)).read_text(encoding="utf-8")
    assert text.index("defaults.vim") < text.index(BEGIN)


def test_an_old_plugin_is_kept_as_a_backup() -> None:
    wanted = recipe("emacs", SERVER)
    install(wanted)
    assert wanted.plugin
    file = wanted.plugin / "nl2code.el"
    file.write_text("; mine\n", encoding="utf-8")
    install(wanted)
    assert file.read_bytes() == (shipped("emacs") / "nl2code.el").read_bytes()
    assert [one.read_text(encoding="utf-8") for one in backups(file)] == ["; mine\n"]


@pytest.mark.parametrize("editor", RECIPES)
def test_printed(editor: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["setup", editor])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert (UNTESTED in said.err) == (editor not in ("vscode", "neovim", "emacs", "vim"))
    wanted = recipe(editor, server_program())
    if wanted.values is not None:
        assert json.loads(said.out) == wanted.values
    elif wanted.block:
        assert said.out.strip() == marked(wanted)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("editor", ["jetbrains", "vscode"])
def test_what_is_set_up_by_hand_says_so(editor: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["setup", editor, "--write"])
    assert ended.value.code == 1
    assert "by hand" in capsys.readouterr().err


def test_a_wrong_name_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["setup", "neovin"])
    assert ended.value.code == 2
    assert "did you mean neovim?" in capsys.readouterr().err


def test_plugins_carry_the_version() -> None:
    told = {
        "neovim": ("lua/nl2code/init.lua", f'M.version = "{__version__}"'),
        "emacs": ("nl2code.el", f";; Version: {__version__}"),
        "vim": ("autoload/nl2code.vim", f"let s:version = '{__version__}'"),
    }
    for editor, (name, line) in told.items():
        assert line in (shipped(editor) / name).read_text(encoding="utf-8").splitlines()


def test_every_file_of_a_plugin_is_written() -> None:
    for editor in ("neovim", "emacs", "vim"):
        folder = shipped(editor)
        there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert there == set(recipe(editor, SERVER).files)


def test_the_editors_readme_tells_of_all_and_its_links_hold() -> None:
    folder = Path(__file__).parents[2] / "editors"
    text = (folder / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", text):
        assert (folder / target).exists(), target
    named = set(re.findall(r"nl2code setup ([a-z]+)", text))
    assert named | {"vscode"} == set(RECIPES)


# The doctor


@pytest.fixture(name="nvim")
def _nvim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program on PATH that says what Neovim says."""
    program = tmp_path / "bin" / "nvim"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho NVIM v0.11.4\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


def looked_at(title: str = "Neovim") -> tuple[bool, str, str]:
    return dict(findings())[title]


@pytest.mark.skipif(sys.platform == "win32", reason="the editor is a shell script")
def test_the_doctor_sees_what_is_wrong(nvim: None) -> None:
    well, detail, _ = looked_at()
    assert well and "NVIM v0.11.4, not set up" in detail
    wanted = recipe("neovim", server_program())
    install(wanted)
    well, detail, _ = looked_at()
    assert well and f"set up in {wanted.config}" in detail

    assert wanted.plugin
    file = wanted.plugin / "lua" / "nl2code" / "ghost.lua"
    file.write_text("-- old", encoding="utf-8")
    well, detail, fix = looked_at()
    assert not well and "is not that of nl2code" in detail and "setup neovim --write" in fix
    shutil.rmtree(wanted.plugin)
    assert not looked_at()[0]

    install(recipe("neovim", "/gone/nl2code-server"))
    well, detail, _ = looked_at()
    assert not well and "/gone/nl2code-server, which is not there" in detail


def test_the_doctor_leaves_out_editors_that_are_not_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert dict(findings()) == {}
