"""Every test gets folders and settings of its own; nothing of the user's is read or written."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nl2code_server.platform import paths

if TYPE_CHECKING:
    from fakes.tiny import Tiny

USER_MODELS = paths().models

# A shell that starts the tests in the background has them ignore interrupts, and with them all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _set_aside(patch: pytest.MonkeyPatch, home: Path, *, keep_models: bool) -> None:
    for name in [name for name in os.environ if name.startswith("NL2CODE_")]:
        patch.delenv(name)
    patch.setenv("NL2CODE_HOME", str(home))
    if keep_models:
        patch.setenv("NL2CODE_MODELS", str(USER_MODELS))


@pytest.fixture(scope="session", autouse=True)
def _own_session_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cover fixtures that outlive a test; a model host that they start may use the user's models."""
    with pytest.MonkeyPatch.context() as patch:
        _set_aside(patch, tmp_path_factory.mktemp("home"), keep_models=True)
        yield


@pytest.fixture(autouse=True)
def _own_folders(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_weights = request.node.get_closest_marker("model") is not None
    _set_aside(monkeypatch, tmp_path, keep_models=needs_weights)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Return a causal model that has learnt the lessons of `fakes.tiny`."""
    from fakes.tiny import train_llama

    return train_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Return an encoder-decoder that has learnt the same."""
    from fakes.tiny import train_t5

    return train_t5(tmp_path_factory.mktemp("models") / "tiny-t5")
