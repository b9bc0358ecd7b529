"""Keyrings that exist in this process alone, so that no test asks the one of whoever runs it."""

from __future__ import annotations

import time
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError


class Drawer(KeyringBackend):
    """A keyring in memory."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: dict[tuple[str, str], str] = {}
        self.asked = 0

    def get_password(self, service: str, username: str) -> str | None:
        """Return what is kept under that name."""
        self.asked += 1
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep something under that name."""
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Forget what is kept under that name."""
        if self.kept.pop((service, username), None) is None:
            raise PasswordDeleteError("nothing there")


class Sieve(Drawer):
    """A keyring that keeps nothing."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Lose it."""


class Locked(Drawer):
    """A keyring that waits for its user, who is elsewhere."""

    def get_password(self, service: str, username: str) -> str | None:
        """Wait."""
        self.asked += 1
        time.sleep(3)
        return None


def key_file(folder: Path, fill: str = "5a") -> Path:
    """Write a key to a file in that folder."""
    file = folder / f"key-{fill}"
    file.touch(mode=0o600)
    file.write_text(fill * 32 + "\n")
    return file
