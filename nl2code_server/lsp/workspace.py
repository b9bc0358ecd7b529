"""The client's open documents, kept in `lang.document.Document` behind the interface that pygls expects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from lsprotocol import types
from pygls.exceptions import JsonRpcInvalidParams
from pygls.workspace import TextDocument, Workspace

from ..lang.document import Document, Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pygls.lsp.server import LanguageServer

_ENCODINGS: dict[str, Encoding] = {"utf-8": "utf-8", "utf-16": "utf-16", "utf-32": "utf-32"}


class Listener(Protocol):
    """Who wants to know when a document comes or goes."""

    def opened(self, document: Document) -> None:
        """It is there now."""

    def closed(self, document: Document) -> None:
        """It will be gone."""


def install(server: LanguageServer, listener: Listener) -> None:
    """Put our workspace in the place of the one that pygls has just made; for the `initialize` handler."""
    made = server.protocol.workspace
    replaced = _Workspace(made.root_uri, made._sync_kind, list(made.folders.values()), made.position_encoding)
    replaced.listener = listener
    server.protocol._workspace = replaced


def documents(workspace: Workspace) -> list[Document]:
    """Return all open documents and notebook cells."""
    return [one.document for one in workspace.text_documents.values() if isinstance(one, _OpenDocument)]


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
        document = find(self, text_document.uri)
        if document is not None:
            self.listener.opened(document)

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
        encoding = options["position_codec"].encoding
        self.document = Document(
            uri,
            source or "",
            version=version or 0,
            encoding=_ENCODINGS.get(getattr(encoding, "value", encoding), "utf-16"),
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
        return self.document.snapshot().text

    @property
    def lines(self) -> Sequence[str]:
        return tuple(line.decode() for line in self.document.snapshot().lines)

    def apply_change(self, change: types.TextDocumentContentChangeEvent) -> None:
        if isinstance(change, types.TextDocumentContentChangePartial):
            start, end = change.range.start, change.range.end
            self.document.apply((start.line, start.character, end.line, end.character), change.text)
        else:
            self.document.apply(None, change.text)
