"""Records of an evaluation, as they stand in its JSONL."""

from __future__ import annotations

from typing import Any


def record(id: str, arm: str = "nl2code", *, passed: bool = True, **fields: Any) -> dict[str, Any]:
    return {
        "set": "anchors", "id": id, "form": "anchor", "example": False, "arm": arm, "kind": "function",
        "natural_language": "en", "project": False, "tags": [], "model": "m", "offered": True, "unasked": True,
        "status": "valid", "parses": True, "passed": passed, "tests": [passed], "hidden": passed,
        "undefined": [], "invented": [], "annotated": None, "answers": 1, "tokens": 10, "tokens_offered": 10,
        "seconds": 1.0, "code": "", "raw": "", "why": "", "walls": "limits", **fields,
    }  # fmt: skip
