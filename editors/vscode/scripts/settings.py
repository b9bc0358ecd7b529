"""Write the settings of the server that an editor may set into package.json; with `--check` only compare."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
MANIFEST = Path(__file__).resolve().parents[1] / "package.json"
OWN = "nl2code.serverPath"

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from nl2code_server.config import SETTINGS  # noqa: E402


def properties() -> dict[str, Any]:
    """Return the settings of taste, as the manifest declares them."""
    taste = [setting for setting in SETTINGS.values() if setting.metadata["editor"]]
    made: dict[str, Any] = {}
    for order, setting in enumerate(taste, start=1):
        schema: dict[str, Any] = {"order": order, "scope": "window", "default": setting.default}
        schema["description"] = setting.metadata["help"]
        low, high = setting.metadata["range"]
        match setting.type:
            case "bool":
                schema["type"] = "boolean"
            case "int":
                schema |= {"type": "integer", "minimum": low, "maximum": high}
            case _:
                schema["type"] = "string"
        if setting.metadata["choices"]:
            schema["enum"] = list(setting.metadata["choices"])
        made[f"nl2code.{setting.name}"] = schema
    return made


def updated(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest with the settings as the server has them; none of them counts in an untrusted folder."""
    settings = manifest["contributes"]["configuration"]["properties"]
    merged = {OWN: settings[OWN], **properties()}
    manifest["contributes"]["configuration"]["properties"] = merged
    manifest["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"] = list(merged)
    return manifest


def main() -> int:
    """Update the file or, with `--check`, say whether it would change."""
    before = json.loads(MANIFEST.read_text(encoding="utf-8"))
    after = updated(json.loads(json.dumps(before)))
    if "--check" in sys.argv:
        return int(before != after)
    MANIFEST.write_text(json.dumps(after, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
