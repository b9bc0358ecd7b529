"""The hosts that `suggest`, `typing` and `load` run before: ours, as editors start it, and llama.cpp's own server."""

from __future__ import annotations

import sys

from nl2code_server.platform import paths, physical_cores

from ..models.catalog import locate
from ..models.verify import check
from .decode import BARE


def ours(engine: str, model: str, device: str = "auto") -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the command of a model host, and the settings under which editors find it."""
    command = (
        *(sys.executable, "-P", "-m", "nl2code_server.cli", "serve", "--json", "--engine", engine),
        *("--model", model, "--device", device, "--idle-exit", "3600"),
    )
    asked = {"NL2CODE_ENGINE": engine, "NL2CODE_MODEL": model, "NL2CODE_DEVICE": device}
    # They have a folder of their own; the models are the user's.
    return command, {**asked, "NL2CODE_ENDPOINT": "", "NL2CODE_MODELS": str(paths().models)}


def peer(model: str) -> tuple[str, ...]:
    """Return the command of a bare llama.cpp server with the same file; nothing for what it cannot load."""
    located = locate(model)
    if located.hub or located.path.is_dir():
        return ()
    check(located)
    return (sys.executable, "-P", "-c", BARE, str(located.path), located.id, "1", str(physical_cores()))
