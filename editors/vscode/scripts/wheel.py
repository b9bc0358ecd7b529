"""Build the server's wheel into the extension, so that both are of one version whatever an index holds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

EDITOR = Path(__file__).resolve().parents[1]
FOLDER = EDITOR / "dist" / "server"

shutil.rmtree(FOLDER, ignore_errors=True)
options = ["--no-deps", "--quiet", "--disable-pip-version-check", "--wheel-dir", str(FOLDER)]
subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(EDITOR.parents[1])], check=True)
