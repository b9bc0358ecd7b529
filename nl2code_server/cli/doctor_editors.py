"""The doctor's look at editors: which are here, whether they are set up, and whether what they start is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from .. import __version__
from .editors import RECIPES, Recipe, recipe, server_program, shipped
from .setup import BEGIN

SECONDS = 20
Finding = tuple[bool, str, str]
"""Whether all is well, what was found, and what mends it."""


def findings() -> Iterator[tuple[str, Finding]]:
    """Look at each editor that is on this machine or was set up; yield its title and what was found."""
    server = server_program()
    for name in RECIPES:
        wanted = recipe(name, server)
        program = next(filter(None, map(shutil.which, wanted.programs)), None)
        text = _text(wanted.config)
        ours = BEGIN in text or (wanted.values is not None and "nl2code" in text)
        if program or ours:
            yield wanted.title, _finding(wanted, program, text, ours)


def _finding(wanted: Recipe, program: str | None, text: str, ours: bool) -> Finding:
    found = _first_line(program) if program else "not on PATH"
    again = f"run: nl2code setup {wanted.editor} --write"
    if wanted.config is None:
        return True, f"{found}; how to set it up: nl2code setup {wanted.editor}", ""
    if not ours:
        return True, f"{found}, not set up (nl2code setup {wanted.editor})", ""
    missing = [name for name in wanted.files if not _file(wanted, name).is_file()]
    if missing:
        return False, f"{found}, {_file(wanted, missing[0])} is missing", again
    if any(
        _file(wanted, name).read_bytes() != (shipped(wanted.editor) / name).read_bytes()
        for name in wanted.files
    ):
        return False, f"{found}, its plugin in {wanted.plugin} is not that of nl2code {__version__}", again
    servers = re.findall(r"""["']([^"'\n]*nl2code-server[^"'\n]*)["']""", text)
    for server in servers:
        path = shutil.which(server)
        if path is None:
            return False, f"{found}, {wanted.config} names {server}, which is not there", again
        version = _first_line(path)
        if not version.endswith(f" {__version__}"):
            return False, f"{found}, {path} says {version!r}, this is {__version__}", again
    return True, f"{found}, set up in {wanted.config}", ""


def _file(wanted: Recipe, name: str) -> Path:
    return (wanted.plugin or Path()) / name


def _text(path: Path | None) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path else ""
    except OSError:
        return ""


def _first_line(program: str) -> str:
    """Return the first line of what a program says of its version."""
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} cannot be run ({type(error).__name__})"
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines else f"{program} says no version"
