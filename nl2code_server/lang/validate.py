"""Would this code make the file worse? Every check compares the file with and without it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a candidate: `compiles`, `syntax`, `names`, `examples`, …"""

    check: str
    ok: bool
    detail: str = ""
