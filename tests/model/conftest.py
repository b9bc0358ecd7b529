"""The real models, pulled once into the user's cache, and a host process with the small one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nl2code_model.models.pull import pull
from nl2code_server.endpoint.runtime import Record


@pytest.fixture(scope="session")
def real_model() -> Path:
    """Return the file of Qwen2.5-Coder 0.5B."""
    return pull("qwen2.5-coder-0.5b")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Return the file of SmolLM2 135M."""
    return pull("smollm2-135m")


@pytest.fixture(scope="module")
def real_host(real_model: Path) -> Iterator[tuple[Record, subprocess.Popen[str]]]:
    """Run `nl2code serve` with the 0.5B."""
    command = [sys.executable, "-m", "nl2code_server.cli", "serve", "--json", "--model", "qwen2.5-coder-0.5b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                raise AssertionError(process.communicate()[1])
            yield Record(**json.loads(line)), process
        finally:
            process.terminate()
            process.communicate(timeout=20)
