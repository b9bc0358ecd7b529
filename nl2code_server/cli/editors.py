"""What each editor needs: the text for its configuration, where that goes, and the files that we bring along."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Nl2CodeError

UNTESTED = "follows the editor's documentation; not tested in it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one editor is set up."""

    editor: str
    title: str
    programs: tuple[str, ...]
    """Names that the editor's program may have."""
    tested: str
    config: Path | None = None
    """The file that gets the block, or the values; None if it is set up by hand."""
    comment: str = ""
    """How a comment begins there."""
    block: str = ""
    preface: str = ""
    """What a configuration that did not exist has to begin with."""
    values: Mapping[str, Any] | None = None
    """For configuration in JSON: what is to be in it."""
    plugin: Path | None = None
    """The folder that gets our files."""
    files: tuple[str, ...] = ()
    """Our files, as they are called in `shipped` and in `plugin`."""
    clash: str = ""
    """Text outside our block that would contradict it."""
    notes: tuple[str, ...] = ()


def shipped(editor: str) -> Path:
    """Return the folder with our files for an editor: in the package, or in a checkout beside it."""
    package = Path(__file__).parents[1]
    for folder in (package / "editors" / editor, package.parent / "editors" / editor):
        if folder.is_dir():
            return folder
    raise Nl2CodeError(
        f"The files for {editor} are not in this installation", "run: pip install --force-reinstall nl2code"
    )


def server_program() -> str:
    """Return the full path of our language server: an editor may have another PATH than this terminal."""
    beside = Path(sys.executable).parent / ("nl2code-server.exe" if os.name == "nt" else "nl2code-server")
    found = str(beside) if beside.exists() else shutil.which("nl2code-server")
    if not found:
        raise Nl2CodeError("nl2code-server is not installed", "run: pip install nl2code")
    return found


def recipe(editor: str, server: str) -> Recipe:
    """Return how an editor is set up to use a server."""
    return RECIPES[editor](server)


def home(variable: str, *default: str) -> Path:
    """Return the folder that a variable names, else one under the user's home."""
    named = os.environ.get(variable, "")
    return Path(named) if named else Path.home().joinpath(*default)


def _quoted(text: str) -> str:
    """Quote a string for Lua, Emacs Lisp and TOML, which agree on these escapes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _neovim(server: str) -> Recipe:
    name = os.environ.get("NVIM_APPNAME", "") or "nvim"
    if os.name == "nt":
        local = home("LOCALAPPDATA", "AppData", "Local")
        folder, data = local / name, local / f"{name}-data"
    else:
        folder, data = (
            home("XDG_CONFIG_HOME", ".config") / name,
            home("XDG_DATA_HOME", ".local", "share") / name,
        )
    plugin = data / "site" / "pack" / "nl2code" / "opt" / "nl2code"
    lua = [
        f"vim.opt.runtimepath:prepend({_quoted(plugin.as_posix())})",
        f'require("nl2code").setup({{ cmd = {{ {_quoted(server)} }} }})',
    ]
    in_vim = (folder / "init.vim").exists() and not (folder / "init.lua").exists()
    return Recipe(
        editor="neovim",
        title="Neovim",
        programs=("nvim",),
        tested="tested with Neovim 0.11.4",
        config=folder / ("init.vim" if in_vim else "init.lua"),
        comment='"' if in_vim else "--",
        block="\n".join(f"lua {line}" for line in lua) if in_vim else "\n".join(lua),
        plugin=plugin,
        files=(
            "lua/nl2code/init.lua",
            "lua/nl2code/ghost.lua",
            "lua/nl2code/health.lua",
            "plugin/nl2code.lua",
            "doc/nl2code.txt",
        ),
        notes=("In Neovim: `:checkhealth nl2code` checks it, `:help nl2code` tells the keys.",),
    )


def _emacs(server: str) -> Recipe:
    classic, modern = Path.home() / ".emacs.d", home("XDG_CONFIG_HOME", ".config") / "emacs"
    folder = modern if modern.is_dir() and not classic.is_dir() else classic
    candidates = (Path.home() / ".emacs.el", Path.home() / ".emacs", folder / "init.el")
    plugin = folder / "nl2code"
    return Recipe(
        editor="emacs",
        title="Emacs",
        programs=("emacs",),
        tested="tested with Emacs 28.2 and eglot 1.9",
        config=next((path for path in candidates if path.exists()), candidates[-1]),
        comment=";;",
        # An Emacs without eglot must not fail to start because of us.
        block=(
            f"(add-to-list 'load-path {_quoted(plugin.as_posix())})\n"
            '(with-demoted-errors "nl2code: %S"\n'
            "  (require 'nl2code)\n"
            f"  (setq nl2code-server-command '({_quoted(server)}))\n"
            "  (nl2code-setup))"
        ),
        plugin=plugin,
        files=("nl2code.el",),
        notes=("Emacs 28 needs the package eglot; Emacs 29 brings it along.",),
    )


def _vim(server: str) -> Recipe:
    files = Path.home() / ("vimfiles" if os.name == "nt" else ".vim")
    plain, inside = Path.home() / ("_vimrc" if os.name == "nt" else ".vimrc"), files / "vimrc"
    quoted = "'" + server.replace("'", "''") + "'"
    return Recipe(
        editor="vim",
        title="Vim",
        programs=("vim",),
        tested="tested with Vim 9.0 and ALE 3.3.0",
        config=inside if inside.exists() and not plain.exists() else plain,
        comment='"',
        block=f"filetype plugin on\nsilent! packadd! ale\nlet g:nl2code_server = {quoted}",
        preface='" Vim leaves these out when there is a vimrc.\nsource $VIMRUNTIME/defaults.vim\n',
        plugin=files / "pack" / "nl2code" / "start" / "nl2code",
        files=(
            "ale_linters/python/nl2code.vim",
            "plugin/nl2code.vim",
            "autoload/nl2code.vim",
            "doc/nl2code.txt",
        ),
        notes=("Needs the plugin ALE (Debian: vim-ale). Grey text needs Vim 9.0.0185 or newer.",),
    )


def _vscode(server: str) -> Recipe:
    return Recipe(
        editor="vscode",
        title="Visual Studio Code",
        programs=("code", "codium"),
        tested="tested in the real workbench, in a browser",
        values={"nl2code.serverPath": server},
        notes=(
            "Install the extension: code --install-extension nl2code.vsix (see editors/vscode in the source).",
            "If it does not find the server, put this into the user settings (JSON).",
        ),
    )


def _helix(server: str) -> Recipe:
    folder = home("APPDATA") if os.name == "nt" else home("XDG_CONFIG_HOME", ".config")
    return Recipe(
        editor="helix",
        title="Helix",
        programs=("hx", "helix"),
        tested=UNTESTED,
        config=folder / "helix" / "languages.toml",
        comment="#",
        block=(
            f"[language-server.nl2code]\ncommand = {_quoted(server)}\n\n"
            '[[language]]\nname = "python"\nlanguage-servers = ["ruff", "jedi", "pylsp", "nl2code"]'
        ),
        clash='name = "python"',
        notes=("Suggestions come in the completion popup and as code actions (space a).",),
    )


def _zed(server: str) -> Recipe:
    folder = home("APPDATA") / "Zed" if os.name == "nt" else home("XDG_CONFIG_HOME", ".config") / "zed"
    return Recipe(
        editor="zed",
        title="Zed",
        programs=("zed", "zeditor"),
        tested=UNTESTED,
        config=folder / "settings.json",
        values={
            "lsp": {"pylsp": {"binary": {"path": server, "arguments": []}}},
            "languages": {"Python": {"language_servers": ["pylsp", "..."]}},
        },
        notes=(
            "Zed starts only servers that it knows by name: nl2code takes the place of pylsp, which Zed does not use"
            " by default.",
            "Suggestions come in the completion popup and as code actions.",
        ),
    )


def _kate(server: str) -> Recipe:
    folder = home("LOCALAPPDATA") if os.name == "nt" else home("XDG_CONFIG_HOME", ".config")
    return Recipe(
        editor="kate",
        title="Kate",
        programs=("kate",),
        tested=UNTESTED,
        config=folder / "kate" / "lspclient" / "settings.json",
        values={
            "servers": {
                "python": {
                    "command": [server],
                    "rootIndicationFileNames": ["pyproject.toml", ".git"],
                    "url": "",
                    "highlightingModeRegex": "^Python$",
                }
            }
        },
        notes=(
            "Turn on the plugin LSP Client. Kate runs one server for a language: this takes the place of pylsp.",
            "Suggestions come in the completion popup and as code actions.",
        ),
    )


def _sublime(server: str) -> Recipe:
    if sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support" / "Sublime Text"
    elif os.name == "nt":
        folder = home("APPDATA") / "Sublime Text"
    else:
        folder = home("XDG_CONFIG_HOME", ".config") / "sublime-text"
    return Recipe(
        editor="sublime",
        title="Sublime Text",
        programs=("subl",),
        tested=UNTESTED,
        config=folder / "Packages" / "User" / "LSP.sublime-settings",
        values={"clients": {"nl2code": {"enabled": True, "command": [server], "selector": "source.python"}}},
        notes=("Needs the package LSP. Suggestions come in the completion popup and as code actions.",),
    )


def _jetbrains(server: str) -> Recipe:
    return Recipe(
        editor="jetbrains",
        title="PyCharm and other JetBrains editors",
        programs=("pycharm", "idea"),
        tested=UNTESTED,
        notes=(
            "Install the plugin LSP4IJ (Settings, Plugins, Marketplace).",
            "Settings, Languages & Frameworks, Language Servers, +:",
            "  Server, Name: nl2code",
            f"  Server, Command: {json.dumps(server)}",
            "  Mappings, File name patterns, +: *.py with language id python",
            "Suggestions come in the completion popup and as intentions (Alt+Enter).",
        ),
    )


RECIPES: Mapping[str, Callable[[str], Recipe]] = {
    "vscode": _vscode,
    "neovim": _neovim,
    "emacs": _emacs,
    "vim": _vim,
    "helix": _helix,
    "zed": _zed,
    "kate": _kate,
    "sublime": _sublime,
    "jetbrains": _jetbrains,
}
"""By the name that a user types."""
