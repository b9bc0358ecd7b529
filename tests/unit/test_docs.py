"""What the documents say is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nl2code_server.config import SETTINGS, allowed

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_table() -> str:
    lines = ["| setting | default | allowed | editor | what it does |", "|---|---|---|---|---|"]
    for name, setting in SETTINGS.items():
        default = str(setting.default).lower() if isinstance(setting.default, bool) else str(setting.default)
        lines.append(
            f"| `{name}` | {f'`{default}`' if default else ''} | {allowed(setting)} | "
            f"{'yes' if setting.metadata['editor'] else ''} | {setting.metadata['help']} |"
        )
    return "\n".join(lines)


def between(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", README, re.DOTALL)
    assert found, f"README has no section {name}"
    return found[1]


def test_the_readme_lists_every_setting_as_it_is() -> None:
    assert between("settings") == settings_table()


def test_the_readme_has_its_picture() -> None:
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file(), picture


def test_every_command_that_is_named_exists() -> None:
    named = set(re.findall(r"`nl2code ([a-z]+)", README))
    assert {"write", "demo", "config", "doctor"} <= named
    shown = subprocess.run(
        [sys.executable, "-m", "nl2code_server.cli", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for command in named:
        assert re.search(rf"\b{command}\b", shown), command


def test_the_tests_that_the_security_page_names_exist() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 25
    for file, name in named:
        assert re.search(rf"^(?:async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), (file, name)
    for number in range(1, 14):
        assert f"| T{number} |" in page


@pytest.mark.parametrize("document", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_between_documents_hold(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        assert (ROOT / target).exists(), target


def test_ci_runs_the_readme_s_test_command() -> None:
    command = re.search(r"<!-- test command -->\n```sh\n(.+)\n```", README)
    assert command and "pytest" in command[1]
    assert "README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
