"""The manifest of the VS Code extension says what the server does, and nothing that a build must not depend on."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2] / "editors" / "vscode"
MANIFEST = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))


def test_the_settings_are_those_that_the_server_takes_from_editors() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "settings.py"))
    assert script["updated"](json.loads(json.dumps(MANIFEST))) == MANIFEST, "run: npm run settings"


def test_no_folder_can_choose_the_server() -> None:
    settings = MANIFEST["contributes"]["configuration"]["properties"]
    assert settings["nl2code.serverPath"]["scope"] == "machine"
    trust = MANIFEST["capabilities"]["untrustedWorkspaces"]
    assert trust["supported"] == "limited"
    assert trust["restrictedConfigurations"] == list(settings)


def test_nothing_proposed_is_enabled() -> None:
    assert "enabledApiProposals" not in MANIFEST
    assert MANIFEST["devDependencies"]["@types/vscode"] == MANIFEST["engines"]["vscode"].removeprefix("^")


def test_the_lock_file_names_no_registry() -> None:
    lock = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert "omit-lockfile-registry-resolved=true" in (ROOT / ".npmrc").read_text(encoding="utf-8")


def test_what_the_manifest_and_the_readme_show_is_there() -> None:
    named = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    steps = [step["media"] for walk in MANIFEST["contributes"]["walkthroughs"] for step in walk["steps"]]
    named += [media.get("image") or media["markdown"] for media in steps]
    for path in (*named, MANIFEST["icon"]):
        assert (ROOT / path).is_file(), path


def test_versions_agree() -> None:
    project = (ROOT.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{MANIFEST["version"]}"' in project
