"""Programs in namespaces of their own, where the machine allows it: without a network, with disks of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def allowed(flags: str, *probe: str) -> bool:
    """Tell whether a probe runs in such a namespace."""
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run(["unshare", flags, *probe], capture_output=True, timeout=20, check=False)
    return done.returncode == 0


def told(flags: str, module: str, argument: Path) -> dict[str, Any]:
    """Run a module of the tests there, and return the JSON object that it prints last."""
    done = subprocess.run(
        ["unshare", flags, sys.executable, "-m", module, str(argument)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
