"""Between our values and the protocol's, in the client's units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lsprotocol import types as lsp

from ..lang import Edit, Point
from ..lang.document import Snapshot
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


def part(value: Any, name: str) -> Any:
    """Return a member of an untyped JSON object, which pygls hands over as a dict or a named tuple."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)
