"""The client's open documents, kept in `lang.document.Document` behind the interface that pygls expects."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.workspace import TextDocument, Workspace

from ..lang.document import Document, Encoding, Range, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pygls.lsp.server import LanguageServer

_log = logging.getLogger(__name__)

_ENCODINGS: dict[str, Encoding] = {"utf-8": "utf-8", "utf-16": "utf-16", "utf-32": "utf-32"}


class Listener(Protocol):
    """Who wants to know when a document comes or goes."""

    def opened(self, document: Document) -> None:
        """It is there now."""

    def closed(self, document: Document) -> None:
        """It will be gone."""

    def changed(
        self, document: Document, changes: Sequence[tuple[Range | None, str]], before: Snapshot | None
    ) -> None:
        """A cell was edited. Of a whole new text comes the one before, too."""


def install(server: LanguageServer, listener: Listener) -> None:
    """Put our workspace in the place of the one that pygls has just made; for the `initialize` handler."""
    made = server.protocol.workspace
    replaced = _Workspace(made.root_uri, made._sync_kind, list(made.folders.values()), made.position_encoding)
    replaced.listener = listener
    server.protocol._workspace = replaced


def encoding_of(kind: object) -> Encoding:
    """Return the unit that positions are counted in; pygls has it as a text or as a member of an enumeration."""
    return _ENCODINGS.get(str(getattr(kind, "value", kind)), "utf-16")


def documents(workspace: Workspace) -> list[Document]:
    """Return all open documents and notebook cells."""
    return [one.document for one in workspace.text_documents.values() if isinstance(one, _OpenDocument)]


def own(document: Document) -> Snapshot:
    """Return a document's text as the client has it: of a cell without those above it."""
    return Document.snapshot(document)


def document(server: LanguageServer, uri: str) -> Document:
    """Return an open document or notebook cell; one that is not open is an error of the client's request."""
    found = find(server.protocol.workspace, uri)
    if found is None:
        raise JsonRpcInvalidParams(f"not an open document: {uri}")
    return found


def find(workspace: Workspace, uri: str) -> Document | None:
    """Return an open document or notebook cell, if it is open."""
    documents = workspace.text_documents
    found = documents.get(uri) or documents.get(unquote(uri))  # pygls files them under the unquoted URI
    return found.document if isinstance(found, _OpenDocument) else None


class _Workspace(Workspace):
    listener: Listener

    def put_text_document(
        self, text_document: types.TextDocumentItem, notebook_uri: str | None = None
    ) -> None:
        super().put_text_document(text_document, notebook_uri)
        found = self._text_documents[unquote(text_document.uri)]
        if isinstance(found, _OpenDocument):
            if notebook_uri is not None:
                found.document = self._cell(found.document, notebook_uri)
            self.listener.opened(found.document)

    def _cell(self, document: Document, notebook_uri: str) -> Document:
        from .notebook import Cell

        def earlier() -> list[Cell]:
            notebook = self._notebook_documents.get(unquote(notebook_uri))
            above = []
            for cell in notebook.cells if notebook else ():
                if unquote(cell.document) == unquote(document.uri):
                    break
                found = find(self, cell.document)
                if cell.kind == types.NotebookCellKind.Code and isinstance(found, Cell):
                    above.append(found)
            return above

        text, version, encoding = document.snapshot().text, document.version, document.encoding
        return Cell(document.uri, text, version=version, encoding=encoding, earlier=earlier)

    def update_notebook_document(self, params: types.DidChangeNotebookDocumentParams) -> None:
        if unquote(params.notebook_document.uri) in self._notebook_documents:
            super().update_notebook_document(params)
        else:
            _log.warning("change to a notebook that is not open")

    def update_text_document(
        self,
        text_doc: types.VersionedTextDocumentIdentifier,
        change: types.TextDocumentContentChangeEvent,
    ) -> None:
        # Only cells come here: changes of files take a shorter way, see `transport`.
        document = find(self, text_doc.uri)
        if document is None:
            _log.warning("change to a cell that is not open")
            return
        part = change if isinstance(change, types.TextDocumentContentChangePartial) else None
        before = document.snapshot() if part is None else None
        super().update_text_document(text_doc, change)
        start, end = (part.range.start, part.range.end) if part else (None, None)
        replaced = (start.line, start.character, end.line, end.character) if start and end else None
        self.listener.changed(document, [(replaced, change.text)], before)

    def remove_text_document(self, doc_uri: str) -> None:
        document = find(self, doc_uri)
        if document is not None:
            self.listener.closed(document)
        super().remove_text_document(doc_uri)

    def _create_text_document(
        self,
        doc_uri: str,
        source: str | None = None,
        version: int | None = None,
        language_id: str | None = None,
    ) -> TextDocument:
        kind = TextDocument if source is None else _OpenDocument  # without text: a file on disk
        return kind(
            doc_uri,
            source=source,
            version=version,
            language_id=language_id,
            sync_kind=self._sync_kind,
            position_codec=self._position_codec,
        )


class _OpenDocument(TextDocument):
    def __init__(
        self, uri: str, source: str | None = None, version: int | None = None, **options: Any
    ) -> None:
        self.document = Document(
            uri,
            source or "",
            version=version or 0,
            encoding=encoding_of(options["position_codec"].encoding),
        )
        super().__init__(uri, version=version, **options)

    @property
    def version(self) -> int:
        return self.document.version

    @version.setter
    def version(self, version: int | None) -> None:
        self.document.version = version or 0

    @property
    def source(self) -> str:
        return self._own().text

    @property
    def lines(self) -> Sequence[str]:
        return tuple(line.decode() for line in self._own().lines)

    def _own(self) -> Snapshot:
        return own(self.document)

    def apply_change(self, change: types.TextDocumentContentChangeEvent) -> None:
        if isinstance(change, types.TextDocumentContentChangePartial):
            start, end = change.range.start, change.range.end
            self.document.apply((start.line, start.character, end.line, end.character), change.text)
        else:
            self.document.apply(None, change.text)
