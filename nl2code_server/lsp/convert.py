"""Between our values and the protocol's, in the client's units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lsprotocol import types as lsp

from ..lang import Edit, Point
from ..lang.document import Snapshot
from ..suggest import Suggestion
from .clients import Client


def to_range(snapshot: Snapshot, start: Point, end: Point) -> lsp.Range:
    """Return a span of a text in client units."""
    return lsp.Range(
        start=lsp.Position(*snapshot.to_position(start)), end=lsp.Position(*snapshot.to_position(end))
    )


def to_workspace_edit(snapshot: Snapshot, edits: Sequence[Edit], client: Client) -> lsp.WorkspaceEdit:
    """Return edits of one file, bound to the version that they were made for where the client can."""
    converted = [lsp.TextEdit(to_range(snapshot, one.start, one.end), one.text) for one in edits]
    if not client.document_changes:
        return lsp.WorkspaceEdit(changes={snapshot.uri: converted})
    document = lsp.OptionalVersionedTextDocumentIdentifier(uri=snapshot.uri, version=snapshot.version)
    return lsp.WorkspaceEdit(document_changes=[lsp.TextDocumentEdit(text_document=document, edits=converted)])


def verdict(suggestion: Suggestion) -> str:
    """Say in a few words what is known of a suggestion."""
    if suggestion.status == "verified":
        count = len(suggestion.examples)
        return "verified: its example holds" if count == 1 else f"verified: its {count} examples hold"
    if suggestion.status == "valid":
        return "valid: no example was run"
    for run in suggestion.examples:
        if not run.ok:
            return f"failed: {run.call} gave {run.got}, not {run.expected}"
    return f"failed: {next((check.detail or check.check for check in suggestion.checks if not check.ok), '')}"


def part(value: Any, name: str) -> Any:
    """Return a member of an untyped JSON object, which pygls hands over as a dict or a named tuple."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)
