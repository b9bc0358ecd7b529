"""Instructions: comments and stubs that ask for code. Found in the syntax tree, never by a regexp over lines."""

from __future__ import annotations

from .find import at, find
from .values import Attention, Instruction, Kind, Mode

__all__ = ["Attention", "Instruction", "Kind", "Mode", "at", "find"]
